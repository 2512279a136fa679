//! The basis of planning: the zone data and the rules that pending events were computed with, and how others move them.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::plan::{WrittenEvents, lock_buckets, planned_through};
use super::replan::replan_readable;
use super::{BASIS_LOCK, Result, Store};
use crate::model::Schedule;

/// A recomputation to another basis made progress within this time: this process waits for it.
const ABANDONED_AFTER: TimeDelta = TimeDelta::seconds(30);

/// One step of a recomputation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recomputed {
    /// Pending events were computed with this zone data and these rules.
    Current,
    /// Another process is recomputing.
    Elsewhere,
    /// A page is done, and noted.
    Page {
        /// Pending events read.
        looked_at: u64,
        /// Those that moved.
        moved: Vec<Moved>,
        /// Users whom this version cannot read, with what is wrong. Their events stay as they are.
        unreadable: Vec<(Uuid, String)>,
        /// Whether this was the last.
        last: bool,
    },
}

/// A pending event that is due at another instant, or was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The event.
    pub event_id: Uuid,
    /// The user's zone.
    pub time_zone: String,
    /// When it was due (UTC).
    pub from: DateTime<Utc>,
    /// When it is due now (UTC); none if it was taken away.
    pub to: Option<DateTime<Utc>>,
}

/// Local time by the database's zone data.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Reading {
    /// The zone's name.
    pub time_zone: String,
    /// The instant (UTC).
    pub at: DateTime<Utc>,
    /// The local time there.
    pub local: NaiveDateTime,
}

/// Zone data and rules.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Basis {
    /// As [`crate::tzguard::version`] has it.
    pub zone_data: String,
    /// As [`Schedule::rules`] has it.
    pub rules: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    basis: Basis,
    next_zone_data: Option<String>,
    next_rules: Option<String>,
    after_at: Option<DateTime<Utc>>,
    after_id: Option<Uuid>,
    progress_at: Option<DateTime<Utc>>,
}

type Pending = (DateTime<Utc>, Uuid, Uuid, DateTime<Utc>);

impl Store {
    /// What pending events were computed with; none before the first scheduler.
    pub async fn planning_basis(&self) -> Result<Option<Basis>> {
        self.run(sqlx::query_as("SELECT zone_data, rules FROM planning_basis").fetch_optional(&self.pool))
            .await
    }

    /// Computes the next page of pending events again, unless that was done with `basis`. The place is noted with each page, so
    /// that a process which dies is continued. One process at a time; each user is locked as for an edit.
    ///
    /// # Errors
    /// The database is unavailable; then this page is not written.
    pub async fn recompute_page(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        basis: &Basis,
        limit: u32,
    ) -> Result<Recomputed> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
                .bind(BASIS_LOCK)
                .fetch_one(&mut *transaction)
                .await?;
            let row: Option<Row> = sqlx::query_as(
                "SELECT zone_data, rules, next_zone_data, next_rules, after_at, after_id, progress_at FROM planning_basis",
            )
            .fetch_optional(&mut *transaction)
            .await?;
            if row.as_ref().is_some_and(|row| row.basis == *basis) {
                return Ok(Recomputed::Current);
            }
            if !ours || row.as_ref().is_some_and(|row| row.belongs_to_another(basis, now)) {
                return Ok(Recomputed::Elsewhere);
            }
            let after = row.filter(|row| row.leads_to(basis)).and_then(|row| row.after_at.zip(row.after_id));
            let page = pending_page(&mut transaction, after, limit).await?;
            let (moved, written, unreadable) = recompute(&mut transaction, schedule, now, &page).await?;
            let last = page.len() < limit as usize;
            let place = page.last().filter(|_| !last).map(|(at, id, ..)| (*at, *id));
            note(&mut transaction, now, basis, place).await?;
            transaction.commit().await?;
            written.count();
            Ok(Recomputed::Page { looked_at: page.len() as u64, moved, unreadable, last })
        })
        .await
    }

    /// The zones in use, with the number of users in each.
    pub async fn zones_in_use(&self) -> Result<Vec<(String, i64)>> {
        let sql = "SELECT time_zone, count(*) FROM users GROUP BY time_zone ORDER BY time_zone";
        self.run(sqlx::query_as(sql).fetch_all(&self.pool)).await
    }

    /// Local times by the *database's* zone data, for each pair of `time_zones` and `instants`. Zones that the database does not
    /// know are left out.
    pub async fn clock_readings(
        &self,
        time_zones: &[&str],
        instants: &[DateTime<Utc>],
    ) -> Result<Vec<Reading>> {
        // To ask for an unknown zone would be an error. Materialized, since it reads a directory.
        let sql = "WITH known AS MATERIALIZED (
                SELECT name FROM pg_timezone_names WHERE name = ANY($1))
            SELECT s.time_zone, s.at, timezone(s.time_zone, s.at) AS local
            FROM unnest($1::text[], $2::timestamptz[]) AS s(time_zone, at) JOIN known ON known.name = s.time_zone";
        self.run(sqlx::query_as(sql).bind(time_zones).bind(instants).fetch_all(&self.pool)).await
    }
}

