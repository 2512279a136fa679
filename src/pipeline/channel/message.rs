//! The text of a greeting: a template for each kind.
//!
//! An unknown year prints as nothing, never as `None`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::{Environment, UndefinedBehavior, context, escape_formatter};

use crate::model::Lease;

const NAME: &str = "message";
/// The instructions that a template may run: enough for any greeting, and a limit for endless loops.
const FUEL: u64 = 20_000;
/// How minijinja prints none inside an expression, where the formatter is not called.
const PRINTED_NONE: &str = "None";

#[derive(Debug, thiserror::Error)]
#[error("invalid template {template:?}: {problem}")]
pub struct TemplateError {
    template: String,
    problem: String,
}

#[derive(Debug, Clone)]
pub struct Template {
    environment: Environment<'static>,
    uses_years: bool,
    prints_unknown_years: bool,
}

impl Template {
    /// Compiles `source`, and renders it for a sample user with and without a known year.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let invalid = |problem| TemplateError { template: source.to_owned(), problem };
        let failed = |error: minijinja::Error| {
            invalid(format!(
                "{error}; a template can use first_name, last_name, full_name, kind, local_date and years (none if the year \
                 is unknown)"
            ))
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let printed_none = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&printed_none);
        environment.set_formatter(move |out, state, value| {
            if value.is_none() {
                flag.store(true, Ordering::Relaxed);
                return Ok(());
            }
            escape_formatter(out, state, value)
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(failed)?;
        let mut template =
            Self { environment, uses_years: source.contains("years"), prints_unknown_years: false };
        template.render_sample(Some(30)).map_err(failed)?;
        let unknown = template.render_sample(None).map_err(failed)?;
        template.prints_unknown_years = printed_none.load(Ordering::Relaxed);
        if unknown.matches(PRINTED_NONE).count() > source.matches(PRINTED_NONE).count() {
            return Err(invalid(format!(
                "an expression with years prints {PRINTED_NONE:?} if the year is unknown; put it into \
                 {{% if years %}}…{{% endif %}}"
            )));
        }
        Ok(template)
    }

    fn render_sample(&self, years: Option<i32>) -> Result<String, minijinja::Error> {
        self.render("Ada", "Lovelace", "birthday", "2026-12-10", years)
    }

    fn render(
        &self,
        first_name: &str,
        last_name: &str,
        kind: &str,
        local_date: &str,
        years: Option<i32>,
    ) -> Result<String, minijinja::Error> {
        let full_name = format!("{first_name} {last_name}");
        let full_name = full_name.trim_end();
        self.environment
            .get_template(NAME)?
            .render(context! { first_name, last_name, full_name, kind, local_date, years })
    }
}

/// A rendered greeting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Only for mail.
    pub subject: Option<String>,
    pub text: String,
    /// Only for mail.
    pub html: Option<String>,
    /// Only for `WhatsApp`: replaces the text.
    pub content: Option<ContentTemplate>,
}

impl Message {
    #[must_use]
    pub fn of_text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A message template that is stored at the provider, and the values of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentTemplate {
    pub sid: String,
    pub variables: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Messages(BTreeMap<String, Template>);

impl Messages {
    pub(crate) fn new<'a>(
        templates: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TemplateError> {
        templates
            .map(|(kind, source)| Ok((kind.to_owned(), Template::new(source)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn kinds_with_years(&self) -> impl Iterator<Item = &str> {
        let using = self.0.iter().filter(|(_, template)| template.uses_years);
        using.map(|(kind, _)| kind.as_str())
    }

    /// Returns the kinds whose text has a gap if the year is unknown.
    pub(crate) fn kinds_printing_unknown_years(&self) -> impl Iterator<Item = &str> {
        let printing = self.0.iter().filter(|(_, template)| template.prints_unknown_years);
        printing.map(|(kind, _)| kind.as_str())
    }

    pub(crate) fn render(&self, lease: &Lease) -> Result<Message, String> {
        use chrono::Datelike as _;
        let template = self
            .0
            .get(&lease.kind)
            .ok_or_else(|| format!("kinds.{0} is not configured: add kinds.{0}.message", lease.kind))?;
        let years = lease.since_year.map(|year| lease.local_date.year() - i32::from(year));
        template
            .render(&lease.first_name, &lease.last_name, &lease.kind, &lease.local_date.to_string(), years)
            .map(Message::of_text)
            .map_err(|error| format!("kinds.{}.message: {error}", lease.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_does_not_render_is_refused() {
        let error = Template::new("Hi {{ nickname }}").expect_err("nickname is unknown").to_string();
        assert!(error.contains("first_name"), "{error}");
        assert!(Template::new("Hi {{ first_name").is_err());
        let long = "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(Template::new(long).is_err());
    }

    #[test]
    fn full_name_has_no_gap_for_a_user_with_one_name() {
        let template = Template::new("Hey, {{ full_name }} it's your birthday").expect("it compiles");
        let text = template.render("Björk", "", "birthday", "2026-11-21", None).expect("it renders");
        assert_eq!(text, "Hey, Björk it's your birthday");
    }

    #[test]
    fn an_unknown_year_never_prints_as_none() {
        let render = |source: &str, years| {
            let template = Template::new(source).expect("it compiles");
            let text = template.render("Ada", "Lovelace", "birthday", "2026-01-01", years);
            (text.expect("it renders"), template.prints_unknown_years)
        };
        assert_eq!(render("{{ years }} today", None), (" today".to_owned(), true));
        assert_eq!(render("{{ years }} today", Some(0)), ("0 today".to_owned(), true));
        let asks = "Hey{% if years %}, {{ years }}{% endif %}";
        assert_eq!(render(asks, None), ("Hey".to_owned(), false));
        assert_eq!(render(asks, Some(30)), ("Hey, 30".to_owned(), false));
        assert_eq!(render("{% if years %}{{ years }}{% else %}?{% endif %}", None), ("?".to_owned(), false));
        for asks in [
            "{% if years is none %}Hey{% else %}{{ years }}{% endif %}",
            "{% if years != none and years > 0 %}{{ years }}{% else %}Hey{% endif %}",
            "{% if years >= 50 %}{{ years }}{% else %}Hey{% endif %}",
        ] {
            assert_eq!(render(asks, None), ("Hey".to_owned(), false), "{asks}");
        }
        assert_eq!(render("None like you", None).0, "None like you");
        for joins in ["{{ '(' ~ years ~ ')' }}", "{{ years|string }}"] {
            let error = Template::new(joins).expect_err("it would print None").to_string();
            assert!(error.contains("{% if years %}"), "{error}");
        }
    }
}
