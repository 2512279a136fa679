//! Planning basis: recomputes pending events where the zone data or the rules have changed.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::bucket_locks::lock_users;
use super::events::write::{UnreadableUsers, replan_users};
use super::planned_days::planned_through;
use super::{Result, Store, column};
use crate::model::Schedule;

const BASIS_LOCK: i64 = 0x6264_6179_0004;

/// Another process may continue a recomputation that made no progress for this long.
const ABANDONED_AFTER: TimeDelta = TimeDelta::seconds(30);

/// The zone data and the rules that pending events were computed with.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PlanningBasis {
    pub zone_data: String,
    pub rules: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecomputeStep {
    Current,
    OtherProcess,
    Page { events: u64, moved: Vec<MovedEvent>, unreadable: UnreadableUsers, last: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedEvent {
    pub event_id: Uuid,
    pub time_zone: String,
    pub from: DateTime<Utc>,
    pub to: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct Progress {
    done: bool,
    ours: bool,
    alive: bool,
    after_at: Option<DateTime<Utc>>,
    after_id: Option<Uuid>,
}

#[derive(sqlx::FromRow)]
struct PendingEvent {
    next_attempt_at: DateTime<Utc>,
    id: Uuid,
    user_id: Uuid,
}

#[derive(sqlx::FromRow)]
struct DueEvent {
    id: Uuid,
    due_at: DateTime<Utc>,
    time_zone: String,
}

impl Store {
    pub async fn planning_basis(&self) -> Result<Option<PlanningBasis>> {
        let sql = "SELECT zone_data, rules FROM planning_basis";
        self.run(sqlx::query_as(sql).fetch_optional(&self.pool)).await
    }

    /// Recomputes the next page of pending events, unless that was done with `basis`. The position is stored with each page, so
    /// that another process can continue. One process at a time; each user is locked as for an edit.
    pub async fn recompute_page(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        basis: &PlanningBasis,
        limit: u32,
    ) -> Result<RecomputeStep> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
                .bind(BASIS_LOCK)
                .fetch_one(&mut *transaction)
                .await?;
            let progress = progress(&mut transaction, now, basis).await?;
            if progress.as_ref().is_some_and(|progress| progress.done) {
                return Ok(RecomputeStep::Current);
            }
            // Two processes with different targets would undo each other's pages.
            let busy = progress.as_ref().is_some_and(|progress| !progress.ours && progress.alive);
            if !locked || busy {
                return Ok(RecomputeStep::OtherProcess);
            }
            let ours = progress.filter(|progress| progress.ours);
            let after = ours.and_then(|progress| progress.after_at.zip(progress.after_id));
            let page = pending_page(&mut transaction, after, limit).await?;
            let users = column(&page, |event| event.user_id);
            lock_users(&mut transaction, &users).await?;
            let through = planned_through(&mut transaction, schedule, now).await?;
            let before = still_pending(&mut transaction, &column(&page, |event| event.id)).await?;
            let (written, unreadable) =
                replan_users(&mut transaction, schedule, now, through, &users).await?;
            let moved = moved_since(&mut transaction, before).await?;
            let last = page.len() < limit as usize;
            let position = page.last().filter(|_| !last).map(|event| (event.next_attempt_at, event.id));
            save_progress(&mut transaction, now, basis, position).await?;
            transaction.commit().await?;
            written.record_metrics();
            Ok(RecomputeStep::Page { events: page.len() as u64, moved, unreadable, last })
        })
        .await
    }
}

async fn progress(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    basis: &PlanningBasis,
) -> Result<Option<Progress>> {
    let sql = "
        SELECT zone_data = $1 AND rules = $2 AS done,
               coalesce(next_zone_data = $1 AND next_rules = $2, false) AS ours,
               coalesce(next_rules IS NOT NULL AND progress_at > $3, false) AS alive, after_at, after_id
        FROM planning_basis";
    let progress = sqlx::query_as(sql)
        .bind(&basis.zone_data)
        .bind(&basis.rules)
        .bind(now - ABANDONED_AFTER)
        .fetch_optional(transaction);
    Ok(progress.await?)
}

/// Stores the `position` of the recomputation; without one, it is complete.
async fn save_progress(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    basis: &PlanningBasis,
    position: Option<(DateTime<Utc>, Uuid)>,
) -> Result<()> {
    let sql = if position.is_none() {
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
    let mut query = sqlx::query(sql).bind(&basis.zone_data).bind(&basis.rules).bind(now);
    if let Some((at, id)) = position {
        query = query.bind(at).bind(id);
    }
    query.execute(transaction).await?;
    Ok(())
}

async fn pending_page(
    transaction: &mut PgConnection,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: u32,
) -> Result<Vec<PendingEvent>> {
    let (at, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()));
    let sql = "
        SELECT next_attempt_at, id, user_id FROM events
        WHERE next_attempt_at IS NOT NULL AND (next_attempt_at, id) > ($1, $2)
        ORDER BY next_attempt_at, id LIMIT $3";
    Ok(sqlx::query_as(sql).bind(at).bind(id).bind(i64::from(limit)).fetch_all(transaction).await?)
}

/// Returns those of `events` that no edit or claim has changed since they were read.
async fn still_pending(transaction: &mut PgConnection, events: &[Uuid]) -> Result<Vec<DueEvent>> {
    let sql = "
        SELECT e.id, e.due_at, coalesce(u.time_zone, '') AS time_zone
        FROM events e LEFT JOIN users u ON u.id = e.user_id
        WHERE e.id = ANY($1) AND e.state = 'pending'";
    Ok(sqlx::query_as(sql).bind(events).fetch_all(transaction).await?)
}

/// Returns those of the events `before` that are due at another instant now, or deleted.
async fn moved_since(transaction: &mut PgConnection, before: Vec<DueEvent>) -> Result<Vec<MovedEvent>> {
    let after: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("SELECT id, due_at FROM events WHERE id = ANY($1)")
            .bind(column(&before, |event| event.id))
            .fetch_all(transaction)
            .await?;
    let after: HashMap<Uuid, DateTime<Utc>> = after.into_iter().collect();
    let moved = before.into_iter().filter_map(|DueEvent { id, due_at, time_zone }| {
        let to = after.get(&id).copied();
        (to != Some(due_at)).then_some(MovedEvent { event_id: id, time_zone, from: due_at, to })
    });
    Ok(moved.collect())
}
