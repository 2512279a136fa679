//! How users are written, one or a batch: look up the ids, begin and lock the rows, and only then read and write them. A lookup
//! that the lock contradicts is [`StoreError::Overtaken`]; the caller repeats the call.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::super::plan::{WrittenEvents, insert_events, lock_buckets, planned_through};
use super::super::replan::replan;
use super::super::{InstallationKey, Result, Store, StoreError, column};
use super::UserRef;
use crate::calendar::{AnnualDate, LeapDay, SendAt};
use crate::model::{BIRTHDAY, NewUser, Occasion, Schedule, Version};

/// Users and former users, as they were at the lookup. Nothing is locked yet.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) external_ids: HashMap<Uuid, Option<String>>,
    pub(super) by_external_id: HashMap<String, Uuid>,
    /// Ids that deleted users had, by external id.
    former: HashMap<String, Uuid>,
}

impl Known {
    pub(super) async fn of(
        store: &Store,
        key: &InstallationKey,
        ids: &[Uuid],
        external_ids: &[&str],
    ) -> Result<Self> {
        let sql = "
            SELECT id, external_id, false FROM users WHERE id = ANY($1) OR external_id = ANY($2)
            UNION ALL
            SELECT f.user_id, n.external_id, true
            FROM unnest($2::text[], $3::bytea[]) AS n(external_id, hash)
            JOIN deleted_users f ON f.external_id_hash = n.hash
            WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = f.user_id)";
        let rows: Vec<(Uuid, Option<String>, bool)> = sqlx::query_as(sql)
            .bind(ids)
            .bind(external_ids)
            .bind(column(external_ids, |id| key.external_id(id)))
            .fetch_all(&store.pool)
            .await?;
        let mut known = Self::default();
        for (id, external_id, former) in rows {
            if former {
                known.former.extend(external_id.map(|name| (name, id)));
            } else {
                known.by_external_id.extend(external_id.clone().map(|name| (name, id)));
                known.external_ids.insert(id, external_id);
            }
        }
        Ok(known)
    }

    /// Returns the id of the user who has this external id, or had it when deleted.
    pub(super) fn id(&self, external_id: &str) -> Option<Uuid> {
        let id = self.by_external_id.get(external_id);
        id.or_else(|| self.former.get(external_id)).copied()
    }

    /// Fails with [`StoreError::Overtaken`] where one of `ids` was written since the lookup.
    pub(super) fn check(&self, locked: &LockedUsers, ids: &[Uuid]) -> Result<()> {
        let same = |id| self.external_ids.get(id) == locked.get(id).map(|row| &row.external_id);
        if ids.iter().all(same) { Ok(()) } else { Err(StoreError::Overtaken) }
    }
}

#[derive(Debug)]
pub(super) struct Locked {
    pub(super) external_id: Option<String>,
    pub(super) version: Version,
}

pub(super) type LockedUsers = HashMap<Uuid, Locked>;

/// Begins to write the users with these `ids`: waits for a planner of theirs, and locks those that exist.
/// Locked first and read afterwards: a statement sees what was committed at its start, so one that did both would wait for
/// another edit, and then read the dates from before that edit.
pub(super) async fn begin(
    store: &Store,
    ids: &[Uuid],
) -> Result<(Transaction<'static, Postgres>, LockedUsers)> {
    let mut transaction = store.begin().await?;
    lock_buckets(&mut transaction, ids).await?;
    let sql =
        "SELECT id, external_id, version, created_at FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    let rows: Vec<(Uuid, Option<String>, i64, DateTime<Utc>)> =
        sqlx::query_as(sql).bind(ids).fetch_all(&mut *transaction).await?;
    let locked = rows.into_iter().map(|(id, external_id, number, created_at)| {
        let version = Version::new(number, created_at);
        (id, Locked { external_id, version })
    });
    Ok((transaction, locked.collect()))
}

/// Begins to write one user, and returns its id: a new one without `who`, and for an unknown external id.
pub(super) async fn begin_one(
    store: &Store,
    key: &InstallationKey,
    who: Option<UserRef<'_>>,
) -> Result<(Uuid, Transaction<'static, Postgres>, LockedUsers)> {
    let (id, known) = match who {
        None => (Uuid::now_v7(), None),
        Some(UserRef::Id(id)) => (id, None),
        Some(UserRef::External(name)) => {
            let known = Known::of(store, key, &[], &[name]).await?;
            (known.id(name).unwrap_or_else(Uuid::now_v7), Some(known))
        }
    };
    let (transaction, locked) = begin(store, &[id]).await?;
    if let Some(known) = known {
        known.check(&locked, &[id])?;
    }
    Ok((id, transaction, locked))
}

