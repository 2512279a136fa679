//! The fields of a person as options.

use serde_json::{Map, Value};

use crate::cli::output;
use crate::model::{FieldError, JsonObject, NewUser, UserInput};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Fields {
    /// Up to 200 characters
    #[arg(long, value_name = "NAME")]
    first_name: Option<String>,
    /// May be left out: some people have one name
    #[arg(long, value_name = "NAME")]
    last_name: Option<String>,
    /// YYYY-MM-DD, or =--MM-DD without the year
    #[arg(long, allow_hyphen_values = true, value_name = "DATE")]
    birth_date: Option<String>,
    /// An IANA name, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Local time; the default is the kind's
    #[arg(long, value_name = "HH:MM")]
    send_at: Option<String>,
    /// What 29 February means in a common year: `feb28`, `mar1` or `leap_years_only`
    #[arg(long, value_name = "RULE")]
    leap_day: Option<String>,
    /// Your own name for this person
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// A date of another kind that the configuration names; may come more than once
    #[arg(long, value_name = "KIND=DATE")]
    occasion: Vec<String>,
}

impl Fields {
    /// As the API would take them; an option given as an empty text takes the field away.
    fn object(&self) -> Result<JsonObject, FieldError> {
        let texts = [
            ("firstName", &self.first_name),
            ("lastName", &self.last_name),
            ("birthDate", &self.birth_date),
            ("timeZone", &self.time_zone),
            ("sendAt", &self.send_at),
            ("leapDay", &self.leap_day),
            ("externalId", &self.external_id),
        ];
        let value = |text: &str| match text {
            "" => Value::Null,
            text => Value::from(text),
        };
        let given = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        let mut fields: Map<String, Value> =
            given.map(|(name, text)| (name.to_owned(), value(text))).collect();
        let mut occasions = Map::new();
        for given in &self.occasion {
            let Some((kind, date)) = given.split_once('=') else {
                let problem =
                    format!("is {given:?}: expected KIND=DATE, such as work_anniversary=2019-05-02");
                return Err(FieldError::new("occasions", problem));
            };
            occasions.insert(kind.to_owned(), value(date));
        }
        if !occasions.is_empty() {
            fields.insert("occasions".to_owned(), Value::Object(occasions));
        }
        Ok(JsonObject(fields))
    }

    /// Applies the options to `input` and checks the whole.
    pub(super) fn over(&self, input: UserInput<'_>) -> Result<NewUser, Vec<FieldError>> {
        let object = self.object().map_err(|error| vec![error])?;
        input.patch(&object).validate()
    }
}

/// Says what is wrong, by the names of the options.
pub(super) fn complain(errors: &[FieldError]) {
    for error in errors {
        let said = format!("{} {}", option(&error.field), error.problem);
        eprintln!("bday: {}", output::harmless(&said));
    }
}

fn option(field: &str) -> String {
    if let Some(kind) = field.strip_prefix("occasions.") {
        return format!("--occasion {kind}:");
    }
    if field == "occasions" {
        return "--occasion".to_owned();
    }
    let mut option = "--".to_owned();
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            option.push('-');
        }
        option.push(letter.to_ascii_lowercase());
    }
    option
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn a_field_is_called_by_its_option() {
        assert_eq!(option("birthDate"), "--birth-date");
        assert_eq!(option("occasions.work_anniversary"), "--occasion work_anniversary:");
    }
}
