//! A person, and the dates on which that person is greeted.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Schedule;
use super::instant::written;
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};

/// The kind that is always there.
pub const BIRTHDAY: &str = "birthday";

/// A user as somebody wants it to be; the database adds the id and the times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The owner's own name for this person.
    pub external_id: Option<String>,
    /// Never blank.
    pub first_name: String,
    /// May be empty: some people have one name.
    pub last_name: String,
    /// The birthday.
    pub birth_date: AnnualDate,
    /// Where the person lives.
    pub time_zone: Zone,
    /// Local wall time; none means the kind's.
    pub send_at: Option<SendAt>,
    /// What 29 February means in a common year; none means the configuration's.
    pub leap_day: Option<LeapDay>,
    /// Dates of other kinds. None takes a date away; a kind that is not here stays as it is.
    pub occasions: BTreeMap<String, Option<AnnualDate>>,
}

/// A user in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Set by bday.
    pub id: Uuid,
    /// The owner's own name for this person.
    #[schema(example = "hr-17")]
    pub external_id: Option<String>,
    /// Never blank.
    #[schema(example = "Ada")]
    pub first_name: String,
    /// May be empty.
    #[schema(example = "Lovelace")]
    pub last_name: String,
    /// `YYYY-MM-DD`, or `--MM-DD` where the year is not known.
    #[schema(value_type = String, example = "1815-12-10")]
    pub birth_date: AnnualDate,
    /// An IANA time zone name: where the person lives.
    #[schema(value_type = String, example = "Europe/London")]
    pub time_zone: Zone,
    /// Local wall time `HH:MM`; null means the kind's.
    #[schema(value_type = Option<String>, example = "09:00")]
    pub send_at: Option<SendAt>,
    /// What 29 February means in a common year: `feb28`, `mar1` or `leap_years_only`; null means the configuration's.
    #[schema(value_type = Option<String>, example = "feb28")]
    pub leap_day: Option<LeapDay>,
    /// Dates of other kinds, by kind.
    #[schema(value_type = BTreeMap<String, String>)]
    pub occasions: BTreeMap<String, AnnualDate>,
    /// Grows with each edit: the `ETag`.
    #[serde(skip)]
    pub version: i64,
    /// UTC.
    #[serde(serialize_with = "written")]
    pub created_at: DateTime<Utc>,
    /// UTC.
    #[serde(serialize_with = "written")]
    pub updated_at: DateTime<Utc>,
}

impl User {
    /// The same without the dates of kinds that `schedule` does not know: those stay in the database, unused, until
    /// their kind is configured (again).
    #[must_use]
    pub fn known_to(mut self, schedule: &Schedule) -> Self {
        self.occasions.retain(|kind, _| schedule.kinds.contains_key(kind));
        self
    }
}

/// One yearly date of a user, with what planning must know of that user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// Whose it is.
    pub user_id: Uuid,
    /// Which occasion.
    pub kind: String,
    /// The date, with or without its year.
    pub date: AnnualDate,
    /// Where the user lives.
    pub time_zone: Zone,
    /// The user's own send time.
    pub send_at: Option<SendAt>,
    /// The user's own rule for 29 February.
    pub leap_day: Option<LeapDay>,
    /// When the date was learned or last changed, UTC.
    pub known_at: DateTime<Utc>,
}
