//! A person, and the dates on which that person is greeted.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SubsecRound as _, Utc};
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

impl NewUser {
    /// The user right after its creation, as the database stores it: to the microsecond.
    #[must_use]
    pub fn created(self, id: Uuid, now: DateTime<Utc>) -> User {
        let now = now.trunc_subsecs(6);
        let dates = self.occasions.into_iter();
        User {
            id,
            external_id: self.external_id,
            first_name: self.first_name,
            last_name: self.last_name,
            birth_date: self.birth_date,
            time_zone: self.time_zone,
            send_at: self.send_at,
            leap_day: self.leap_day,
            occasions: dates.filter_map(|(kind, date)| Some((kind, date?))).collect(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }
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
    /// Grows with each edit; see [`Version`].
    #[serde(skip)]
    pub version: i64,
    /// UTC.
    #[serde(serialize_with = "written")]
    pub created_at: DateTime<Utc>,
    /// UTC.
    #[serde(serialize_with = "written")]
    pub updated_at: DateTime<Utc>,
}

/// One state of one person: the `ETag`, as text `7-63f2a8d9c4b00`.
///
/// The number alone would not do: who was deleted and comes back under the same external id has the same id, and begins
/// at 1 again. Whoever knows the one before would take the new one for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    number: i64,
    created_at_micros: i64,
}

impl Version {
    /// The `number`th of somebody who was created at this instant.
    #[must_use]
    pub fn new(number: i64, created_at: DateTime<Utc>) -> Self {
        Self {
            number,
            // As exact as the database keeps it.
            created_at_micros: created_at.timestamp_micros(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.number, self.created_at_micros)
    }
}

/// A text that is no version of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no version that came from here")]
pub struct InvalidVersion;

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let (number, created_at) = text.split_once('-').ok_or(InvalidVersion)?;
        let version = Self {
            number: number.parse().map_err(|_| InvalidVersion)?,
            created_at_micros: i64::from_str_radix(created_at, 16).map_err(|_| InvalidVersion)?,
        };
        // A tag is compared letter by letter: only what we write is ours.
        if version.to_string() == text { Ok(version) } else { Err(InvalidVersion) }
    }
}

impl User {
    /// For the `ETag`.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::new(self.version, self.created_at)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_written_and_in_no_other_way() {
        let at = DateTime::from_timestamp(1_773_565_200, 123_456_789).expect("an instant");
        let version = Version::new(7, at);
        assert_eq!(version.to_string().parse(), Ok(version));
        let later = DateTime::from_timestamp(1_773_565_200, 123_457_000).expect("an instant");
        assert_ne!(Version::new(7, later), version);
        for wrong in ["", "7", "-", "7-", "-1f", "+7-1f", "07-1f", "7-1F", "7-+1f", "7-01f", "7-1f-1", "x-1f"]
        {
            assert_eq!(wrong.parse::<Version>(), Err(InvalidVersion), "{wrong}");
        }
    }
}