impl Row {
    fn leads_to(&self, basis: &Basis) -> bool {
        self.next_zone_data.as_ref() == Some(&basis.zone_data)
            && self.next_rules.as_ref() == Some(&basis.rules)
    }

    /// Two processes that compute to different ends would undo each other's pages.
    fn belongs_to_another(&self, basis: &Basis, now: DateTime<Utc>) -> bool {
        self.next_rules.is_some()
            && !self.leads_to(basis)
            && self.progress_at.is_some_and(|at| now - at < ABANDONED_AFTER)
    }
}

async fn recompute(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    page: &[Pending],
) -> Result<(Vec<Moved>, WrittenEvents, Vec<(Uuid, String)>)> {
    let users: Vec<Uuid> = page.iter().map(|(_, _, user, _)| *user).collect();
    lock_buckets(transaction, &users).await?;
    let through = planned_through(transaction, schedule, now).await?;
    // The lock of an edit.
    sqlx::query("SELECT FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE")
        .bind(&users)
        .execute(&mut **transaction)
        .await?;
    let before = still_pending(transaction, page).await?;
    let (written, unreadable) = replan_readable(transaction, schedule, now, through, &users).await?;
    let moved = moved(transaction, &before).await?;
    Ok((moved, written, unreadable))
}

/// Notes the `place` up to which events were computed again; none: all were.
async fn note(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    basis: &Basis,
    place: Option<(DateTime<Utc>, Uuid)>,
) -> Result<()> {
    let statement = if place.is_none() {
        "INSERT INTO planning_basis (zone_data, rules, computed_at) VALUES ($1, $2, $3)
         ON CONFLICT (only_row) DO UPDATE
         SET zone_data = $1, rules = $2, computed_at = $3, next_zone_data = NULL, next_rules = NULL, after_at = NULL,
             after_id = NULL, progress_at = NULL"
    } else {
        "INSERT INTO planning_basis (zone_data, rules, computed_at, next_zone_data, next_rules, after_at, after_id, progress_at)
         VALUES ('', '', $3, $1, $2, $4, $5, $3)
         ON CONFLICT (only_row) DO UPDATE
         SET next_zone_data = $1, next_rules = $2, after_at = $4, after_id = $5, progress_at = $3"
    };
    let query = sqlx::query(statement).bind(&basis.zone_data).bind(&basis.rules).bind(now);
    let query = match place {
        None => query,
        Some((at, id)) => query.bind(at).bind(id),
    };
    query.execute(&mut **transaction).await?;
    Ok(())
}

/// Those of `page` that no edit or claim has taken since they were read.
async fn still_pending(
    transaction: &mut Transaction<'_, Postgres>,
    page: &[Pending],
) -> Result<Vec<Pending>> {
    let ids: Vec<Uuid> = page.iter().map(|(_, id, ..)| *id).collect();
    Ok(sqlx::query_as(
        "SELECT next_attempt_at, id, user_id, due_at FROM events WHERE id = ANY($1) AND state = 'pending'",
    )
    .bind(ids)
    .fetch_all(&mut **transaction)
    .await?)
}

/// A page of pending events: next attempt, id, user, due.
async fn pending_page(
    transaction: &mut Transaction<'_, Postgres>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: u32,
) -> Result<Vec<Pending>> {
    let (at, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()));
    Ok(sqlx::query_as(
        "SELECT next_attempt_at, id, user_id, due_at FROM events
         WHERE next_attempt_at IS NOT NULL AND (next_attempt_at, id) > ($1, $2)
         ORDER BY next_attempt_at, id LIMIT $3",
    )
    .bind(at)
    .bind(id)
    .bind(i64::from(limit))
    .fetch_all(&mut **transaction)
    .await?)
}

/// What became of the events that were `before`.
async fn moved(transaction: &mut Transaction<'_, Postgres>, before: &[Pending]) -> Result<Vec<Moved>> {
    let ids: Vec<Uuid> = before.iter().map(|(_, id, ..)| *id).collect();
    let after: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("SELECT id, due_at FROM events WHERE id = ANY($1)")
            .bind(&ids)
            .fetch_all(&mut **transaction)
            .await?;
    let after: HashMap<Uuid, DateTime<Utc>> = after.into_iter().collect();
    let changed: Vec<&Pending> =
        before.iter().filter(|(_, id, _, due_at)| after.get(id) != Some(due_at)).collect();
    let users: Vec<Uuid> = changed.iter().map(|(_, _, user, _)| *user).collect();
    let zones: Vec<(Uuid, String)> = sqlx::query_as("SELECT id, time_zone FROM users WHERE id = ANY($1)")
        .bind(&users)
        .fetch_all(&mut **transaction)
        .await?;
    let zones: HashMap<Uuid, String> = zones.into_iter().collect();
    let moved = |(_, id, user, from): &Pending| Moved {
        event_id: *id,
        time_zone: zones.get(user).cloned().unwrap_or_default(),
        from: *from,
        to: after.get(id).copied(),
    };
    Ok(changed.into_iter().map(moved).collect())
}
