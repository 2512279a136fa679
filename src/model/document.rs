//! A user as a JSON object: the same fields in the API and in NDJSON files.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::Value;

use super::input::shortened;
use super::object::not_a;
use super::{CAMEL_CASE, FieldError, ID, NewUser, Object, Schedule, User, UserInput};

const FIELDS: &str = "firstName, lastName, birthDate, timeZone, sendAt, leapDay, externalId and occasions";
/// What bday sets. Given back, it is passed over, so that what was read can be written. Only an import goes by the id.
const READ_ONLY: [&str; 3] = [ID, "createdAt", "updatedAt"];

/// These have null for "not set", and need no second word for it.
const MAY_BE_NULL: [&str; 3] = ["sendAt", "leapDay", "externalId"];
const BLANK: &str = "is blank: leave it out, or give null";

/// A user's fields as text, and what was wrong with them so far.
#[derive(Debug, Clone, Default)]
pub struct UserDocument {
    first_name: Option<String>,
    last_name: Option<String>,
    birth_date: Option<String>,
    time_zone: Option<String>,
    send_at: Option<String>,
    leap_day: Option<String>,
    external_id: Option<String>,
    occasions: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl UserDocument {
    /// The fields of `user` that can be written.
    #[must_use]
    pub fn of(user: &User, schedule: &Schedule) -> Self {
        let known = |kind: &String| schedule.kinds.contains_key(kind);
        let occasions = user.occasions.iter().filter(|(kind, _)| known(kind));
        Self {
            first_name: Some(user.first_name.clone()),
            last_name: Some(user.last_name.clone()),
            birth_date: Some(user.birth_date.to_string()),
            time_zone: Some(user.time_zone.to_string()),
            send_at: user.send_at.map(|at| at.to_string()),
            leap_day: user.leap_day.map(|rule| rule.to_string()),
            external_id: user.external_id.clone(),
            occasions: occasions.map(|(kind, date)| (kind.clone(), date.to_string())).collect(),
            errors: Vec::new(),
        }
    }

    /// Lays `object` over it by the rules of a JSON merge patch (RFC 7396): null takes a field away, a field that is
    /// not there stays as it is. Over an empty document that makes a new user.
    #[must_use]
    pub fn with(mut self, Object(fields): &Object) -> Self {
        for (name, value) in fields {
            let field = match name.as_str() {
                "firstName" => &mut self.first_name,
                "lastName" => &mut self.last_name,
                "birthDate" => &mut self.birth_date,
                "timeZone" => &mut self.time_zone,
                "sendAt" => &mut self.send_at,
                "leapDay" => &mut self.leap_day,
                "externalId" => &mut self.external_id,
                "occasions" => {
                    self.set_occasions(value);
                    continue;
                }
                name if READ_ONLY.contains(&name) => continue,
                name => {
                    let problem = format!("unknown field: the fields are {FIELDS}");
                    self.errors.push(FieldError::new(shortened(name).to_owned(), problem));
                    continue;
                }
            };
            match value {
                Value::Null => *field = None,
                Value::String(text) if text.trim().is_empty() && MAY_BE_NULL.contains(&name.as_str()) => {
                    self.errors.push(FieldError::new(name.clone(), BLANK));
                }
                Value::String(text) => *field = Some(text.clone()),
                other => self.errors.push(FieldError::new(name.clone(), not_a("a string", other))),
            }
        }
        self
    }

    /// Sets the external id, as an address that names it does; `id` has no blanks around it.
    #[must_use]
    pub fn with_external_id(mut self, id: &str) -> Self {
        let given = self.external_id.as_deref();
        if given.is_some_and(|given| given.trim() != id) {
            let problem = "differs from the one in the address: leave it out".to_owned();
            self.errors.push(FieldError::new(CAMEL_CASE.external_id, problem));
        }
        self.external_id = Some(id.to_owned());
        self
    }

    fn set_occasions(&mut self, value: &Value) {
        let dates = match value {
            Value::Null => return self.occasions.clear(),
            Value::Object(dates) => dates,
            other => {
                let problem = not_a("an object of dates by kind", other);
                return self.errors.push(FieldError::new("occasions", problem));
            }
        };
        for (kind, date) in dates {
            match date {
                Value::Null => {
                    self.occasions.remove(kind);
                }
                Value::String(date) if date.trim().is_empty() => {
                    let field = format!("{}{}", CAMEL_CASE.occasion_prefix, shortened(kind));
                    self.errors.push(FieldError::new(field, BLANK));
                }
                Value::String(date) => {
                    self.occasions.insert(kind.clone(), date.clone());
                }
                other => {
                    let field = format!("{}{}", CAMEL_CASE.occasion_prefix, shortened(kind));
                    self.errors.push(FieldError::new(field, not_a("a string", other)));
                }
            }
        }
    }

    /// Checks all fields. What is not there is to be cleared: the document is the whole user, but for the dates of
    /// kinds that `schedule` does not know. `today` as in [`UserInput::check`].
    pub fn check(self, schedule: &Schedule, today: NaiveDate) -> Result<NewUser, Vec<FieldError>> {
        let absent = schedule.other_kinds().filter(|kind| !self.occasions.contains_key(*kind));
        let mut occasions: Vec<(&str, Option<&str>)> = absent.map(|kind| (kind, None)).collect();
        let given = self.occasions.iter();
        occasions.extend(given.map(|(kind, date)| (kind.as_str(), Some(date.as_str()))));
        let input = UserInput {
            first_name: self.first_name.as_deref().unwrap_or_default(),
            last_name: self.last_name.as_deref().unwrap_or_default(),
            birth_date: self.birth_date.as_deref().unwrap_or_default(),
            time_zone: self.time_zone.as_deref().unwrap_or_default(),
            send_at: self.send_at.as_deref(),
            leap_day: self.leap_day.as_deref(),
            external_id: self.external_id.as_deref(),
            occasions: &occasions,
        };
        let checked = input.check(&CAMEL_CASE, schedule, today);
        let mut errors = self.errors;
        match checked {
            Ok(user) if errors.is_empty() => return Ok(user),
            Ok(_) => {}
            // A field of the wrong type is not missing as well.
            Err(more) => {
                for error in more {
                    if errors.iter().all(|known| known.field != error.field) {
                        errors.push(error);
                    }
                }
            }
        }
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{LeapDay, SendAt};
    use crate::model::{BIRTHDAY, Kind, LateJoin};

    fn schedule() -> Schedule {
        let kind = Kind { send_at: SendAt::default() };
        Schedule {
            kinds: [BIRTHDAY, "work_anniversary"].map(|name| (name.to_owned(), kind.clone())).into(),
            leap_day: LeapDay::default(),
            late_join: LateJoin::default(),
        }
    }

    fn check(document: UserDocument) -> Result<NewUser, Vec<FieldError>> {
        let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date");
        document.check(&schedule(), today)
    }

    fn object(text: &str) -> Object {
        serde_json::from_str(text).expect("an object")
    }

    fn ada() -> UserDocument {
        UserDocument::default().with(&object(
            r#"{"firstName":"Ada","lastName":"Lovelace","birthDate":"1815-12-10","timeZone":"Europe/London",
                "sendAt":"07:30","occasions":{"work_anniversary":"1833-06-05"}}"#,
        ))
    }

    #[test]
    fn every_wrong_field_is_named_once() {
        let document = UserDocument::default().with(&object(
            r#"{"firstName":1,"birthDate":"1990-02-30","nickname":null,"occasions":{"name_day":"--01-01"}}"#,
        ));
        let errors = check(document).expect_err("all are wrong");
        let mut fields: Vec<_> = errors.iter().map(|error| error.field.as_ref()).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["birthDate", "firstName", "nickname", "occasions.name_day", "timeZone"]);
    }

    #[test]
    fn null_clears_and_what_is_not_there_stays() {
        let user = check(ada().with(&object(r#"{"sendAt":null,"lastName":"King"}"#))).expect("it is right");
        assert_eq!((user.last_name.as_str(), user.send_at), ("King", None));
        assert!(user.occasions["work_anniversary"].is_some());
        let user = check(ada().with(&object(r#"{"occasions":{"work_anniversary":null}}"#)));
        assert_eq!(user.expect("it is right").occasions["work_anniversary"], None);
    }

    #[test]
    fn a_blank_text_is_not_null() {
        let object = object(
            r#"{"sendAt":"","leapDay":" ","externalId":"","lastName":"","occasions":{"work_anniversary":""}}"#,
        );
        let errors = check(ada().with(&object)).expect_err("they are blank");
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_ref()).collect();
        assert_eq!(fields, ["sendAt", "leapDay", "externalId", "occasions.work_anniversary"]);
    }

    #[test]
    fn what_was_read_can_be_written() {
        let document = ada().with(&object(r#"{"id":"x","createdAt":"x","updatedAt":"x"}"#));
        assert!(check(document).is_ok());
    }
}
