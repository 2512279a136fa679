//! Users as they are stored: one user, or a page of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use chrono::{DateTime, NaiveTime, Timelike as _, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use super::super::{Result, Store, StoreError};
use super::UserRef;
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};
use crate::model::{BIRTHDAY, Occasion, User};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// In this zone, under exactly this name.
    pub time_zone: Option<Zone>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPage {
    /// By id; without those whom this version cannot read.
    pub users: Vec<User>,
    pub next: Option<Uuid>,
}

impl Store {
    pub async fn user(&self, who: UserRef<'_>) -> Result<Option<User>> {
        self.in_time(one_user(&self.pool, who)).await
    }

    /// Returns up to `limit` users with an id over `after`, by id. Users whom this version cannot read are left out and logged:
    /// one invalid user must not fail the list.
    pub async fn list_users(&self, filter: &UserFilter, after: Uuid, limit: u32) -> Result<UserPage> {
        let mut query = users_with_dates(|query| {
            query.push(" WHERE u.id > ").push_bind(after);
            if let Some(zone) = filter.time_zone {
                query.push(" AND u.time_zone = ").push_bind(zone.name());
            }
            // One more tells whether this is the last page. As text: for a limit in a parameter, Postgres assumes a large
            // number, and plans each time anew.
            query.push(" ORDER BY u.id LIMIT ").push(u64::from(limit) + 1);
        });
        page(&self.run(query.build().fetch_all(&self.pool)).await?, limit)
    }

    pub async fn users_created_at(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, DateTime<Utc>>> {
        let query = sqlx::query_as("SELECT id, created_at FROM users WHERE id = ANY($1)").bind(ids);
        Ok(self.run(query.fetch_all(&self.pool)).await?.into_iter().collect())
    }
}

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

/// Selects the users of `which`, which follows `FROM users u`: by id, a row for each date.
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

pub(super) fn page(rows: &[PgRow], limit: u32) -> Result<UserPage> {
    let (mut page, mut last) = (UserPage::default(), None);
    for (at, (id, rows)) in by_user(rows).enumerate() {
        if at == limit as usize {
            page.next = last;
            break;
        }
        last = Some(id);
        match user(rows) {
            Ok(user) => page.users.push(user),
            Err(StoreError::Unreadable(error)) => {
                tracing::warn!(user_id = %id, error, "a user cannot be read, and is left out of a list");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

fn by_user(rows: &[PgRow]) -> impl Iterator<Item = (Uuid, &[PgRow])> {
    let id = |row: &PgRow| row.try_get::<Uuid, _>(0).ok();
    rows.chunk_by(move |one, next| id(one) == id(next)).filter_map(move |rows| Some((id(&rows[0])?, rows)))
}

/// Returns the user in its `rows`. Columns are read by position: a look-up by name takes most of the time.
fn user(rows: &[PgRow]) -> Result<User> {
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
        birth_date: birth_date.ok_or_else(|| unreadable(id, "there is no birthday"))?,
        time_zone: zone(id, row.try_get(4)?)?,
        send_at: send_at(id, row.try_get(5)?)?,
        leap_day: leap_day(id, row.try_get(6)?)?,
        occasions,
        version: row.try_get(7)?,
        created_at: row.try_get(8)?,
        updated_at: row.try_get(9)?,
    })
}

fn unreadable(user: Uuid, what: impl Display) -> StoreError {
    StoreError::Unreadable(format!("user {user}: {what}"))
}

fn date(year: Option<i16>, month: i16, day: i16) -> Result<AnnualDate> {
    AnnualDate::new(year.map(i32::from), month as u32, day as u32)
        .map_err(|error| StoreError::Unreadable(error.to_string()))
}

fn zone(user: Uuid, name: &str) -> Result<Zone> {
    Zone::parse(name).map_err(|error| unreadable(user, error))
}

fn send_at(user: Uuid, time: Option<NaiveTime>) -> Result<Option<SendAt>> {
    let Some(time) = time else {
        return Ok(None);
    };
    let send_at = SendAt::from_minutes((time.hour() * 60 + time.minute()) as i16);
    let invalid = || unreadable(user, format_args!("the send time {time} is not in a day"));
    send_at.ok_or_else(invalid).map(Some)
}

fn leap_day(user: Uuid, rule: Option<&str>) -> Result<Option<LeapDay>> {
    rule.map(str::parse).transpose().map_err(|error| unreadable(user, error))
}
