//! The text of a greeting: a template for each kind.
//!
//! A year that is unknown is never a word in it: printed, it is nothing. A template that prints it all the same is named by
//! [`Messages::without_year`], since a gap reads oddly, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::{Environment, UndefinedBehavior, context, escape_formatter};

use crate::model::Lease;

const NAME: &str = "message";
/// What a template may do before it is stopped: plenty for a greeting, too little for an endless loop.
const FUEL: u64 = 20_000;
/// How the template language spells a value that is none.
const NONE: &str = "None";

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the template {template:?} cannot be used: {problem}")]
pub struct TemplateError {
    template: String,
    problem: String,
}

/// A template that has been tried.
#[derive(Debug, Clone)]
pub struct Template {
    environment: Environment<'static>,
    names_years: bool,
    prints_unknown: bool,
}

impl Template {
    /// Compiles `source` and tries it on made-up people, with and without a known year.
    ///
    /// # Errors
    /// When it does not compile, or names something that a greeting does not know.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let problem = |error: &minijinja::Error| TemplateError {
            template: source.to_owned(),
            problem: format!(
                "{error}; it may use first_name, last_name, full_name, kind, local_date and years (none where the year \
                 is unknown)"
            ),
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
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| problem(&error))?;
        let mut template = Self { environment, names_years: source.contains("years"), prints_unknown: false };
        template.try_out(Some(30)).map_err(|error| problem(&error))?;
        let unknown = template.try_out(None).map_err(|error| problem(&error))?;
        template.prints_unknown = printed.load(Ordering::Relaxed);
        if unknown.contains(NONE) && template.spells_none() {
            return Err(TemplateError {
                template: source.to_owned(),
                problem: format!(
                    "it joins years to other text, which reads {NONE:?} where the year is unknown; put that into \
                     {{% if years %}}…{{% endif %}}"
                ),
            });
        }
        Ok(template)
    }

    /// Whether it prints the years also where they are unknown: there it then has a gap.
    #[must_use]
    pub fn prints_unknown(&self) -> bool {
        self.prints_unknown
    }

    /// On a made-up person.
    fn try_out(&self, years: Option<i32>) -> Result<String, minijinja::Error> {
        self.fill("Ada", "Lovelace", "birthday", "2026-12-10", years)
    }

    /// Whether the word for "unknown" comes from the template's value, not from its own text: made into a text within an
    /// expression, the value never reaches the formatter. One that is undefined has no word.
    fn spells_none(&self) -> bool {
        let mut lenient = self.environment.clone();
        lenient.set_undefined_behavior(UndefinedBehavior::Lenient);
        let person = context! {
            first_name => "Ada", last_name => "Lovelace", full_name => "Ada Lovelace", kind => "birthday",
            local_date => "2026-12-10",
        };
        let text = lenient.get_template(NAME).and_then(|template| template.render(person));
        text.is_ok_and(|text| !text.contains(NONE))
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

/// The templates of all kinds.
#[derive(Debug, Clone)]
pub struct Messages(BTreeMap<String, Template>);

impl Messages {
    /// Compiles `templates`, by kind.
    pub fn new<'a>(templates: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, TemplateError> {
        templates
            .map(|(kind, source)| Ok((kind.to_owned(), Template::new(source)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The kinds that have a text.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The kinds whose text may depend on the year of the date.
    pub fn with_years(&self) -> impl Iterator<Item = &str> {
        let naming = self.0.iter().filter(|(_, template)| template.names_years);
        naming.map(|(kind, _)| kind.as_str())
    }

    /// The kinds whose text has a gap where the year is unknown.
    pub fn without_year(&self) -> impl Iterator<Item = &str> {
        let printing = self.0.iter().filter(|(_, template)| template.prints_unknown());
        printing.map(|(kind, _)| kind.as_str())
    }

    /// The text for the event that `lease` is for.
    pub fn text(&self, lease: &Lease) -> Result<String, String> {
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
    fn a_template_that_names_something_unknown_is_refused() {
        let error = Template::new("Hi {{ nickname }}").expect_err("nickname is not known").to_string();
        assert!(error.contains("first_name"), "{error}");
    }

    #[test]
    fn a_template_that_does_not_compile_is_refused() {
        assert!(Template::new("Hi {{ first_name").is_err());
    }

    #[test]
    fn a_template_that_never_ends_is_refused() {
        assert!(
            Template::new(
                "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"
            )
            .is_err()
        );
    }

    #[test]
    fn somebody_with_one_name_is_greeted_without_a_gap() {
        let template = Template::new("Hey, {{ full_name }} it's your birthday").expect("it compiles");
        let text = template.fill("Björk", "", "birthday", "2026-11-21", None).expect("it renders");
        assert_eq!(text, "Hey, Björk it's your birthday");
    }

    #[test]
    fn the_age_is_known_only_with_the_year() {
        let template = Template::new("{% if years %}{{ years }}{% else %}?{% endif %}").expect("it compiles");
        assert_eq!(template.fill("A", "B", "birthday", "2026-01-01", Some(30)).expect("it renders"), "30");
        assert_eq!(template.fill("A", "B", "birthday", "2026-01-01", None).expect("it renders"), "?");
    }

    #[test]
    fn an_unknown_year_is_never_a_word() {
        let fill = |source: &str, years| {
            let template = Template::new(source).expect("it compiles");
            let text = template.fill("Ada", "Lovelace", "birthday", "2026-01-01", years);
            (text.expect("it renders"), template.prints_unknown())
        };
        assert_eq!(fill("{{ years }} today", None), (" today".to_owned(), true));
        assert_eq!(fill("{{ years }} today", Some(0)), ("0 today".to_owned(), true));
        let asks = "Hey{% if years %}, {{ years }}{% endif %}";
        assert_eq!(fill(asks, None), ("Hey".to_owned(), false));
        assert_eq!(fill(asks, Some(30)), ("Hey, 30".to_owned(), false));
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
