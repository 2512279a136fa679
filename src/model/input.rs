//! A user as somebody wrote it down: text in, a checked [`NewUser`] out, with every wrong field named at once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{Datelike as _, NaiveDate};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{BIRTHDAY, NewUser, Schedule};
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};

const MAX_NAME_CHARS: usize = 200;
/// bday's own id of a user, in CSV and in JSON.
pub const ID: &str = "id";

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The field, as whoever wrote it calls it.
    #[schema(value_type = String)]
    pub field: Cow<'static, str>,
    /// What is wrong with it, with the value, and what to do.
    pub problem: String,
}

/// The fields as text. None and blank are the same.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the fields of NewUser")]
pub struct UserInput<'a> {
    pub first_name: &'a str,
    pub last_name: &'a str,
    pub birth_date: &'a str,
    pub time_zone: &'a str,
    pub send_at: Option<&'a str>,
    pub leap_day: Option<&'a str>,
    pub external_id: Option<&'a str>,
    /// Dates of other kinds, by kind; none takes a date away, and a kind that is not here stays as it is.
    pub occasions: &'a [(&'a str, Option<&'a str>)],
}

/// How the fields are called where the text comes from.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the fields of NewUser")]
pub struct FieldNames {
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub birth_date: &'static str,
    pub time_zone: &'static str,
    pub send_at: &'static str,
    pub leap_day: &'static str,
    pub external_id: &'static str,
    /// What comes before a kind's name.
    pub occasion_prefix: &'static str,
}

/// The names in CSV files.
pub const SNAKE_CASE: FieldNames = FieldNames {
    first_name: "first_name",
    last_name: "last_name",
    birth_date: "birth_date",
    time_zone: "time_zone",
    send_at: "send_at",
    leap_day: "leap_day",
    external_id: "external_id",
    occasion_prefix: "",
};

/// The names in JSON.
pub const CAMEL_CASE: FieldNames = FieldNames {
    first_name: "firstName",
    last_name: "lastName",
    birth_date: "birthDate",
    time_zone: "timeZone",
    send_at: "sendAt",
    leap_day: "leapDay",
    external_id: "externalId",
    occasion_prefix: "occasions.",
};

impl UserInput<'_> {
    /// Checks all fields. `today` is the latest date that it can be anywhere: nobody is born after it. (An anniversary
    /// may count from a day to come: somebody who starts next month.) Kinds are those that `schedule` knows.
    ///
    /// # Errors
    /// Every wrong field, by the name that `names` gives it.
    pub fn check(
        &self,
        names: &FieldNames,
        schedule: &Schedule,
        today: NaiveDate,
    ) -> Result<NewUser, Vec<FieldError>> {
        let mut errors = Vec::new();
        let first_name = name(self.first_name, names.first_name, true, &mut errors);
        let last_name = name(self.last_name, names.last_name, false, &mut errors);
        let external_id = self.external_id.map(str::trim).filter(|id| !id.is_empty());
        let external_id = external_id.map(|id| name(id, names.external_id, true, &mut errors));
        let birth_date = required::<AnnualDate>(self.birth_date, names.birth_date, &mut errors);
        if let Some(date) = birth_date
            && let Some(year) = date.year()
            && (year, date.month(), date.day()) > (today.year(), today.month(), today.day())
        {
            errors.push(FieldError::new(names.birth_date, format!("{date} is in the future")));
        }
        let time_zone = required::<Zone>(self.time_zone, names.time_zone, &mut errors);
        let send_at = optional::<SendAt>(self.send_at, names.send_at, &mut errors);
        let leap_day = optional::<LeapDay>(self.leap_day, names.leap_day, &mut errors);
        let occasions = self.occasions(names, schedule, &mut errors);
        match (birth_date, time_zone) {
            (Some(birth_date), Some(time_zone)) if errors.is_empty() => Ok(NewUser {
                external_id,
                first_name,
                last_name,
                birth_date,
                time_zone,
                send_at,
                leap_day,
                occasions,
            }),
            _ => Err(errors),
        }
    }

    fn occasions(
        &self,
        names: &FieldNames,
        schedule: &Schedule,
        errors: &mut Vec<FieldError>,
    ) -> BTreeMap<String, Option<AnnualDate>> {
        let mut occasions = BTreeMap::new();
        for (kind, date) in self.occasions {
            let field = || format!("{}{}", names.occasion_prefix, shortened(kind));
            if let Err(problem) = schedule.check_kind(kind, names.birth_date) {
                errors.push(FieldError::new(field(), problem));
                continue;
            }
            let date = optional::<AnnualDate>(*date, field(), errors);
            occasions.insert((*kind).to_owned(), date);
        }
        occasions
    }
}

