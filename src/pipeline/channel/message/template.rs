//! A template: compiled once, rendered for each greeting.
//!
//! An unknown year prints as nothing, never as `None`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, escape_formatter};

use super::text::one_line;
use crate::calendar::text::shortened;

const NAME: &str = "message";
/// The instructions that a template may run: enough for any greeting, and a limit for endless loops.
const FUEL: u64 = 20_000;
/// How minijinja prints none inside an expression, where the formatter is not called.
const PRINTED_NONE: &str = "None";
const VARIABLES: [&str; 7] =
    ["first_name", "last_name", "full_name", "kind", "local_date", "years", "locale"];
const UNSUBSCRIBE_URL: &str = "unsubscribe_url";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct TemplateError {
    pub(super) key: String,
    pub(super) problem: String,
}

/// What a template is rendered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Without line breaks.
    Line,
    Text,
    /// A text with `unsubscribe_url`.
    MailText,
    /// Values are escaped. With `unsubscribe_url`.
    Html,
}

/// The values of a template's variables.
#[derive(Debug, Clone, Copy)]
pub struct TemplateValues<'a> {
    pub first_name: &'a str,
    pub last_name: &'a str,
    pub kind: &'a str,
    pub local_date: &'a str,
    /// None if the year is unknown.
    pub years: Option<i32>,
    /// Empty if it is unknown.
    pub locale: &'a str,
    /// Empty: greetings have no link to unsubscribe.
    pub unsubscribe_url: &'a str,
}

impl TemplateValues<'_> {
    fn context(&self, form: Form) -> Value {
        let Self { first_name, last_name, kind, local_date, years, locale, unsubscribe_url } = *self;
        let full_name = [first_name, " ", last_name].concat();
        let full_name = full_name.trim_end();
        match form {
            Form::Line | Form::Text => {
                context! { first_name, last_name, full_name, kind, local_date, years, locale }
            }
            Form::MailText | Form::Html => {
                context! { first_name, last_name, full_name, kind, local_date, years, locale, unsubscribe_url }
            }
        }
    }
}

/// Values for which every template must render, with a description.
fn samples() -> [(&'static str, TemplateValues<'static>); 4] {
    let ada = TemplateValues {
        first_name: "Ada",
        last_name: "Lovelace",
        kind: "birthday",
        local_date: "2026-12-10",
        years: Some(30),
        locale: "en",
        unsubscribe_url: "https://example.org/unsubscribe",
    };
    [
        ("a user", ada),
        ("a user without a year", TemplateValues { years: None, ..ada }),
        ("a user with one name", TemplateValues { last_name: "", ..ada }),
        ("a user without a locale", TemplateValues { locale: "", unsubscribe_url: "", ..ada }),
    ]
}

#[derive(Debug, Clone)]
pub struct Template {
    key: String,
    environment: Environment<'static>,
    form: Form,
    pub(super) uses_years: bool,
    pub(super) prints_unknown_years: bool,
}

impl Template {
    /// Compiles the template that is configured as `key`, and renders it for sample users.
    pub fn new(key: String, source: &str, form: Form) -> Result<Self, TemplateError> {
        match Self::checked(key.clone(), source, form) {
            Ok(template) => Ok(template),
            Err(problem) => {
                let source = shortened(source);
                Err(TemplateError { key, problem: format!("invalid template {source:?}: {problem}") })
            }
        }
    }

    fn checked(key: String, source: &str, form: Form) -> Result<Self, String> {
        if form == Form::Line && source.contains(['\r', '\n']) {
            return Err("it has a line break: write it on one line".to_owned());
        }
        let printed_none = Arc::new(AtomicBool::new(false));
        let mut environment = environment(form, Arc::clone(&printed_none));
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| error.to_string())?;
        check_variables(&environment, form)?;
        let mut template = Self {
            key,
            environment,
            form,
            uses_years: source.contains("years"),
            prints_unknown_years: false,
        };
        for (who, values) in samples() {
            let rendered = template.try_render(&values);
            let rendered = rendered.map_err(|error| format!("it fails for {who}: {error}"))?;
            if rendered.matches(PRINTED_NONE).count() > source.matches(PRINTED_NONE).count() {
                return Err(format!(
                    "an expression with years prints {PRINTED_NONE:?} if the year is unknown; put it into \
                     {{% if years %}}…{{% endif %}}"
                ));
            }
        }
        template.prints_unknown_years = printed_none.load(Ordering::Relaxed);
        Ok(template)
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Renders the template. The error names its key and line, and contains no value.
    pub(super) fn render(&self, values: &TemplateValues<'_>) -> Result<String, String> {
        self.try_render(values).map_err(|error| {
            let line = error.line().map_or_else(String::new, |line| format!(" in line {line}"));
            format!("{}: {}{line}", self.key, error.kind())
        })
    }

