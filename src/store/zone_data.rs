//! With which zone data and rules pending events were computed, and how others move them.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::plan::planned_through;
use super::replan::replan_readable;
use super::{Result, Store, ZONE_DATA_LOCK};
use crate::model::Schedule;

/// How far a recomputation has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecomputeCursor(Option<(DateTime<Utc>, Uuid)>);

/// One page of a recomputation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recomputed {
    /// Pending events already were computed with this version and these rules.
    Current,
    /// Another process is at it.
    Elsewhere,
    /// A page is done.
    Page {
        /// How many pending events it had.
        looked_at: u64,
        /// Those that moved.
        moved: Vec<Moved>,
        /// What is wrong with users whom this binary cannot read. Their events stay as they are.
        unreadable: Vec<String>,
        /// Where the next page begins; none when this was the last, and version and rules are noted.
        next: Option<RecomputeCursor>,
    },
}

/// A pending event that is due at another instant, or no longer at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The event.
    pub event_id: Uuid,
    /// Where its user lives.
    pub time_zone: String,
    /// When it was due, UTC.
    pub from: DateTime<Utc>,
    /// When it is due now, UTC; none if it was taken away.
    pub to: Option<DateTime<Utc>>,
}

/// What a clock shows.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Reading {
    /// The zone's name.
    pub time_zone: String,
    /// At that instant, UTC.
    pub at: DateTime<Utc>,
    /// By the database's zone data.
    pub local: NaiveDateTime,
}

impl Store {
    /// The version of the zone data that pending events were computed with; none before the first scheduler.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn zone_data_version(&self) -> Result<Option<String>> {
        self.in_time(async {
            Ok(sqlx::query_scalar("SELECT version FROM zone_data")
                .fetch_optional(&self.pool)
                .await?)
        })
        .await
    }

    /// The rules that pending events were computed with; none before the first scheduler that noted them.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn planning_rules(&self) -> Result<Option<String>> {
        self.in_time(async {
            Ok(sqlx::query_scalar("SELECT rules FROM planning_rules")
                .fetch_optional(&self.pool)
                .await?)
        })
        .await
    }

    /// Computes one page of pending events again, unless that was done with `version` and the rules of `schedule`, and
    /// notes both with the last page. One process at a time; an edit of the same users waits, as for another edit.
    ///
    /// Where the rules are others than those noted, the days from today on, in any zone, are opened with the last page: the
    /// next plan goes through them again, and finds whoever had no event by the old rules.
    ///
    /// # Errors
    /// The database refuses or is away; then this page is not written.
    pub async fn recompute_page(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        version: &str,
        after: RecomputeCursor,
        limit: u32,
    ) -> Result<Recomputed> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let ours = lock(&mut transaction, after != RecomputeCursor::default()).await?;
            let rules = schedule.rules();
            let (same_data, same_rules): (bool, bool) = sqlx::query_as(
                "SELECT EXISTS (SELECT FROM zone_data WHERE version = $1),
                        EXISTS (SELECT FROM planning_rules WHERE rules = $2)",
            )
            .bind(version)
            .bind(&rules)
            .fetch_one(&mut *transaction)
            .await?;
            if same_data && same_rules {
                return Ok(Recomputed::Current);
            }
            if !ours {
                return Ok(Recomputed::Elsewhere);
            }
            let through = planned_through(&mut transaction).await?;
            let page = page(&mut transaction, after, limit).await?;
            let users: Vec<Uuid> = page.iter().map(|(.., user)| *user).collect();
            // The lock of an edit.
            sqlx::query("SELECT FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE")
                .bind(&users)
                .execute(&mut *transaction)
                .await?;
            let before = still_pending(&mut transaction, &page).await?;
            let (written, unreadable) =
                replan_readable(&mut transaction, schedule, now, through, &users).await?;
            let moved = moved(&mut transaction, &before).await?;
            let full = page.len() >= limit as usize;
            let last = page.last().filter(|_| full);
            let next = last.map(|(due_at, id, _)| RecomputeCursor(Some((*due_at, *id))));
            if next.is_none() {
                note(&mut transaction, now, version, &rules).await?;
                if !same_rules {
                    sqlx::query("UPDATE planned_days SET planned_at = NULL WHERE local_date >= $1")
                        .bind(now.date_naive().pred_opt())
                        .execute(&mut *transaction)
                        .await?;
                }
            }
            transaction.commit().await?;
            written.count();
            Ok(Recomputed::Page {
                looked_at: page.len() as u64,
                moved,
                unreadable,
                next,
            })
        })
        .await
    }

    /// The zones in which people live, and how many in each.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn zones_in_use(&self) -> Result<Vec<(String, i64)>> {
        self.in_time(async {
            Ok(
                sqlx::query_as("SELECT time_zone, count(*) FROM users GROUP BY time_zone ORDER BY time_zone")
                    .fetch_all(&self.pool)
                    .await?,
            )
        })
        .await
    }

    /// What clocks show by the *database's* zone data: for each pair of `time_zones` and `instants`. A zone that the
    /// database does not know is left out.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn clock_readings(
        &self,
        time_zones: &[&str],
        instants: &[DateTime<Utc>],
    ) -> Result<Vec<Reading>> {
        self.in_time(async {
            Ok(sqlx::query_as(
                // The list of names makes sure that no unknown one is asked for, which would be an error. Materialized,
                // since it reads a directory.
                "WITH known AS MATERIALIZED (
                     SELECT name FROM pg_timezone_names WHERE name = ANY($1))
                 SELECT s.time_zone, s.at, timezone(s.time_zone, s.at) AS local
                 FROM unnest($1::text[], $2::timestamptz[]) AS s(time_zone, at) JOIN known ON known.name = s.time_zone",
            )
            .bind(time_zones)
            .bind(instants)
            .fetch_all(&self.pool)
            .await?)
        })
        .await
    }
}

