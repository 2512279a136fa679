//! From rows to values and back.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Timelike as _, Utc};
use uuid::Uuid;

use super::super::{Result, StoreError};
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};
use crate::model::{BIRTHDAY, Occasion, User};

/// An occasion as a row, with what planning needs of its user.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct OccasionRow {
    pub(in crate::store) user_id: Uuid,
    kind: String,
    year: Option<i16>,
    month: i16,
    day: i16,
    known_at: DateTime<Utc>,
    time_zone: String,
    send_at: Option<NaiveTime>,
    leap_day: Option<String>,
}

impl OccasionRow {
    pub(in crate::store) fn occasion(self) -> Result<Occasion> {
        let user = self.user_id;
        Ok(Occasion {
            user_id: user,
            kind: self.kind,
            date: date(self.year, self.month, self.day)?,
            time_zone: zone(user, &self.time_zone)?,
            send_at: send_at(user, self.send_at)?,
            leap_day: leap_day(user, self.leap_day.as_deref())?,
            known_at: self.known_at,
        })
    }
}

/// What [`UserRow`] is read from, of `users u`. The dates are `kind month day [year]`, each behind a comma but the first:
/// a kind holds neither blank nor comma, and an object in JSON costs a page of users half as much again.
pub(super) const USER_COLUMNS: &str =
    "SELECT u.id, u.external_id, u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day, u.version,
        u.created_at, u.updated_at,
        (SELECT string_agg(concat_ws(' ', o.kind, o.month, o.day, o.year), ',') FROM occasions o
         WHERE o.user_id = u.id) AS dates
 FROM users u";

/// Year, month and day.
type DateColumns = (Option<i16>, i16, i16);

/// A user with all dates, by kind.
#[derive(sqlx::FromRow)]
pub(super) struct UserRow {
    id: Uuid,
    external_id: Option<String>,
    first_name: String,
    last_name: String,
    time_zone: String,
    send_at: Option<NaiveTime>,
    leap_day: Option<String>,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    dates: Option<String>,
}

impl UserRow {
    pub(super) fn user(self) -> Result<User> {
        let mut occasions = BTreeMap::new();
        for one in self.dates.iter().flat_map(|dates| dates.split(',')) {
            let (kind, date) = kind_and_date(one)?;
            occasions.insert(kind.to_owned(), date);
        }
        let birth_date = occasions
            .remove(BIRTHDAY)
            .ok_or_else(|| StoreError::Unreadable(format!("user {}: there is no birthday", self.id)))?;
        Ok(User {
            birth_date,
            time_zone: zone(self.id, &self.time_zone)?,
            send_at: send_at(self.id, self.send_at)?,
            leap_day: leap_day(self.id, self.leap_day.as_deref())?,
            occasions,
            id: self.id,
            external_id: self.external_id,
            first_name: self.first_name,
            last_name: self.last_name,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

pub(super) fn date_columns(date: AnnualDate) -> DateColumns {
    (
        date.year().map(|year| year as i16),
        date.month() as i16,
        date.day() as i16,
    )
}

/// One of the `dates` of [`USER_COLUMNS`].
fn kind_and_date(text: &str) -> Result<(&str, AnnualDate)> {
    let mut parts = text.split(' ');
    let kind = parts.next().unwrap_or_default();
    let numbers: Vec<i16> = parts.map_while(|part| part.parse().ok()).collect();
    match numbers[..] {
        [month, day] => Ok((kind, date(None, month, day)?)),
        [month, day, year] => Ok((kind, date(Some(year), month, day)?)),
        _ => Err(StoreError::Unreadable(format!("the date {text:?}"))),
    }
}

fn date(year: Option<i16>, month: i16, day: i16) -> Result<AnnualDate> {
    AnnualDate::new(year.map(i32::from), month as u32, day as u32)
        .map_err(|error| StoreError::Unreadable(error.to_string()))
}

fn zone(user: Uuid, name: &str) -> Result<Zone> {
    Zone::parse(name).map_err(|error| StoreError::Unreadable(format!("user {user}: {error}")))
}

fn send_at(user: Uuid, time: Option<NaiveTime>) -> Result<Option<SendAt>> {
    time.map(|time| {
        SendAt::from_minutes((time.hour() * 60 + time.minute()) as i16).ok_or_else(|| {
            StoreError::Unreadable(format!("user {user}: the send time {time} is not in a day"))
        })
    })
    .transpose()
}

fn leap_day(user: Uuid, rule: Option<&str>) -> Result<Option<LeapDay>> {
    rule.map(|rule| {
        rule.parse()
            .map_err(|error| StoreError::Unreadable(format!("user {user}: {error}")))
    })
    .transpose()
}
