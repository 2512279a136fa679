//! A user's fields as text: validated, with every invalid field reported at once.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{Datelike as _, NaiveDate};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::parse_locale;
use super::json_object::{FieldError, JsonObject};
use super::{BIRTHDAY, ContactType, NewUser, Schedule, User};
use crate::calendar::text::shortened;
use crate::calendar::{AnnualDate, InvalidText, LeapDay, SendAt, Zone};

const MAX_NAME_CHARS: usize = 200;
/// Null unsets these; a blank text is an error.
const NULLABLE: [&str; 7] = ["sendAt", "leapDay", "externalId", "locale", "email", "phone", "slackUserId"];
const BLANK: &str = "is blank: omit it, or give null";

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
    /// The language of the message, as a BCP 47 tag. The default is that of the kind.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "language-tag", example = "pt-BR")]
    locale: Field<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "email-address", max_length = 254, example = "ada@example.org")]
    email: Field<String>,
    /// In international form (E.164). Blanks, dashes and brackets are removed.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "phone-number", example = "+491711234567")]
    phone: Field<String>,
    /// The member ID in Slack.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "slack-user-id", example = "U012AB3CD")]
    slack_user_id: Field<String>,
    /// Dates of other kinds that the configuration names, by kind.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, example = json!({}))]
    occasions: Field<JsonObject>,
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
    #[serde(rename = "contacts", default)]
    #[schema(ignore, value_type = String)]
    _contacts: IgnoredAny,
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

/// A user whose fields are being parsed. Fields have their JSON names.
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
    locale: Option<String>,
    addresses: BTreeMap<ContactType, Option<String>>,
    occasions: BTreeMap<String, Option<AnnualDate>>,
    errors: Vec<FieldError>,
}

impl<'a> UserInput<'a> {
    /// Returns an empty input that keeps the addresses, and the dates of other kinds, unless they are set. A birth date may not be after `today`, the
    /// latest local date in any zone; the date of another kind may be.
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
            locale: None,
            addresses: BTreeMap::new(),
            occasions: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    /// Returns an empty input that removes the addresses, and the dates of all configured kinds, unless they are set.
    #[must_use]
    pub fn complete(schedule: &'a Schedule, today: NaiveDate) -> Self {
        let occasions = schedule.other_kinds().map(|kind| (kind.to_owned(), None)).collect();
        let addresses = ContactType::ALL.map(|contact| (contact, None)).into();
        Self { addresses, occasions, ..Self::new(schedule, today) }
    }

    #[must_use]
    pub fn from_user(user: &User, schedule: &'a Schedule, today: NaiveDate) -> Self {
        let date = |kind: &str| user.occasions.get(kind).copied();
        Self {
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            birth_date: Some(user.birth_date),
            time_zone: Some(user.time_zone),
            send_at: user.send_at,
            leap_day: user.leap_day,
            external_id: user.external_id.clone(),
            locale: user.locale.clone(),
            addresses: ContactType::ALL
                .map(|contact| (contact, user.address(contact).map(str::to_owned)))
                .into(),
            occasions: schedule.other_kinds().map(|kind| (kind.to_owned(), date(kind))).collect(),
            ..Self::new(schedule, today)
        }
    }

