//! Sweep: events of workers that died, and rows past their retention.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Result, Store};
use crate::model::EventState;

/// Leases that one statement ends, of up to some hundred events each.
const LEASES: i64 = 20;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    pub requeued: u64,
    pub dead: u64,
}

/// The first loss is retried at once; an event that loses a second worker waits `$4` seconds, and up to as many again, so that
/// the events that were beside it are not beside it again.
const EXPIRE: &str = "
WITH expired AS MATERIALIZED (
    SELECT id, event_ids FROM leases WHERE lease_until < $1 ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED
), lost AS MATERIALIZED (
    SELECT e.id, e.attempts, e.attempts - e.attempts_at_redrive >= $3 AS last, e.isolated
    FROM expired x JOIN events e ON e.id = ANY(x.event_ids) AND e.lease_id = x.id
    FOR UPDATE OF e SKIP LOCKED
), logged AS (
    INSERT INTO attempts (event_id, number, outcome, reason, error)
    SELECT id, attempts, 'unknown', 'worker_lost', 'the worker died before it recorded the outcome' FROM lost
    ON CONFLICT DO NOTHING
), letters AS (
    INSERT INTO outbox (event_ids, dead_letter, created_at, available_at)
    SELECT ARRAY[id], 'worker_lost', $1, $1 FROM lost WHERE last
)
UPDATE events e
SET state = CASE WHEN l.last THEN 'dead' ELSE 'pending' END::event_state,
    reason = CASE WHEN l.last THEN 'worker_lost' END, finished_at = CASE WHEN l.last THEN $1 END,
    next_attempt_at = CASE WHEN l.last THEN NULL
                           WHEN l.isolated THEN $1 + (1 + random()) * make_interval(secs => $4) ELSE $1 END,
    isolated = true, lease_id = NULL
FROM lost l WHERE e.id = l.id
RETURNING e.state";

/// Runs after [`EXPIRE`], in a statement of its own, to see its changes.
const FORGET_LEASES: &str = "
DELETE FROM leases l WHERE lease_until < $1
  AND NOT EXISTS (SELECT FROM events e WHERE e.id = ANY(l.event_ids) AND e.lease_id = l.id)";

/// Ids are UUIDs of version 7, so that the primary key is in the order of creation: no index on the end of events is needed. An event
/// finishes within days of its creation, or was redriven, and is kept until its end is old, too.
const FORGET_EVENTS: &str = "
WITH old AS (
    SELECT id FROM events WHERE id < $3 AND finished_at < $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
), logged AS (
    DELETE FROM attempts WHERE event_id IN (SELECT id FROM old)
), letters AS (
    DELETE FROM outbox WHERE dead_letter IS NOT NULL AND event_ids[1] IN (SELECT id FROM old)
)
DELETE FROM events WHERE id IN (SELECT id FROM old)";

impl Store {
    /// Ends leases that expired before `now`. Rows that another transaction has locked are left for the next call.
    pub async fn expire_leases(
        &self,
        now: DateTime<Utc>,
        max_attempts: u32,
        spread: Duration,
    ) -> Result<Expired> {
        let expired = sqlx::query_scalar(EXPIRE)
            .bind(now)
            .bind(LEASES)
            .bind(max_attempts as i32)
            .bind(spread.as_secs_f64());
        let states: Vec<EventState> = self.run(expired.fetch_all(&self.pool)).await?;
        self.execute(sqlx::query(FORGET_LEASES).bind(now)).await?;
        let dead = states.iter().filter(|state| **state == EventState::Dead).count() as u64;
        Ok(Expired { requeued: states.len() as u64 - dead, dead })
    }

    /// Deletes a batch of events that finished before `before` (UTC), with their attempts. Returns how many.
    pub async fn forget_events(&self, before: DateTime<Utc>, limit: u32) -> Result<u64> {
        let delete = sqlx::query(FORGET_EVENTS).bind(before).bind(i64::from(limit)).bind(first_id_of(before));
        self.execute(delete).await
    }

    /// Deletes the records of days that were planned for dates before `before`, except the last: it says how far the plan reaches.
    pub async fn forget_planned_days(&self, before: DateTime<Utc>) -> Result<()> {
        let sql = "
            DELETE FROM planned_days
            WHERE local_date < $1 AND local_date < (SELECT max(local_date) FROM planned_days)";
        self.execute(sqlx::query(sql).bind((before - TimeDelta::days(1)).date_naive())).await.map(drop)
    }
}

/// Returns the smallest UUID (version 7) of an instant.
fn first_id_of(at: DateTime<Utc>) -> uuid::Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}