/// A user to write. Of several with the same id or external id, none may be in one statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) id: Uuid,
    /// Instead of the one in `user`.
    pub(super) external_id: Option<&'a str>,
    pub(super) user: &'a NewUser,
}

impl<'a> Row<'a> {
    /// The birthday and the others; none: to be removed.
    fn dates(self) -> impl Iterator<Item = (&'a str, Option<AnnualDate>)> {
        let others = self.user.occasions.iter().map(|(kind, date)| (kind.as_str(), *date));
        std::iter::once((BIRTHDAY, Some(self.user.birth_date))).chain(others)
    }

    fn occasions(self, now: DateTime<Utc>) -> impl Iterator<Item = Occasion> {
        self.dates().filter_map(move |(kind, date)| {
            Some(Occasion {
                user_id: self.id,
                kind: kind.to_owned(),
                date: date?,
                time_zone: self.user.time_zone,
                send_at: self.user.send_at,
                leap_day: self.user.leap_day,
                known_at: now,
            })
        })
    }
}

/// Writes `rows`, of which those that exist are `locked`, and plans them. Returns the users that were written, each with whether it
/// is new, and what was planned.
pub(super) async fn upsert(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    schedule: &Schedule,
    now: DateTime<Utc>,
    rows: &[Row<'_>],
    locked: &LockedUsers,
) -> Result<(HashMap<Uuid, bool>, WrittenEvents)> {
    let through = planned_through(transaction, schedule, now).await?;
    let mut changed = Vec::new();
    if !locked.is_empty() {
        note_leap_day_rules(transaction, schedule, now, rows).await?;
        changed = remove_dates(transaction, rows).await?;
    }
    let written = write_rows(transaction, now, rows, &changed).await?;
    // An id that was free at the lock was taken by another transaction.
    if written.iter().any(|(id, created)| *created == locked.contains_key(id)) {
        return Err(StoreError::Overtaken);
    }
    let created: Vec<Row<'_>> =
        rows.iter().filter(|row| written.get(&row.id) == Some(&true)).copied().collect();
    check_former_ids(transaction, key, &created).await?;
    let mut events = WrittenEvents::default();
    if let Some(through) = through {
        let mut new = Vec::new();
        for occasion in created.iter().flat_map(|row| row.occasions(now)) {
            new.extend(schedule.events_through(&occasion, now, through));
        }
        events = insert_events(transaction, now, &new).await?;
    }
    let updated: Vec<Uuid> = written.iter().filter(|(_, created)| !**created).map(|(id, _)| *id).collect();
    if !updated.is_empty() {
        let (moved, unreadable) = replan(transaction, schedule, now, through, &updated).await?;
        if let Some((_, error)) = unreadable.into_iter().next() {
            return Err(StoreError::Unreadable(error));
        }
        events = events.and(moved);
    }
    Ok((written, events))
}

/// Returns each user that was created (`xmax` is 0) or updated. Only what differs is written. A date that changed counts as
/// learned now. In the order of the external ids, so that two statements do not wait for each other.
/// Existing rows are found by the conflict, which always uses the index. A join would be planned once, while the tables are small,
/// to read all of them.
const UPSERT: &str = "
WITH n AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::time[], $7::text[])
        AS n(id, external_id, first_name, last_name, time_zone, send_at, leap_day)
), d AS (
    INSERT INTO occasions AS o (user_id, kind, year, month, day, known_at)
    SELECT n.user_id, n.kind, n.year, n.month, n.day, $14
    FROM unnest($8::uuid[], $9::text[], $10::smallint[], $11::smallint[], $12::smallint[])
        AS n(user_id, kind, year, month, day)
    ON CONFLICT (user_id, kind) DO UPDATE
    SET year = excluded.year, month = excluded.month, day = excluded.day,
        known_at = CASE WHEN (o.month, o.day) = (excluded.month, excluded.day) THEN o.known_at ELSE excluded.known_at END
    WHERE (o.year, o.month, o.day) IS DISTINCT FROM (excluded.year, excluded.month, excluded.day)
    RETURNING user_id
), u AS (
    INSERT INTO users AS u (id, external_id, first_name, last_name, time_zone, send_at, leap_day, created_at, updated_at)
    SELECT id, external_id, first_name, last_name, time_zone, send_at, leap_day, $14, $14 FROM n ORDER BY external_id, id
    ON CONFLICT (id) DO UPDATE
    SET external_id = excluded.external_id, first_name = excluded.first_name, last_name = excluded.last_name,
        time_zone = excluded.time_zone, send_at = excluded.send_at, leap_day = excluded.leap_day,
        version = u.version + 1, updated_at = excluded.updated_at
    WHERE (u.external_id, u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day) IS DISTINCT FROM
          (excluded.external_id, excluded.first_name, excluded.last_name, excluded.time_zone, excluded.send_at,
           excluded.leap_day)
       OR u.id IN (SELECT user_id FROM d) OR u.id = ANY($13)
    RETURNING u.id, xmax = 0 AS created
)
SELECT id, created FROM u";