async fn note(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    version: &str,
    rules: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO zone_data (version, computed_at) VALUES ($1, $2)
         ON CONFLICT (only_row) DO UPDATE SET version = excluded.version, computed_at = excluded.computed_at",
    )
    .bind(version)
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    sqlx::query(
        "INSERT INTO planning_rules (rules, computed_at) VALUES ($1, $2)
         ON CONFLICT (only_row) DO UPDATE SET rules = excluded.rules, computed_at = excluded.computed_at",
    )
    .bind(rules)
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

type Pending = (DateTime<Utc>, Uuid, Uuid);

/// Keeps others from recomputing at the same time. Whoever has begun may go on: others wait for it, or do the same in
/// between, which moves nothing twice.
async fn lock(transaction: &mut Transaction<'_, Postgres>, begun: bool) -> Result<bool> {
    if !begun {
        return Ok(sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
            .bind(ZONE_DATA_LOCK)
            .fetch_one(&mut **transaction)
            .await?);
    }
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(ZONE_DATA_LOCK)
        .execute(&mut **transaction)
        .await?;
    Ok(true)
}

/// Those of `page` that no edit or claim has taken since they were read.
async fn still_pending(
    transaction: &mut Transaction<'_, Postgres>,
    page: &[Pending],
) -> Result<Vec<Pending>> {
    let ids: Vec<Uuid> = page.iter().map(|(_, id, _)| *id).collect();
    Ok(
        sqlx::query_as("SELECT due_at, id, user_id FROM events WHERE id = ANY($1) AND state = 'pending'")
            .bind(ids)
            .fetch_all(&mut **transaction)
            .await?,
    )
}

/// A page of pending events: when due, id, user.
async fn page(
    transaction: &mut Transaction<'_, Postgres>,
    RecomputeCursor(after): RecomputeCursor,
    limit: u32,
) -> Result<Vec<Pending>> {
    let (due_at, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()));
    Ok(sqlx::query_as(
        "SELECT due_at, id, user_id FROM events WHERE finished_at IS NULL AND state = 'pending' AND (due_at, id) > ($1, $2)
         ORDER BY due_at, id LIMIT $3",
    )
    .bind(due_at)
    .bind(id)
    .bind(i64::from(limit))
    .fetch_all(&mut **transaction)
    .await?)
}

/// What became of the events that were `before`.
async fn moved(transaction: &mut Transaction<'_, Postgres>, before: &[Pending]) -> Result<Vec<Moved>> {
    let ids: Vec<Uuid> = before.iter().map(|(_, id, _)| *id).collect();
    let after: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("SELECT id, due_at FROM events WHERE id = ANY($1)")
            .bind(&ids)
            .fetch_all(&mut **transaction)
            .await?;
    let after: HashMap<Uuid, DateTime<Utc>> = after.into_iter().collect();
    let changed: Vec<&Pending> = before
        .iter()
        .filter(|(due_at, id, _)| after.get(id) != Some(due_at))
        .collect();
    let users: Vec<Uuid> = changed.iter().map(|(.., user)| *user).collect();
    let zones: Vec<(Uuid, String)> = sqlx::query_as("SELECT id, time_zone FROM users WHERE id = ANY($1)")
        .bind(&users)
        .fetch_all(&mut **transaction)
        .await?;
    let zones: HashMap<Uuid, String> = zones.into_iter().collect();
    let moved = |(from, id, user): &Pending| Moved {
        event_id: *id,
        time_zone: zones.get(user).cloned().unwrap_or_default(),
        from: *from,
        to: after.get(id).copied(),
    };
    Ok(changed.into_iter().map(moved).collect())
}
