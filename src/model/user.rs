//! Users and their yearly dates.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Contact, ContactType};
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};

pub const BIRTHDAY: &str = "birthday";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    pub external_id: Option<String>,
    pub first_name: String,
    pub last_name: String,
    pub birth_date: AnnualDate,
    pub time_zone: Zone,
    pub send_at: Option<SendAt>,
    pub leap_day: Option<LeapDay>,
    pub locale: Option<String>,
    /// None removes an address; the addresses of absent types stay.
    pub addresses: BTreeMap<ContactType, Option<String>>,
    /// Dates of other kinds. None removes a date; the dates of absent kinds stay.
    pub occasions: BTreeMap<String, Option<AnnualDate>>,
}

impl NewUser {
    #[must_use]
    pub fn created(mut self, id: Uuid, now: DateTime<Utc>) -> User {
        let now = now.trunc_subsecs(6);
        let mut address = |contact| self.addresses.remove(&contact).flatten();
        let (email, phone) = (address(ContactType::Email), address(ContactType::Phone));
        let slack_user_id = address(ContactType::SlackUserId);
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
            locale: self.locale,
            email,
            phone,
            slack_user_id,
            occasions: dates.filter_map(|(kind, date)| Some((kind, date?))).collect(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: Uuid,
    /// Your own identifier of this user.
    #[schema(example = "hr-17")]
    pub external_id: Option<String>,
    /// Never blank.
    #[schema(example = "Ada")]
    pub first_name: String,
    #[schema(example = "Lovelace")]
    pub last_name: String,
    /// `YYYY-MM-DD`, or `--MM-DD` if the year is unknown.
    #[schema(value_type = String, example = "1815-12-10")]
    pub birth_date: AnnualDate,
    /// An IANA time zone name.
    #[schema(value_type = String, example = "Europe/London")]
    pub time_zone: Zone,
    /// Local time `HH:MM`; null: the default of the kind.
    #[schema(value_type = Option<String>, example = "09:00")]
    pub send_at: Option<SendAt>,
    /// The rule for 29 February in a common year: `feb28`, `mar1` or `leap_years_only`; null: the configured default.
    #[schema(value_type = Option<String>, example = "feb28")]
    pub leap_day: Option<LeapDay>,
    /// The language of the message, a BCP 47 tag; null: that of the kind.
    #[schema(example = "pt-BR")]
    pub locale: Option<String>,
    #[schema(example = "ada@example.org")]
    pub email: Option<String>,
    /// E.164.
    #[schema(example = "+491711234567")]
    pub phone: Option<String>,
    #[schema(example = "U012AB3CD")]
    pub slack_user_id: Option<String>,
    /// Dates of other kinds, by kind.
    #[schema(value_type = BTreeMap<String, String>)]
    pub occasions: BTreeMap<String, AnnualDate>,
    #[serde(skip)]
    pub version: i64,
    /// UTC.
    pub created_at: DateTime<Utc>,
    /// UTC.
    pub updated_at: DateTime<Utc>,
}

/// A user, and how each channel reaches them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserWithContacts {
    #[serde(flatten)]
    pub user: User,
    /// One for each channel that the user has an address for. Read only.
    pub contacts: Vec<Contact>,
}

/// The version of a user: the `ETag`, such as `7-63f2a8d9c4b00`.
///
/// The number alone is not unique: a user who was deleted and created again under the same external id has the same id, and begins
/// at 1 again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    number: i64,
    created_at_micros: i64,
}

impl Version {
    #[must_use]
    pub fn new(number: i64, created_at: DateTime<Utc>) -> Self {
        Self { number, created_at_micros: created_at.timestamp_micros() }
    }

    /// Parses exactly the format of `Display`: tags are compared byte by byte.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, created_at) = text.split_once('-')?;
        let created_at_micros = i64::from_str_radix(created_at, 16).ok()?;
        let version = Self { number: number.parse().ok()?, created_at_micros };
        (version.to_string() == text).then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.number, self.created_at_micros)
    }
}

impl User {
    #[must_use]
    pub fn version(&self) -> Version {
        Version::new(self.version, self.created_at)
    }

    #[must_use]
    pub fn address(&self, contact: ContactType) -> Option<&str> {
        let address = match contact {
            ContactType::Email => &self.email,
            ContactType::Phone => &self.phone,
            ContactType::SlackUserId => &self.slack_user_id,
        };
        address.as_deref()
    }

    /// Returns every yearly date of this user; `known_at` returns the instant at which the date of a kind was learned.
    pub fn yearly_dates(&self, known_at: impl Fn(&str) -> DateTime<Utc>) -> impl Iterator<Item = Occasion> {
        let birthday = std::iter::once((BIRTHDAY, self.birth_date));
        let others = self.occasions.iter().map(|(kind, date)| (kind.as_str(), *date));
        birthday.chain(others).map(move |(kind, date)| Occasion {
            user_id: self.id,
            kind: kind.to_owned(),
            date,
            time_zone: self.time_zone,
            send_at: self.send_at,
            leap_day: self.leap_day,
            known_at: known_at(kind),
        })
    }
}

/// A yearly date of a user, with the user's fields that planning needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    pub user_id: Uuid,
    pub kind: String,
    pub date: AnnualDate,
    pub time_zone: Zone,
    pub send_at: Option<SendAt>,
    pub leap_day: Option<LeapDay>,
    /// When the date was learned or last changed (UTC).
    pub known_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_format_of_display_is_parsed() {
        let at = DateTime::from_timestamp(1_773_565_200, 123_456_789).expect("an instant");
        let version = Version::new(7, at);
        assert_eq!(Version::parse(&version.to_string()), Some(version));
        let later = DateTime::from_timestamp(1_773_565_200, 123_457_000).expect("an instant");
        assert_ne!(Version::new(7, later), version);
        for wrong in ["", "7", "-", "7-", "-1f", "+7-1f", "07-1f", "7-1F", "7-+1f", "7-01f", "7-1f-1", "x-1f"]
        {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }
}
