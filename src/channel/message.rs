//! The text of a greeting: a template for each kind.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, context};

use crate::model::Lease;

const NAME: &str = "message";
/// What a template may do before it is stopped: plenty for a greeting, too little for an endless loop.
const FUEL: u64 = 20_000;

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the template {template:?} cannot be used: {problem}")]
pub struct TemplateError {
    template: String,
    problem: String,
}

/// A template that has been tried.
#[derive(Debug, Clone)]
pub struct Template(Environment<'static>);

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
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| problem(&error))?;
        let template = Self(environment);
        for years in [None, Some(30)] {
            template
                .fill("Ada", "Lovelace", "birthday", "2026-12-10", years)
                .map_err(|error| problem(&error))?;
        }
        Ok(template)
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
        self.0
            .get_template(NAME)?
            .render(context! { first_name, last_name, full_name, kind, local_date, years })
    }
}

/// The templates of all kinds.
#[derive(Debug, Clone)]
pub struct Messages(BTreeMap<String, Template>);

impl Messages {
    /// Compiles `templates`, by kind.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new<'a>(templates: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, TemplateError> {
        templates
            .map(|(kind, source)| Ok((kind.to_owned(), Template::new(source)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The text for the event that `lease` is for.
    ///
    /// # Errors
    /// In words: the kind is not configured, or its template fails for this user.
    pub fn text(&self, lease: &Lease) -> Result<String, String> {
        use chrono::Datelike as _;
        let template = self
            .0
            .get(&lease.kind)
            .ok_or_else(|| format!("kinds.{} is not in the configuration", lease.kind))?;
        let years = lease
            .since_year
            .map(|year| lease.local_date.year() - i32::from(year));
        template
            .fill(
                &lease.first_name,
                &lease.last_name,
                &lease.kind,
                &lease.local_date.to_string(),
                years,
            )
            .map_err(|error| format!("kinds.{}.message: {error}", lease.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_names_something_unknown_is_refused() {
        let error = Template::new("Hi {{ nickname }}")
            .expect_err("nickname is not known")
            .to_string();
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
        let text = template
            .fill("Björk", "", "birthday", "2026-11-21", None)
            .expect("it renders");
        assert_eq!(text, "Hey, Björk it's your birthday");
    }

    #[test]
    fn the_age_is_known_only_with_the_year() {
        let template = Template::new("{% if years %}{{ years }}{% else %}?{% endif %}").expect("it compiles");
        assert_eq!(
            template
                .fill("A", "B", "birthday", "2026-01-01", Some(30))
                .expect("it renders"),
            "30"
        );
        assert_eq!(
            template
                .fill("A", "B", "birthday", "2026-01-01", None)
                .expect("it renders"),
            "?"
        );
    }
}
