//! The text of a greeting: a template for each kind.
//!
//! An unknown year prints as nothing, never as a word; [`Messages::without_year`] names the templates that so have a gap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::{Environment, UndefinedBehavior, context, escape_formatter};

use crate::model::Lease;

const NAME: &str = "message";
/// The instructions that a template may run: plenty for a greeting, and an end to endless loops.
const FUEL: u64 = 20_000;
/// The text of an undefined value inside an expression, which the formatter does not get.
const NONE: &str = "None";

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the template {template:?} cannot be used: {problem}")]
pub struct TemplateError {
    template: String,
    problem: String,
}

/// A template that renders.
#[derive(Debug, Clone)]
pub struct Template {
    environment: Environment<'static>,
    names_years: bool,
    prints_unknown: bool,
}

impl Template {
    /// Compiles `source` and renders it for made-up users, with and without a known year.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let refused = |problem| TemplateError { template: source.to_owned(), problem };
        let invalid = |error: minijinja::Error| {
            refused(format!(
                "{error}; it may use first_name, last_name, full_name, kind, local_date and years (none where the year \
                 is unknown)"
            ))
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let printed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&printed);
        environment.set_formatter(move |out, state, value| {
            if value.is_none() {
                seen.store(true, Ordering::Relaxed);
                return Ok(());
            }
            escape_formatter(out, state, value)
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(invalid)?;
        let mut template = Self { environment, names_years: source.contains("years"), prints_unknown: false };
        template.try_out(Some(30)).map_err(invalid)?;
        let unknown = template.try_out(None).map_err(invalid)?;
        template.prints_unknown = printed.load(Ordering::Relaxed);
        if unknown.matches(NONE).count() > source.matches(NONE).count() {
            return Err(refused(format!(
                "it joins years to other text, which reads {NONE:?} where the year is unknown; put that into \
                 {{% if years %}}…{{% endif %}}"
            )));
        }
        Ok(template)
    }

    fn try_out(&self, years: Option<i32>) -> Result<String, minijinja::Error> {
        self.fill("Ada", "Lovelace", "birthday", "2026-12-10", years)
    }

    fn fill(
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

/// The templates by kind.
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

    pub(crate) fn with_years(&self) -> impl Iterator<Item = &str> {
        let naming = self.0.iter().filter(|(_, template)| template.names_years);
        naming.map(|(kind, _)| kind.as_str())
    }

    pub(crate) fn without_year(&self) -> impl Iterator<Item = &str> {
        let printing = self.0.iter().filter(|(_, template)| template.prints_unknown);
        printing.map(|(kind, _)| kind.as_str())
    }

    pub(crate) fn text(&self, lease: &Lease) -> Result<String, String> {
        use chrono::Datelike as _;
        let template = self
            .0
            .get(&lease.kind)
            .ok_or_else(|| format!("kinds.{} is not in the configuration", lease.kind))?;
        let years = lease.since_year.map(|year| lease.local_date.year() - i32::from(year));
        template
            .fill(&lease.first_name, &lease.last_name, &lease.kind, &lease.local_date.to_string(), years)
            .map_err(|error| format!("kinds.{}.message: {error}", lease.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_does_not_render_is_refused() {
        let error = Template::new("Hi {{ nickname }}").expect_err("nickname is not known").to_string();
        assert!(error.contains("first_name"), "{error}");
        assert!(Template::new("Hi {{ first_name").is_err());
        let long = "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(Template::new(long).is_err());
    }

    #[test]
    fn a_user_with_one_name_is_greeted_without_a_gap() {
        let template = Template::new("Hey, {{ full_name }} it's your birthday").expect("it compiles");
        let text = template.fill("Björk", "", "birthday", "2026-11-21", None).expect("it renders");
        assert_eq!(text, "Hey, Björk it's your birthday");
    }

    #[test]
    fn an_unknown_year_is_never_a_word() {
        let fill = |source: &str, years| {
            let template = Template::new(source).expect("it compiles");
            let text = template.fill("Ada", "Lovelace", "birthday", "2026-01-01", years);
            (text.expect("it renders"), template.prints_unknown)
        };
        assert_eq!(fill("{{ years }} today", None), (" today".to_owned(), true));
        assert_eq!(fill("{{ years }} today", Some(0)), ("0 today".to_owned(), true));
        let asks = "Hey{% if years %}, {{ years }}{% endif %}";
        assert_eq!(fill(asks, None), ("Hey".to_owned(), false));
        assert_eq!(fill(asks, Some(30)), ("Hey, 30".to_owned(), false));
        assert_eq!(fill("{% if years %}{{ years }}{% else %}?{% endif %}", None), ("?".to_owned(), false));
        for asks in [
            "{% if years is none %}Hey{% else %}{{ years }}{% endif %}",
            "{% if years != none and years > 0 %}{{ years }}{% else %}Hey{% endif %}",
            "{% if years >= 50 %}{{ years }}{% else %}Hey{% endif %}",
        ] {
            assert_eq!(fill(asks, None), ("Hey".to_owned(), false), "{asks}");
        }
        assert_eq!(fill("None like you", None).0, "None like you");
        for joins in ["{{ '(' ~ years ~ ')' }}", "{{ years|string }}"] {
            let error = Template::new(joins).expect_err("it would say None").to_string();
            assert!(error.contains("{% if years %}"), "{error}");
        }
    }
}