    fn try_render(&self, values: &TemplateValues<'_>) -> Result<String, minijinja::Error> {
        let rendered = self.environment.get_template(NAME)?.render(values.context(self.form))?;
        Ok(if self.form == Form::Line { one_line(&rendered) } else { rendered })
    }
}

/// `printed_none` is set when a template prints none.
fn environment(form: Form, printed_none: Arc<AtomicBool>) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    let auto_escape = if form == Form::Html { AutoEscape::Html } else { AutoEscape::None };
    environment.set_auto_escape_callback(move |_| auto_escape.clone());
    environment.set_formatter(move |out, state, value| {
        if value.is_none() {
            printed_none.store(true, Ordering::Relaxed);
            return Ok(());
        }
        escape_formatter(out, state, value)
    });
    environment
}

/// Refuses unknown variables, also where the sample users do not reach them.
fn check_variables(environment: &Environment<'_>, form: Form) -> Result<(), String> {
    let template = environment.get_template(NAME).map_err(|error| error.to_string())?;
    let mut known: Vec<&str> = VARIABLES.to_vec();
    if matches!(form, Form::MailText | Form::Html) {
        known.push(UNSUBSCRIBE_URL);
    }
    let functions: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    let used: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    let unknown =
        used.iter().find(|name| !known.contains(&name.as_str()) && !functions.contains(name.as_str()));
    unknown.map_or(Ok(()), |name| Err(unknown_variable(name, &known)))
}

fn unknown_variable(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|other| strsim::damerau_levenshtein(other, name));
    let nearest = nearest.filter(|other| strsim::damerau_levenshtein(other, name) * 2 <= name.len());
    let meant = nearest.map_or_else(String::new, |other| format!("did you mean {other}? "));
    let (names, last) = (known[..known.len() - 1].join(", "), known[known.len() - 1]);
    if name == UNSUBSCRIBE_URL {
        return format!("{name} is only known in text and html of mail");
    }
    format!("unknown variable {name}: {meant}a template can use {names} and {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> Result<Template, TemplateError> {
        Template::new("kinds.birthday.message".to_owned(), source, Form::Text)
    }

    fn ada(years: Option<i32>) -> TemplateValues<'static> {
        TemplateValues { years, ..samples()[0].1 }
    }

    #[test]
    fn a_template_that_does_not_render_is_refused() {
        let error = text("Hi {{ nickname }}").expect_err("nickname is unknown").to_string();
        assert!(error.starts_with("kinds.birthday.message: ") && error.contains("first_name"), "{error}");
        let unreached = text("{% if years == 99 %}{{ frist_name }}{% endif %}").expect_err("it is unknown");
        assert!(unreached.to_string().contains("did you mean first_name?"), "{unreached}");
        assert!(text("Hi {{ first_name").is_err());
        let one_name = text("{{ last_name[0] }}").expect_err("some users have no last name").to_string();
        assert!(one_name.contains("it fails for a user with one name"), "{one_name}");
        let long = "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(text(long).is_err());
    }

    #[test]
    fn only_mail_has_a_link_to_unsubscribe() {
        let source = "{% if unsubscribe_url %}{{ unsubscribe_url }}{% endif %}";
        for (form, allowed) in
            [(Form::MailText, true), (Form::Html, true), (Form::Text, false), (Form::Line, false)]
        {
            assert_eq!(Template::new(String::new(), source, form).is_ok(), allowed, "{form:?}");
        }
    }

    #[test]
    fn full_name_has_no_gap_for_a_user_with_one_name() {
        let template = text("Hey, {{ full_name }} it's your birthday").expect("it compiles");
        let values = TemplateValues { first_name: "Björk", last_name: "", ..ada(None) };
        assert_eq!(template.render(&values).expect("it renders"), "Hey, Björk it's your birthday");
    }

    #[test]
    fn an_unknown_year_never_prints_as_none() {
        let render = |source: &str, years| {
            let template = text(source).expect("it compiles");
            (template.render(&ada(years)).expect("it renders"), template.prints_unknown_years)
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
            let error = text(joins).expect_err("it would print None").to_string();
            assert!(error.contains("{% if years %}"), "{error}");
        }
    }

    #[test]
    fn the_error_of_a_greeting_names_the_line_and_no_name() {
        let template =
            text("Hey\n{% if first_name == 'Bob' %}{{ first_name // 0 }}{% endif %}").expect("it compiles");
        let values = TemplateValues { first_name: "Bob", ..ada(None) };
        let error = template.render(&values).expect_err("the operation is impossible");
        assert_eq!(error, "kinds.birthday.message: invalid operation in line 2");
    }
}