    /// Applies `object` by the rules of a JSON merge patch (RFC 7396): null removes a field, an absent field stays as it is.
    #[must_use]
    pub fn patch(mut self, object: &JsonObject) -> Self {
        let (fields, errors) = object.read::<UserFields>();
        for error in errors {
            self.add_error(error.field, error.problem);
        }
        for (name, field) in [
            ("firstName", fields.first_name),
            ("lastName", fields.last_name),
            ("birthDate", fields.birth_date),
            ("timeZone", fields.time_zone),
            ("sendAt", fields.send_at),
            ("leapDay", fields.leap_day),
            ("externalId", fields.external_id),
            ("locale", fields.locale),
            ("email", fields.email),
            ("phone", fields.phone),
            ("slackUserId", fields.slack_user_id),
        ] {
            match field {
                Field::Absent => {}
                Field::Null => self.set(name, ""),
                Field::Value(text) if NULLABLE.contains(&name) && text.trim().is_empty() => {
                    self.add_error(name, BLANK);
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

    /// Sets the external id of the request's path; `id` has no blanks around it.
    #[must_use]
    pub fn with_external_id(mut self, id: &str) -> Self {
        if self.external_id.as_deref().is_some_and(|given| given != id) {
            self.add_error("externalId", "differs from the one in the path: omit it");
        }
        self.external_id = Some(id.to_owned());
        self
    }

    /// Sets a field other than the occasions; a blank text removes it.
    pub fn set(&mut self, field: &str, text: &str) {
        let text = text.trim();
        match field {
            "firstName" => self.first_name = self.parse_name(field, text),
            "lastName" => self.last_name = self.parse_name(field, text),
            "birthDate" => self.birth_date = self.parse_birth_date(field, text),
            "timeZone" => self.time_zone = self.parse(field, text),
            "sendAt" => self.send_at = self.parse(field, text),
            "leapDay" => self.leap_day = self.parse(field, text),
            "externalId" => self.external_id = Some(self.parse_name(field, text)).filter(|id| !id.is_empty()),
            "locale" => self.locale = self.parse_with(field, text, parse_locale),
            _ => match ContactType::ALL.into_iter().find(|contact| contact.field() == field) {
                Some(contact) => {
                    let address = self.parse_with(field, text, |text| contact.parse(text));
                    self.addresses.insert(contact, address);
                }
                None => self.add_error(field, "unknown field"),
            },
        }
    }

    /// Sets the date of a kind other than the birthday; a blank text removes it.
    pub fn set_occasion(&mut self, kind: &str, date: &str) {
        let field = occasion_field(kind);
        if let Some(problem) = self.kind_problem(kind) {
            return self.add_error(field, problem);
        }
        let date = self.parse(&field, date.trim());
        self.occasions.insert(kind.to_owned(), date);
    }

    /// Returns the user, or every invalid field once.
    pub fn validate(mut self) -> Result<NewUser, Vec<FieldError>> {
        let missing = [
            ("firstName", self.first_name.is_empty()),
            ("birthDate", self.birth_date.is_none()),
            ("timeZone", self.time_zone.is_none()),
        ];
        for (field, _) in missing.into_iter().filter(|(_, missing)| *missing) {
            self.add_error(field, "is missing");
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
                locale: self.locale,
                addresses: self.addresses,
                occasions: self.occasions,
            }),
            _ => Err(self.errors),
        }
    }

    fn set_occasions(&mut self, dates: &JsonObject) {
        let (dates, errors) = dates.read::<BTreeMap<String, Option<String>>>();
        for error in errors {
            self.add_error(occasion_field(&error.field), error.problem);
        }
        for (kind, date) in dates {
            match date {
                Some(date) if date.trim().is_empty() => self.add_error(occasion_field(&kind), BLANK),
                Some(date) => self.set_occasion(&kind, &date),
                None if self.occasions.contains_key(&kind) => self.set_occasion(&kind, ""),
                None => {}
            }
        }
    }

    fn kind_problem(&self, kind: &str) -> Option<String> {
        if kind == BIRTHDAY {
            return Some("set the birthday with birthDate".to_owned());
        }
        if self.schedule.kinds.contains_key(kind) {
            return None;
        }
        let known: Vec<&str> = self.schedule.other_kinds().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Some(format!("unknown kind {:?}: configured kinds besides the birthday: {known}", shortened(kind)))
    }

    fn parse_name(&mut self, field: &str, text: &str) -> String {
        let chars = text.chars().count();
        if chars > MAX_NAME_CHARS {
            self.add_error(field, format!("has {chars} characters; the maximum is {MAX_NAME_CHARS}"));
        } else if let Some(control) = text.chars().find(|c| c.is_control()) {
            self.add_error(
                field,
                format!("has the control character U+{:04X}: remove it", u32::from(control)),
            );
        }
        text.to_owned()
    }

    fn parse_birth_date(&mut self, field: &str, text: &str) -> Option<AnnualDate> {
        let date: AnnualDate = self.parse(field, text)?;
        let today = (self.today.year(), self.today.month(), self.today.day());
        if date.year().is_some_and(|year| (year, date.month(), date.day()) > today) {
            self.add_error(field, format!("{date} is in the future"));
        }
        Some(date)
    }

    fn parse<T: FromStr<Err = InvalidText>>(&mut self, field: &str, text: &str) -> Option<T> {
        self.parse_with(field, text, str::parse)
    }

    fn parse_with<T>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, InvalidText>,
    ) -> Option<T> {
        if text.is_empty() {
            return None;
        }
        parse(text).map_err(|error| self.add_error(field, error.to_string())).ok()
    }

    /// Keeps the first error of each field: a field of the wrong type is not also missing.
    fn add_error(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        let error = FieldError::new(field, problem);
        if self.errors.iter().all(|known| known.field != error.field) {
            self.errors.push(error);
        }
    }
}

fn occasion_field(kind: &str) -> String {
    format!("occasions.{}", shortened(kind))
}

impl JsonObject {
    /// Returns the user's id, for an import; `None` if it is null or absent.
    pub fn user_id(&self) -> Result<Option<Uuid>, FieldError> {
        let id = self.0.get("id").map_or(Ok(None), Option::<String>::deserialize);
        match id.map_err(|error| FieldError::new("id", error.to_string()))? {
            None => Ok(None),
            Some(blank) if blank.trim().is_empty() => Err(FieldError::new("id", BLANK)),
            Some(text) => parse_user_id(&text),
        }
    }
}

/// Parses the id of a user in an export; `None` if it is blank. The nil UUID is invalid: lists begin after it.
pub fn parse_user_id(text: &str) -> Result<Option<Uuid>, FieldError> {
    let text = text.trim();
    match text.parse::<Uuid>() {
        _ if text.is_empty() => Ok(None),
        Ok(id) if !id.is_nil() => Ok(Some(id)),
        _ => {
            let given = shortened(text);
            let problem =
                format!("invalid id {given:?}: use the UUID of an export, or omit it for a new user");
            Err(FieldError::new("id", problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = r#"{"firstName":" Ada ","lastName":"Lovelace","birthDate":"1815-12-10","timeZone":"Europe/London",
                          "sendAt":"07:30","occasions":{"work_anniversary":"1833-06-05"}}"#;

    fn validate(objects: &[&str]) -> Result<NewUser, Vec<FieldError>> {
        let schedule = Schedule::of_kinds(&[BIRTHDAY, "work_anniversary"]);
        let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date");
        let objects = objects.iter().map(|text| serde_json::from_str(text).expect("an object"));
        objects.fold(UserInput::complete(&schedule, today), |input, object| input.patch(&object)).validate()
    }

    fn invalid_fields(objects: &[&str]) -> Vec<String> {
        let errors = validate(objects).expect_err("an error");
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn every_invalid_field_is_named_once() {
        let object = r#"{"firstName":1,"lastName":"\u0000","birthDate":"1990-02-30","nickname":null,"sendAt":"25:00",
            "email":"ada","phone":"0171 123","slackUserId":7,"locale":"german","occasions":{"name_day":"--01-01","birthday":"--01-01"}}"#;
        let mut fields = invalid_fields(&[object]);
        fields.sort_unstable();
        let expected = [
            "birthDate",
            "email",
            "firstName",
            "lastName",
            "locale",
            "nickname",
            "occasions.birthday",
            "occasions.name_day",
            "phone",
            "sendAt",
            "slackUserId",
            "timeZone",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn an_error_names_the_valid_values() {
        for (object, part) in [
            (r#"{"timeZone":"Europe/Berln"}"#, "Europe/Berlin"),
            (r#"{"occasions":{"name_day":"--01-01"}}"#, "work_anniversary"),
            (r#"{"occasions":{"birthday":"--01-01"}}"#, "birthDate"),
        ] {
            let errors = validate(&[ADA, object]).expect_err("an error");
            assert!(errors.len() == 1 && errors[0].problem.contains(part), "{errors:?}");
        }
    }

    #[test]
    fn null_removes_a_field_and_an_absent_field_stays() {
        let user = validate(&[ADA, r#"{"sendAt":null,"lastName":"King"}"#]).expect("a valid user");
        assert_eq!((user.last_name.as_str(), user.send_at), ("King", None));
        assert!(user.occasions["work_anniversary"].is_some());
        let patches = [r#"{"occasions":null}"#, r#"{"occasions":{"work_anniversary":null,"name_day":null}}"#];
        for patch in patches {
            let user = validate(&[ADA, patch]).expect("a valid user");
            assert_eq!(user.occasions, [("work_anniversary".to_owned(), None)].into());
        }
        assert_eq!(invalid_fields(&[ADA, r#"{"birthDate":null}"#]), ["birthDate"]);
        let contacts = r#"{"email":"ada@example.org","phone":"+44 20 7946 0958","locale":"en_gb"}"#;
        let user =
            validate(&[ADA, contacts, r#"{"email":null,"slackUserId":"U012AB3CD"}"#]).expect("a valid user");
        assert_eq!(user.locale.as_deref(), Some("en-GB"));
        let addresses = user.addresses.values().map(Option::as_deref).collect::<Vec<_>>();
        assert_eq!(addresses, [None, Some("+442079460958"), Some("U012AB3CD")]);
    }

    #[test]
    fn a_blank_text_is_not_null() {
        let object = r#"{"sendAt":"","leapDay":" ","externalId":"","lastName":"","occasions":{"work_anniversary":""},
            "email":"","phone":" ","slackUserId":"","locale":""}"#;
        let mut fields = invalid_fields(&[ADA, object]);
        fields.sort_unstable();
        let expected = [
            "email",
            "externalId",
            "leapDay",
            "locale",
            "occasions.work_anniversary",
            "phone",
            "sendAt",
            "slackUserId",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn read_only_fields_are_ignored() {
        let user = validate(&[ADA, r#"{"id":"x","createdAt":"x","updatedAt":"x","contacts":[{}]}"#])
            .expect("a valid user");
        assert_eq!(user.first_name, "Ada");
    }

    #[test]
    fn a_birth_date_cannot_be_in_the_future_but_an_anniversary_can() {
        assert_eq!(invalid_fields(&[ADA, r#"{"birthDate":"2026-11-25"}"#]), ["birthDate"]);
        let today = r#"{"birthDate":"2026-11-24","occasions":{"work_anniversary":"2027-01-01"}}"#;
        assert!(validate(&[ADA, today]).is_ok());
    }
}
