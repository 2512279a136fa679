//! A user's fields as text: checked one by one, with every wrong field reported at once.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{Datelike as _, NaiveDate};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use utoipa::ToSchema;
use uuid::Uuid;

use super::object::{FieldError, Object};
use super::{BIRTHDAY, NewUser, Schedule, User};
use crate::calendar::text::shortened;
use crate::calendar::{AnnualDate, InvalidText, LeapDay, SendAt, Zone};

const MAX_NAME_CHARS: usize = 200;
/// Null unsets these; a blank text is an error.
const NULLABLE: [&str; 3] = ["sendAt", "leapDay", "externalId"];
const BLANK: &str = "is blank: leave it out, or give null";

/// A user's fields. Null unsets a field.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UserInput)]
pub struct UserFields {
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 200, example = "Ada")]
    first_name: Field<String>,
    /// Some people have one name.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, example = "Lovelace")]
    last_name: Field<String>,
    /// `YYYY-MM-DD`, or `--MM-DD` where the year is not known.
    #[serde(default)]
    #[schema(value_type = String, required = true, format = "annual-date", example = "1815-12-10")]
    birth_date: Field<String>,
    /// An IANA time zone name.
    #[serde(default)]
    #[schema(value_type = String, required = true, format = "time-zone", example = "Europe/London")]
    time_zone: Field<String>,
    /// Local time `HH:MM`. The default is that of the kind.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "local-time", example = "09:00")]
    send_at: Field<String>,
    /// The greeting of 29 February in a common year. The default is in the configuration.
    #[serde(default)]
    #[schema(value_type = Option<LeapDay>)]
    leap_day: Field<String>,
    /// Your id of this person. Unique.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200, example = "hr-17")]
    external_id: Field<String>,
    /// Dates of other kinds that the configuration names, by kind.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, example = json!({}))]
    occasions: Field<Object>,
    // Set by bday, and ignored here so that a user that was read can be written. Only an import uses the id.
    #[serde(rename = "id", default)]
    #[schema(ignore, value_type = String)]
    _id: IgnoredAny,
    #[serde(rename = "createdAt", default)]
    #[schema(ignore, value_type = String)]
    _created_at: IgnoredAny,
    #[serde(rename = "updatedAt", default)]
    #[schema(ignore, value_type = String)]
    _updated_at: IgnoredAny,
}

#[derive(Debug, Default)]
enum Field<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// A user whose fields are being read; fields go by their names in JSON.
#[derive(Debug, Clone)]
pub struct UserInput<'a> {
    schedule: &'a Schedule,
    today: NaiveDate,
    first_name: String,
    last_name: String,
    birth_date: Option<AnnualDate>,
    time_zone: Option<Zone>,
    send_at: Option<SendAt>,
    leap_day: Option<LeapDay>,
    external_id: Option<String>,
    /// As in [`NewUser`]: none removes a date.
    occasions: BTreeMap<String, Option<AnnualDate>>,
    errors: Vec<FieldError>,
}

