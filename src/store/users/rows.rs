//! From rows to values and back.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Timelike as _, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use super::super::{Result, StoreError};
use super::UserRef;
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

/// The users of `which`, which follows `FROM users u`: by id, a row for each date.
pub(super) fn users_with_dates(which: impl FnOnce(&mut QueryBuilder<Postgres>)) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT u.id, u.external_id, u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day, u.version,
                u.created_at, u.updated_at, o.kind, o.year, o.month, o.day
         FROM (SELECT * FROM users u",
    );
    which(&mut query);
    query.push(") u LEFT JOIN occasions o ON o.user_id = u.id ORDER BY u.id");
    query
}

/// One user.
pub(super) async fn one_user(executor: impl PgExecutor<'_>, who: UserRef<'_>) -> Result<Option<User>> {
    let mut query = users_with_dates(|query| {
        match who {
            UserRef::Id(id) => query.push(" WHERE u.id = ").push_bind(id),
            UserRef::External(id) => query.push(" WHERE u.external_id = ").push_bind(id),
        };
    });
    let rows = query.build().fetch_all(executor).await?;
    by_user(&rows).next().map(|(_, rows)| user(rows)).transpose()
}

/// The rows of [`users_with_dates`], those of each user together with its id.
pub(super) fn by_user(rows: &[PgRow]) -> impl Iterator<Item = (Uuid, &[PgRow])> {
    let id = |row: &PgRow| row.try_get::<Uuid, _>(0).ok();
    rows.chunk_by(move |one, next| id(one) == id(next)).filter_map(move |rows| Some((id(&rows[0])?, rows)))
}

/// The user in the rows of one. By position: to look each name up takes longer than all else.
pub(super) fn user(rows: &[PgRow]) -> Result<User> {
    let row = &rows[0];
    let id = row.try_get(0)?;
    let (mut birth_date, mut occasions) = (None, BTreeMap::new());
    for row in rows {
        let Some(kind) = row.try_get::<Option<&str>, _>(10)? else {
            continue;
        };
        let date = date(row.try_get(11)?, row.try_get(12)?, row.try_get(13)?)?;
        if kind == BIRTHDAY {
            birth_date = Some(date);
        } else {
            occasions.insert(kind.to_owned(), date);
        }
    }
    Ok(User {
        id,
        external_id: row.try_get(1)?,
        first_name: row.try_get(2)?,
        last_name: row.try_get(3)?,
        birth_date: birth_date
            .ok_or_else(|| StoreError::Unreadable(format!("user {id}: there is no birthday")))?,
        time_zone: zone(id, row.try_get(4)?)?,
        send_at: send_at(id, row.try_get(5)?)?,
        leap_day: leap_day(id, row.try_get(6)?)?,
        occasions,
        version: row.try_get(7)?,
        created_at: row.try_get(8)?,
        updated_at: row.try_get(9)?,
    })
}

/// Year, month and day.
type DateColumns = (Option<i16>, i16, i16);

pub(super) fn date_columns(date: AnnualDate) -> DateColumns {
    (date.year().map(|year| year as i16), date.month() as i16, date.day() as i16)
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
    rule.map(|rule| rule.parse().map_err(|error| StoreError::Unreadable(format!("user {user}: {error}"))))
        .transpose()
}
