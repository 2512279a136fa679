//! The filters of a list: fields of a GET form, shown as they were given, with the error of each that is invalid.

use std::fmt::Display;

use super::fields::Fields;
use crate::calendar::text::shortened;

/// A field of the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilterField {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// `text` or `date`; not used with options.
    pub(super) input: &'static str,
    /// An example, shown while the field is empty.
    pub(super) example: &'static str,
    /// The values to choose from; none: any text.
    pub(super) options: Vec<&'static str>,
    pub(super) text: String,
    pub(super) error: Option<String>,
}

impl FilterField {
    pub(super) fn text(name: &'static str, label: &'static str, example: &'static str) -> Self {
        Self { name, label, input: "text", example, options: Vec::new(), text: String::new(), error: None }
    }

    pub(super) fn date(name: &'static str, label: &'static str) -> Self {
        Self { input: "date", ..Self::text(name, label, "") }
    }

    pub(super) fn choice(
        name: &'static str,
        label: &'static str,
        options: impl Iterator<Item = &'static str>,
    ) -> Self {
        Self { options: options.collect(), ..Self::text(name, label, "") }
    }

    /// Whether the given value is not among the options.
    pub(super) fn is_other(&self) -> bool {
        !self.text.is_empty() && !self.options.iter().any(|option| *option == self.text)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filters {
    pub(super) fields: Vec<FilterField>,
    /// Errors that belong to no field.
    pub(super) problems: Vec<String>,
}

impl Filters {
    /// Adds a field with its value in `given`, which is returned if it is present and valid.
    pub(super) fn read<T, E: Display>(
        &mut self,
        given: &Fields,
        field: FilterField,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = given.text(field.name).to_owned();
        let parsed = (!text.is_empty()).then(|| parse(&text)).transpose();
        let error = parsed.as_ref().err().map(ToString::to_string);
        self.fields.push(FilterField { text, error, ..field });
        parsed.ok().flatten()
    }

    /// Returns `parsed` without its error, which belongs to no field.
    pub(super) fn check<T, E: Display>(&mut self, what: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.problems.push(format!("{what}: {error}"))).ok()
    }

    pub(super) fn is_valid(&self) -> bool {
        self.problems.is_empty() && self.fields.iter().all(|field| field.error.is_none())
    }

    /// Whether a field has a value.
    pub(super) fn is_used(&self) -> bool {
        self.fields.iter().any(|field| !field.text.is_empty())
    }
}

/// Parses a name that a column can hold.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    if text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err(format!(
            "invalid name {:?}: expected at most 200 characters on one line",
            shortened(text)
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_filter_keeps_its_text_and_has_an_error() {
        let given = Fields::parse(b"year=20x6&month=5&day=");
        let mut filters = Filters::default();
        let mut read = |name| filters.read(&given, FilterField::text(name, name, ""), str::parse::<u32>);
        assert_eq!((read("year"), read("month"), read("day"), read("hour")), (None, Some(5), None, None));
        assert!(!filters.is_valid() && filters.is_used());
        let field = &filters.fields[0];
        assert_eq!((&*field.text, field.error.as_deref()), ("20x6", Some("invalid digit found in string")));
        assert!(filters.fields[1..].iter().all(|field| field.error.is_none()));
    }
}
