//! Users and their occasions. Whoever is written is planned in the same transaction.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveTime, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::plan::{insert_events, planned_through, replan};
use super::{Result, Store, StoreError};
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};
use crate::model::{BIRTHDAY, NewUser, Occasion, Schedule, User};

/// By what a user that is written is known to be the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKey {
    /// Its `external_id`: one that is there is updated.
    External,
    /// This id: one that is there stays as it is.
    Id(Uuid),
}

/// What became of a user that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was not there before.
    Created,
    /// It was there, and something of it changed.
    Updated,
    /// It was there, just like this.
    Unchanged,
}

/// An occasion as a row, with what planning needs of its user.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct OccasionRow {
    pub(super) user_id: Uuid,
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
    pub(super) fn occasion(self) -> Result<Occasion> {
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

#[derive(sqlx::FromRow)]
struct UserRow {
    id: Uuid,
    external_id: Option<String>,
    first_name: String,
    last_name: String,
    year: Option<i16>,
    month: i16,
    day: i16,
    time_zone: String,
    send_at: Option<NaiveTime>,
    leap_day: Option<String>,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl UserRow {
    fn user(self) -> Result<User> {
        Ok(User {
            birth_date: date(self.year, self.month, self.day)?,
            time_zone: zone(self.id, &self.time_zone)?,
            send_at: send_at(self.id, self.send_at)?,
            leap_day: leap_day(self.id, self.leap_day.as_deref())?,
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

impl Store {
    /// Writes `users` in one transaction, each under its key, and plans them under `schedule`. No key may come twice.
    /// Gives, in the same order, the id of each and what became of it.
    ///
    /// # Errors
    /// The database refuses or is away; then none is written.
    pub async fn write_users(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        users: &[(UserKey, NewUser)],
    ) -> Result<Vec<(Uuid, Written)>> {
        self.in_time(async {
            let mut transaction = self.pool.begin().await?;
            let through = planned_through(&mut transaction).await?;
            let written = upsert_users(&mut transaction, now, users).await?;
            let changed_dates = upsert_birthdays(&mut transaction, now, users, &written).await?;
            let mut result = written;
            for (id, outcome) in &mut result {
                if *outcome == Written::Unchanged && changed_dates.contains(id) {
                    *outcome = Written::Updated;
                }
            }
            if let Some(through) = through {
                plan_created(&mut transaction, schedule, now, through, users, &result).await?;
            }
            let updated: Vec<Uuid> = result
                .iter()
                .filter(|(_, outcome)| *outcome == Written::Updated)
                .map(|(id, _)| *id)
                .collect();
            if !updated.is_empty() {
                replan(&mut transaction, schedule, now, through, &updated).await?;
            }
            transaction.commit().await?;
            Ok(result)
        })
        .await
    }

    /// When each of `ids` was created, UTC.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn users_created_at(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, DateTime<Utc>>> {
        self.in_time(async {
            let rows: Vec<(Uuid, DateTime<Utc>)> =
                sqlx::query_as("SELECT id, created_at FROM users WHERE id = ANY($1)")
                    .bind(ids)
                    .fetch_all(&self.pool)
                    .await?;
            Ok(rows.into_iter().collect())
        })
        .await
    }

    /// Up to `limit` users with an id over `after`, by id.
    ///
    /// # Errors
    /// The database refuses or is away, or a row holds what this binary cannot read.
    pub async fn list_users(&self, after: Uuid, limit: u32) -> Result<Vec<User>> {
        self.in_time(async {
            let rows: Vec<UserRow> = sqlx::query_as(
                "SELECT u.*, o.year, o.month, o.day FROM users u
                 JOIN occasions o ON o.user_id = u.id AND o.kind = 'birthday'
                 WHERE u.id > $1 ORDER BY u.id LIMIT $2",
            )
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
            rows.into_iter().map(UserRow::user).collect()
        })
        .await
    }

    /// How many users there are.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn count_users(&self) -> Result<i64> {
        self.in_time(async {
            Ok(sqlx::query_scalar("SELECT count(*) FROM users")
                .fetch_one(&self.pool)
                .await?)
        })
        .await
    }

    /// Deletes a user and cancels what was not sent yet; gives whether there was one. What is being delivered at this
    /// moment may still arrive.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn delete_user(&self, now: DateTime<Utc>, id: Uuid) -> Result<bool> {
        self.in_time(async {
            let mut transaction = self.pool.begin().await?;
            let deleted =
                sqlx::query("DELETE FROM users WHERE id = $1").bind(id).execute(&mut *transaction).await?.rows_affected();
            sqlx::query(
                "UPDATE events SET state = 'cancelled', reason = 'user_deleted', finished_at = $2, deadline_at = NULL
                 WHERE user_id = $1 AND state IN ('pending', 'queued')",
            )
            .bind(id)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(deleted > 0)
        })
        .await
    }
}

async fn upsert_users(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    users: &[(UserKey, NewUser)],
) -> Result<Vec<(Uuid, Written)>> {
    let ids: Vec<Uuid> = users
        .iter()
        .map(|(key, _)| match key {
            UserKey::Id(id) => *id,
            UserKey::External => Uuid::now_v7(),
        })
        .collect();
    let by_external: Vec<bool> = users.iter().map(|(key, _)| *key == UserKey::External).collect();
    let rows: Vec<(i64, Uuid, bool, bool)> = sqlx::query_as(UPSERT_USERS)
        .bind(&ids)
        .bind(
            users
                .iter()
                .map(|(_, user)| user.external_id.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(
            users
                .iter()
                .map(|(_, user)| user.first_name.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            users
                .iter()
                .map(|(_, user)| user.last_name.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            users
                .iter()
                .map(|(_, user)| user.time_zone.name())
                .collect::<Vec<_>>(),
        )
        .bind(
            users
                .iter()
                .map(|(_, user)| user.send_at.map(SendAt::time))
                .collect::<Vec<_>>(),
        )
        .bind(
            users
                .iter()
                .map(|(_, user)| user.leap_day.map(LeapDay::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(&by_external)
        .bind(now)
        .fetch_all(&mut **transaction)
        .await?;
    let mut result: Vec<(Uuid, Written)> = ids.iter().map(|id| (*id, Written::Unchanged)).collect();
    for (position, id, created, updated) in rows {
        let outcome = match (created, updated) {
            (true, _) => Written::Created,
            (_, true) => Written::Updated,
            _ => Written::Unchanged,
        };
        if let Some(slot) = usize::try_from(position - 1)
            .ok()
            .and_then(|at| result.get_mut(at))
        {
            *slot = (id, outcome);
        }
    }
    Ok(result)
}

/// Gives for each user that was written or was there its position, id, and what happened. (`xmax` is 0 in a row that
/// was just inserted, and not in one that was just updated.)
const UPSERT_USERS: &str = "
WITH n AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::time[], $7::text[], $8::bool[])
        WITH ORDINALITY
        AS n(id, external_id, first_name, last_name, time_zone, send_at, leap_day, by_external, position)
), by_external AS (
    INSERT INTO users AS u (id, external_id, first_name, last_name, time_zone, send_at, leap_day, created_at, updated_at)
    SELECT id, external_id, first_name, last_name, time_zone, send_at, leap_day, $9, $9 FROM n WHERE by_external
    ORDER BY external_id
    ON CONFLICT (external_id) DO UPDATE
    SET first_name = excluded.first_name, last_name = excluded.last_name, time_zone = excluded.time_zone,
        send_at = excluded.send_at, leap_day = excluded.leap_day, version = u.version + 1, updated_at = $9
    WHERE (u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day) IS DISTINCT FROM
          (excluded.first_name, excluded.last_name, excluded.time_zone, excluded.send_at, excluded.leap_day)
    RETURNING u.id, u.external_id, xmax = 0 AS created
), by_id AS (
    INSERT INTO users (id, external_id, first_name, last_name, time_zone, send_at, leap_day, created_at, updated_at)
    SELECT id, external_id, first_name, last_name, time_zone, send_at, leap_day, $9, $9 FROM n WHERE NOT by_external
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT n.position, x.id, x.created, NOT x.created FROM n JOIN by_external x USING (external_id) WHERE n.by_external
UNION ALL
SELECT n.position, n.id, true, false FROM n JOIN by_id USING (id)
UNION ALL
SELECT n.position, u.id, false, false FROM n JOIN users u USING (external_id)
WHERE n.by_external AND NOT EXISTS (SELECT FROM by_external x WHERE x.external_id = n.external_id)";

/// Writes the birthdays of `users`; gives whose was another before. A date that changed counts as learned now.
async fn upsert_birthdays(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    users: &[(UserKey, NewUser)],
    written: &[(Uuid, Written)],
) -> Result<HashSet<Uuid>> {
    let (mut ids, mut years, mut months, mut days) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((key, user), (id, outcome)) in users.iter().zip(written) {
        // One that is there under its own id stays as it is.
        if *key == UserKey::External || *outcome == Written::Created {
            let (year, month, day) = date_columns(user.birth_date);
            ids.push(*id);
            years.push(year);
            months.push(month);
            days.push(day);
        }
    }
    let changed: Vec<Uuid> = sqlx::query_scalar(
        "WITH written AS (
             INSERT INTO occasions AS o (user_id, kind, year, month, day, known_at)
             SELECT n.user_id, 'birthday', n.year, n.month, n.day, $5
             FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::smallint[]) AS n(user_id, year, month, day)
             ON CONFLICT (user_id, kind) DO UPDATE
             SET year = excluded.year, month = excluded.month, day = excluded.day,
                 known_at = CASE WHEN (o.month, o.day) = (excluded.month, excluded.day)
                            THEN o.known_at ELSE excluded.known_at END
             WHERE (o.year, o.month, o.day) IS DISTINCT FROM (excluded.year, excluded.month, excluded.day)
             RETURNING user_id, xmax = 0 AS created
         )
         UPDATE users SET version = version + 1, updated_at = $5
         FROM written WHERE users.id = written.user_id AND NOT written.created
         RETURNING users.id",
    )
    .bind(&ids)
    .bind(years)
    .bind(months)
    .bind(days)
    .bind(now)
    .fetch_all(&mut **transaction)
    .await?;
    Ok(changed.into_iter().collect())
}

/// The events of those who were not there before: there is nothing to move, so nothing to read.
async fn plan_created(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    through: chrono::NaiveDate,
    users: &[(UserKey, NewUser)],
    written: &[(Uuid, Written)],
) -> Result<()> {
    let mut events = Vec::new();
    for ((_, user), (id, outcome)) in users.iter().zip(written) {
        if *outcome == Written::Created {
            let occasion = Occasion {
                user_id: *id,
                kind: BIRTHDAY.to_owned(),
                date: user.birth_date,
                time_zone: user.time_zone,
                send_at: user.send_at,
                leap_day: user.leap_day,
                known_at: now,
            };
            events.extend(schedule.events_through(&occasion, now, through));
        }
    }
    insert_events(transaction, now, &events).await?;
    Ok(())
}

fn date_columns(date: AnnualDate) -> (Option<i16>, i16, i16) {
    (
        date.year().map(|year| year as i16),
        date.month() as i16,
        date.day() as i16,
    )
}

fn date(year: Option<i16>, month: i16, day: i16) -> Result<AnnualDate> {
    AnnualDate::new(year.map(i32::from), month as u32, day as u32)
        .map_err(|error| StoreError::Unreadable(error.to_string()))
}

fn zone(user: Uuid, name: &str) -> Result<Zone> {
    Zone::parse(name).map_err(|error| StoreError::Unreadable(format!("user {user}: {error}")))
}

fn send_at(user: Uuid, time: Option<NaiveTime>) -> Result<Option<SendAt>> {
    use chrono::Timelike as _;
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