/// Writes `rows`; a user of `changed` counts as changed even if its row did not.
async fn write_rows(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    rows: &[Row<'_>],
    changed: &[Uuid],
) -> Result<HashMap<Uuid, bool>> {
    let dates =
        rows.iter().flat_map(|row| row.dates().filter_map(|(kind, date)| Some((row.id, kind, date?))));
    let dates: Vec<(Uuid, &str, AnnualDate)> = dates.collect();
    let written: Vec<(Uuid, bool)> = sqlx::query_as(UPSERT)
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.external_id))
        .bind(column(rows, |row| row.user.first_name.as_str()))
        .bind(column(rows, |row| row.user.last_name.as_str()))
        .bind(column(rows, |row| row.user.time_zone.name()))
        .bind(column(rows, |row| row.user.send_at.map(SendAt::time)))
        .bind(column(rows, |row| row.user.leap_day.map(LeapDay::as_str)))
        .bind(column(&dates, |(user, ..)| *user))
        .bind(column(&dates, |(_, kind, _)| *kind))
        .bind(column(&dates, |(.., date)| date.year().map(|year| year as i16)))
        .bind(column(&dates, |(.., date)| date.month() as i16))
        .bind(column(&dates, |(.., date)| date.day() as i16))
        .bind(changed)
        .bind(now)
        .fetch_all(transaction)
        .await?;
    Ok(written.into_iter().collect())
}

/// Sets `known_at` of dates on 29 February where `rows` change what that date means in this year. Otherwise a user whose rule
/// changes from 1 March to 28 February on 1 March would be owed a greeting for yesterday.
/// In a leap year the rule means nothing. (Zones differ by a day at most, which is far from 29 February at the turn of the year.)
async fn note_leap_day_rules(
    transaction: &mut PgConnection,
    schedule: &Schedule,
    now: DateTime<Utc>,
    rows: &[Row<'_>],
) -> Result<()> {
    if now.date_naive().leap_year() {
        return Ok(());
    }
    let sql = "
        UPDATE occasions o SET known_at = $3
        FROM unnest($1::uuid[], $2::text[]) AS n(id, leap_day) JOIN users u ON u.id = n.id
        WHERE o.user_id = u.id AND o.month = 2 AND o.day = 29 AND coalesce(u.leap_day, $4) <> coalesce(n.leap_day, $4)";
    sqlx::query(sql)
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.user.leap_day.map(LeapDay::as_str)))
        .bind(now)
        .bind(schedule.leap_day.as_str())
        .execute(transaction)
        .await?;
    Ok(())
}

async fn remove_dates(transaction: &mut PgConnection, rows: &[Row<'_>]) -> Result<Vec<Uuid>> {
    let removed = rows.iter().flat_map(|row| {
        let none = row.dates().filter(|(_, date)| date.is_none());
        none.map(|(kind, _)| (row.id, kind))
    });
    let (users, kinds): (Vec<Uuid>, Vec<&str>) = removed.unzip();
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "
        DELETE FROM occasions o USING unnest($1::uuid[], $2::text[]) AS n(user_id, kind)
        WHERE o.user_id = n.user_id AND o.kind = n.kind RETURNING o.user_id";
    Ok(sqlx::query_scalar(sql).bind(users).bind(kinds).fetch_all(transaction).await?)
}

/// Checks again, after the insert: it may have waited for a deletion of the same external id, whose former id the lookup before
/// could not see.
async fn check_former_ids(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    created: &[Row<'_>],
) -> Result<()> {
    let named = created.iter().filter_map(|row| Some((row.id, key.external_id(row.external_id?))));
    let (ids, hashes): (Vec<Uuid>, Vec<[u8; 32]>) = named.unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let sql = "
        SELECT EXISTS (
            SELECT FROM unnest($1::uuid[], $2::bytea[]) AS n(id, hash) JOIN deleted_users f ON f.external_id_hash = n.hash
            WHERE f.user_id <> n.id AND NOT EXISTS (SELECT FROM users u WHERE u.id = f.user_id))";
    let overlooked: bool = sqlx::query_scalar(sql).bind(ids).bind(hashes).fetch_one(transaction).await?;
    if overlooked { Err(StoreError::Overtaken) } else { Ok(()) }
}
