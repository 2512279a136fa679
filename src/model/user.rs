//! A person, and the dates on which that person is greeted.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

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
}

/// A user in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Set by bday.
    pub id: Uuid,
    /// The owner's own name for this person.
    pub external_id: Option<String>,
    /// Never blank.
    pub first_name: String,
    /// May be empty.
    pub last_name: String,
    /// The birthday.
    pub birth_date: AnnualDate,
    /// Where the person lives.
    pub time_zone: Zone,
    /// Local wall time; none means the kind's.
    pub send_at: Option<SendAt>,
    /// What 29 February means in a common year; none means the configuration's.
    pub leap_day: Option<LeapDay>,
    /// Grows with each edit.
    #[serde(skip)]
    pub version: i64,
    /// UTC.
    pub created_at: DateTime<Utc>,
    /// UTC.
    pub updated_at: DateTime<Utc>,
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