impl FieldError {
    /// Of `field`.
    pub fn new(field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Reads bday's own id of a user, as an export gives it.
///
/// # Errors
/// It is none. The nil UUID is not, either: lists begin behind it.
pub fn user_id(text: &str) -> Result<Uuid, FieldError> {
    let id = text.trim().parse().ok().filter(|id: &Uuid| !id.is_nil());
    id.ok_or_else(|| {
        let problem = format!(
            "{:?} is no id: it is a UUID, as the export gives it; leave it out for somebody new",
            shortened(text)
        );
        FieldError::new(ID, problem)
    })
}

impl Schedule {
    /// Whether a date of `kind` can be given beside the birthday, which goes by the name `birth_date`.
    pub fn check_kind(&self, kind: &str, birth_date: &str) -> Result<(), String> {
        if kind == BIRTHDAY {
            return Err(format!("the birthday is {birth_date}"));
        }
        if self.kinds.contains_key(kind) {
            return Ok(());
        }
        let known: Vec<&str> = self.other_kinds().collect();
        Err(if known.is_empty() {
            format!("unknown kind {:?}: the configuration names no kind but the birthday", shortened(kind))
        } else {
            format!("unknown kind {:?}: the configuration names {}", shortened(kind), known.join(", "))
        })
    }
}

/// A name that somebody made up must not fill a screen.
pub(super) fn shortened(text: &str) -> &str {
    text.char_indices().nth(60).map_or(text, |(end, _)| &text[..end])
}

fn name(text: &str, field: &'static str, needed: bool, errors: &mut Vec<FieldError>) -> String {
    let text = text.trim();
    let mut wrong = |problem: String| errors.push(FieldError::new(field, problem));
    if text.is_empty() && needed {
        wrong("is missing".to_owned());
    } else if text.chars().count() > MAX_NAME_CHARS {
        wrong(format!("has {} characters; {MAX_NAME_CHARS} is the most", text.chars().count()));
    } else if let Some(control) = text.chars().find(|c| c.is_control()) {
        wrong(format!("has the control character U+{:04X}; remove it", u32::from(control)));
    }
    text.to_owned()
}

fn required<T>(text: &str, field: &'static str, errors: &mut Vec<FieldError>) -> Option<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    if text.trim().is_empty() {
        errors.push(FieldError::new(field, "is missing"));
        return None;
    }
    optional(Some(text), field, errors)
}

fn optional<T>(
    text: Option<&str>,
    field: impl Into<Cow<'static, str>>,
    errors: &mut Vec<FieldError>,
) -> Option<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = text.map(str::trim).filter(|text| !text.is_empty())?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            errors.push(FieldError::new(field, error.to_string()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date")
    }

    fn schedule() -> Schedule {
        let kind = super::super::Kind { send_at: SendAt::default() };
        Schedule {
            kinds: [BIRTHDAY, "work_anniversary"].map(|name| (name.to_owned(), kind.clone())).into(),
            leap_day: LeapDay::default(),
            late_join: super::super::LateJoin::default(),
        }
    }

    fn ada() -> UserInput<'static> {
        UserInput {
            first_name: " Ada ",
            last_name: "Lovelace",
            birth_date: "1815-12-10",
            time_zone: "Europe/London",
            ..UserInput::default()
        }
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let input = UserInput {
            first_name: "\u{0}",
            birth_date: "1990-02-30",
            time_zone: "Europe/Berln",
            send_at: Some("25:00"),
            ..UserInput::default()
        };
        let errors = input.check(&SNAKE_CASE, &schedule(), today()).expect_err("all are wrong");
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_ref()).collect();
        assert_eq!(fields, ["first_name", "birth_date", "time_zone", "send_at"]);
        assert!(errors[2].problem.contains("Europe/Berlin"), "{}", errors[2]);
    }

    #[test]
    fn blanks_are_trimmed_and_blank_options_are_none() {
        let user = UserInput { send_at: Some(" "), external_id: Some(""), ..ada() };
        let user = user.check(&SNAKE_CASE, &schedule(), today()).expect("it is right");
        assert_eq!((user.first_name.as_str(), user.send_at, user.external_id), ("Ada", None, None));
    }

    #[test]
    fn nobody_is_born_tomorrow() {
        let input = UserInput { birth_date: "2026-11-25", ..ada() };
        assert!(input.check(&SNAKE_CASE, &schedule(), today()).is_err());
        let input = UserInput { birth_date: "2026-11-24", ..ada() };
        assert!(input.check(&SNAKE_CASE, &schedule(), today()).is_ok());
    }

    #[test]
    fn dates_of_other_kinds_are_checked_like_the_birthday() {
        let input = UserInput {
            occasions: &[
                ("work_anniversary", Some("2027-01-01")),
                ("name_day", Some("--01-01")),
                ("birthday", None),
            ],
            ..ada()
        };
        let errors = input.check(&CAMEL_CASE, &schedule(), today()).expect_err("two are wrong");
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_ref()).collect();
        assert_eq!(fields, ["occasions.name_day", "occasions.birthday"]);
        assert!(errors[0].problem.contains("work_anniversary"), "{}", errors[0]);
        assert!(errors[1].problem.contains("birthDate"), "{}", errors[1]);
    }
}