impl<'a> UserInput<'a> {
    /// A user without fields, whose dates of other kinds stay as they are unless they are set. `today` is the latest date
    /// that it can be anywhere: a birth date is not after it. (An anniversary may be, if a person starts next month.)
    #[must_use]
    pub fn new(schedule: &'a Schedule, today: NaiveDate) -> Self {
        Self {
            schedule,
            today,
            first_name: String::new(),
            last_name: String::new(),
            birth_date: None,
            time_zone: None,
            send_at: None,
            leap_day: None,
            external_id: None,
            occasions: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    /// A user without fields, whose dates of all kinds that `schedule` knows are removed unless they are set.
    #[must_use]
    pub fn whole(schedule: &'a Schedule, today: NaiveDate) -> Self {
        let occasions = schedule.other_kinds().map(|kind| (kind.to_owned(), None)).collect();
        Self { occasions, ..Self::new(schedule, today) }
    }

    /// The fields of `user` that can be written, to be changed.
    #[must_use]
    pub fn of(user: &User, schedule: &'a Schedule, today: NaiveDate) -> Self {
        let date = |kind: &str| user.occasions.get(kind).copied();
        Self {
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            birth_date: Some(user.birth_date),
            time_zone: Some(user.time_zone),
            send_at: user.send_at,
            leap_day: user.leap_day,
            external_id: user.external_id.clone(),
            occasions: schedule.other_kinds().map(|kind| (kind.to_owned(), date(kind))).collect(),
            ..Self::new(schedule, today)
        }
    }

    /// Applies `object` by the rules of a JSON merge patch (RFC 7396): null removes a field, an absent field stays as it is.
    #[must_use]
    pub fn with(mut self, object: &Object) -> Self {
        let (fields, errors) = object.read::<UserFields>();
        for error in errors {
            self.wrong(error.field, error.problem);
        }
        for (name, field) in [
            ("firstName", fields.first_name),
            ("lastName", fields.last_name),
            ("birthDate", fields.birth_date),
            ("timeZone", fields.time_zone),
            ("sendAt", fields.send_at),
            ("leapDay", fields.leap_day),
            ("externalId", fields.external_id),
        ] {
            match field {
                Field::Absent => {}
                Field::Null => self.set(name, ""),
                Field::Value(text) if NULLABLE.contains(&name) && text.trim().is_empty() => {
                    self.wrong(name, BLANK);
                }
                Field::Value(text) => self.set(name, &text),
            }
        }
        match fields.occasions {
            Field::Absent => {}
            Field::Null => self.occasions.values_mut().for_each(|date| *date = None),
            Field::Value(dates) => self.set_occasions(&dates),
        }
        self
    }

    /// Sets the external id that the address of a request names; `id` has no blanks around it.
    #[must_use]
    pub fn with_external_id(mut self, id: &str) -> Self {
        if self.external_id.as_deref().is_some_and(|given| given != id) {
            self.wrong("externalId", "differs from the one in the address: leave it out");
        }
        self.external_id = Some(id.to_owned());
        self
    }

    /// Sets a field other than the occasions; a blank text removes it.
    pub fn set(&mut self, field: &str, text: &str) {
        let text = text.trim();
        match field {
            "firstName" => self.first_name = self.name(field, text),
            "lastName" => self.last_name = self.name(field, text),
            "birthDate" => self.birth_date = self.birthday(field, text),
            "timeZone" => self.time_zone = self.read(field, text),
            "sendAt" => self.send_at = self.read(field, text),
            "leapDay" => self.leap_day = self.read(field, text),
            "externalId" => self.external_id = Some(self.name(field, text)).filter(|id| !id.is_empty()),
            _ => self.wrong(field, "unknown field"),
        }
    }

    /// Sets the date of a kind beside the birthday; a blank text removes it.
    pub fn set_occasion(&mut self, kind: &str, date: &str) {
        let field = occasion_field(kind);
        if let Some(problem) = self.kind_problem(kind) {
            return self.wrong(field, problem);
        }
        let date = self.read(&field, date.trim());
        self.occasions.insert(kind.to_owned(), date);
    }

    /// Returns the user, or every wrong field once.
    pub fn check(mut self) -> Result<NewUser, Vec<FieldError>> {
        let missing = [
            ("firstName", self.first_name.is_empty()),
            ("birthDate", self.birth_date.is_none()),
            ("timeZone", self.time_zone.is_none()),
        ];
        for (field, _) in missing.into_iter().filter(|(_, missing)| *missing) {
            self.wrong(field, "is missing");
        }
        match (self.birth_date, self.time_zone) {
            (Some(birth_date), Some(time_zone)) if self.errors.is_empty() => Ok(NewUser {
                external_id: self.external_id,
                first_name: self.first_name,
                last_name: self.last_name,
                birth_date,
                time_zone,
                send_at: self.send_at,
                leap_day: self.leap_day,
                occasions: self.occasions,
            }),
            _ => Err(self.errors),
        }
    }

    fn set_occasions(&mut self, dates: &Object) {
        let (dates, errors) = dates.read::<BTreeMap<String, Option<String>>>();
        for error in errors {
            self.wrong(occasion_field(&error.field), error.problem);
        }
        for (kind, date) in dates {
            match date {
                Some(date) if date.trim().is_empty() => self.wrong(occasion_field(&kind), BLANK),
                Some(date) => self.set_occasion(&kind, &date),
                None if self.occasions.contains_key(&kind) => self.set_occasion(&kind, ""),
                None => {}
            }
        }
    }

    fn kind_problem(&self, kind: &str) -> Option<String> {
        if kind == BIRTHDAY {
            return Some("the birthday is birthDate".to_owned());
        }
        if self.schedule.kinds.contains_key(kind) {
            return None;
        }
        let known: Vec<&str> = self.schedule.other_kinds().collect();
        let known = if known.is_empty() { "no kind but the birthday".to_owned() } else { known.join(", ") };
        Some(format!("unknown kind {:?}: the configuration names {known}", shortened(kind)))
    }

    fn name(&mut self, field: &str, text: &str) -> String {
        let chars = text.chars().count();
        if chars > MAX_NAME_CHARS {
            self.wrong(field, format!("has {chars} characters; {MAX_NAME_CHARS} is the most"));
        } else if let Some(control) = text.chars().find(|c| c.is_control()) {
            self.wrong(field, format!("has the control character U+{:04X}; remove it", u32::from(control)));
        }
        text.to_owned()
    }

    fn birthday(&mut self, field: &str, text: &str) -> Option<AnnualDate> {
        let date: AnnualDate = self.read(field, text)?;
        let today = (self.today.year(), self.today.month(), self.today.day());
        if date.year().is_some_and(|year| (year, date.month(), date.day()) > today) {
            self.wrong(field, format!("{date} is in the future"));
        }
        Some(date)
    }

    fn read<T: FromStr<Err = InvalidText>>(&mut self, field: &str, text: &str) -> Option<T> {
        if text.is_empty() {
            return None;
        }
        text.parse().map_err(|error: InvalidText| self.wrong(field, error.to_string())).ok()
    }

    /// Reports the first error of each field: one of the wrong type is not missing as well.
    fn wrong(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        let error = FieldError::new(field, problem);
        if self.errors.iter().all(|known| known.field != error.field) {
            self.errors.push(error);
        }
    }
}

fn occasion_field(kind: &str) -> String {
    format!("occasions.{}", shortened(kind))
}

impl Object {
    /// Returns bday's own id of the user, for an import (elsewhere the address names the user); `None` if it is null or absent.
    pub fn user_id(&self) -> Result<Option<Uuid>, FieldError> {
        let id = self.0.get("id").map_or(Ok(None), Option::<String>::deserialize);
        match id.map_err(|error| FieldError::new("id", error.to_string()))? {
            None => Ok(None),
            Some(blank) if blank.trim().is_empty() => Err(FieldError::new("id", BLANK)),
            Some(text) => user_id(&text),
        }
    }
}

/// Reads bday's own id of a user, as an export writes it; `None` if it is blank. The nil UUID is invalid: lists begin after it.
pub fn user_id(text: &str) -> Result<Option<Uuid>, FieldError> {
    let text = text.trim();
    match text.parse::<Uuid>() {
        _ if text.is_empty() => Ok(None),
        Ok(id) if !id.is_nil() => Ok(Some(id)),
        _ => {
            let given = shortened(text);
            let problem =
                format!("invalid id {given:?}: give the UUID of an export, or leave it out for a new person");
            Err(FieldError::new("id", problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = r#"{"firstName":" Ada ","lastName":"Lovelace","birthDate":"1815-12-10","timeZone":"Europe/London",
                          "sendAt":"07:30","occasions":{"work_anniversary":"1833-06-05"}}"#;

    fn check(objects: &[&str]) -> Result<NewUser, Vec<FieldError>> {
        let schedule = Schedule::of_kinds(&[BIRTHDAY, "work_anniversary"]);
        let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date");
        let objects = objects.iter().map(|text| serde_json::from_str(text).expect("an object"));
        objects.fold(UserInput::whole(&schedule, today), |input, object| input.with(&object)).check()
    }

    fn wrong_fields(objects: &[&str]) -> Vec<String> {
        let errors = check(objects).expect_err("it is wrong");
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn every_wrong_field_is_named_once() {
        let object = r#"{"firstName":1,"lastName":"\u0000","birthDate":"1990-02-30","nickname":null,"sendAt":"25:00",
            "occasions":{"name_day":"--01-01","birthday":"--01-01"}}"#;
        let mut fields = wrong_fields(&[object]);
        fields.sort_unstable();
        let expected = [
            "birthDate",
            "firstName",
            "lastName",
            "nickname",
            "occasions.birthday",
            "occasions.name_day",
            "sendAt",
            "timeZone",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn an_error_suggests_what_was_meant() {
        for (object, part) in [
            (r#"{"timeZone":"Europe/Berln"}"#, "Europe/Berlin"),
            (r#"{"occasions":{"name_day":"--01-01"}}"#, "work_anniversary"),
            (r#"{"occasions":{"birthday":"--01-01"}}"#, "birthDate"),
        ] {
            let errors = check(&[ADA, object]).expect_err("it is wrong");
            assert!(errors.len() == 1 && errors[0].problem.contains(part), "{errors:?}");
        }
    }

    #[test]
    fn null_removes_a_field_and_an_absent_field_stays() {
        let user = check(&[ADA, r#"{"sendAt":null,"lastName":"King"}"#]).expect("it is right");
        assert_eq!((user.last_name.as_str(), user.send_at), ("King", None));
        assert!(user.occasions["work_anniversary"].is_some());
        let patches = [r#"{"occasions":null}"#, r#"{"occasions":{"work_anniversary":null,"name_day":null}}"#];
        for patch in patches {
            let user = check(&[ADA, patch]).expect("it is right");
            assert_eq!(user.occasions, [("work_anniversary".to_owned(), None)].into());
        }
        assert_eq!(wrong_fields(&[ADA, r#"{"birthDate":null}"#]), ["birthDate"]);
    }

    #[test]
    fn a_blank_text_is_not_null() {
        let object = r#"{"sendAt":"","leapDay":" ","externalId":"","lastName":"","occasions":{"work_anniversary":""}}"#;
        let mut fields = wrong_fields(&[ADA, object]);
        fields.sort_unstable();
        assert_eq!(fields, ["externalId", "leapDay", "occasions.work_anniversary", "sendAt"]);
    }

    #[test]
    fn a_user_that_was_read_can_be_written() {
        let user = check(&[ADA, r#"{"id":"x","createdAt":"x","updatedAt":"x"}"#]).expect("it is right");
        assert_eq!(user.first_name, "Ada");
    }

    #[test]
    fn nobody_is_born_tomorrow_but_an_anniversary_may_begin_then() {
        assert_eq!(wrong_fields(&[ADA, r#"{"birthDate":"2026-11-25"}"#]), ["birthDate"]);
        let today = r#"{"birthDate":"2026-11-24","occasions":{"work_anniversary":"2027-01-01"}}"#;
        assert!(check(&[ADA, today]).is_ok());
    }
}
