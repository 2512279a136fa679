//! Record: the outcomes of attempts, a batch in one statement, fenced by the lease and the attempt's number.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Result, Store, column};
use crate::model::{AttemptOutcome, Reason};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub event_id: Uuid,
    /// The lease, half of the fence.
    pub lease_id: Uuid,
    /// The attempt's number, the other half.
    pub attempt: i16,
    pub status: Option<u16>,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Pending again; it may be claimed at this instant (UTC).
    Retry(DateTime<Utc>),
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub event_id: Uuid,
    /// The lease, half of the fence.
    pub lease_id: Uuid,
    /// The attempt's number, the other half.
    pub attempt: i16,
    pub outcome: AttemptOutcome,
    pub status: Option<u16>,
    pub reason: Reason,
    /// The same in words, without secrets.
    pub error: Option<String>,
    /// The first bytes of the response, as safe text.
    pub response: Option<String>,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    pub next: NextStep,
}

/// The outcomes that a call has recorded. The others had lost their lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Events recorded, now or by an earlier call whose response was lost.
    pub events: HashSet<Uuid>,
    /// Events that another transaction has locked: call again.
    pub locked: HashSet<Uuid>,
}

/// `$7` are ended leases. Rows that another transaction holds are skipped, or one would delay the whole batch.
pub(super) const DELIVERED: &str = "
WITH done AS (
    DELETE FROM leases WHERE id = ANY($7)
), o AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::smallint[], $5::timestamptz[], $6::timestamptz[])
        AS o(id, lease_id, attempt, status, started_at, finished_at)
), free AS MATERIALIZED (
    SELECT e.ctid AS tid, o.status, o.started_at, o.finished_at
    FROM events e JOIN o ON e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE events e
SET state = 'delivered', lease_id = NULL, status = f.status, started_at = f.started_at, finished_at = f.finished_at
FROM free f WHERE e.ctid = f.tid
RETURNING e.id";

/// Those whose lease is still valid: their rows were locked.
const STILL_HELD: &str = "
SELECT e.id FROM events e JOIN unnest($1::uuid[], $2::uuid[], $3::smallint[]) AS o(id, lease_id, attempt)
    ON e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt";

/// The lease has expired, or an earlier call has recorded the delivery and its response was lost. The attempt's number proves that
/// the event was not leased since: the delivery is valid, and ends the event.
const DELIVERED_LATE: &str = "
WITH o AS (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::timestamptz[], $5::timestamptz[])
        AS o(id, attempt, status, started_at, finished_at)
), late AS (
    UPDATE events e
    SET state = 'delivered', reason = NULL, next_attempt_at = NULL, status = o.status, started_at = o.started_at,
        finished_at = o.finished_at
    FROM o
    WHERE e.id = o.id AND e.attempts = o.attempt
      AND (e.state IN ('pending', 'queued') OR e.state = 'dead' AND e.reason = 'worker_lost')
    RETURNING e.id, e.attempts
), found AS (
    DELETE FROM attempts a USING late WHERE a.event_id = late.id AND a.number = late.attempts
), letters AS (
    DELETE FROM outbox b USING late WHERE b.dead_letter IS NOT NULL AND b.event_ids[1] = late.id
)
SELECT id FROM late
UNION ALL
SELECT e.id FROM events e JOIN o ON o.id = e.id AND o.attempt = e.attempts AND o.finished_at = e.finished_at
WHERE e.state = 'delivered'";

const FAILED: &str = "
WITH done AS (
    DELETE FROM leases WHERE id = ANY($12)
), all_outcomes AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::smallint[], $6::text[], $7::text[],
                         $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[])
        AS o(id, lease_id, attempt, outcome, status, reason, error, response, started_at, finished_at, next_at)
), held AS MATERIALIZED (
    SELECT e.id FROM events e JOIN all_outcomes o ON e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt
), free AS MATERIALIZED (
    SELECT id FROM events WHERE id IN (SELECT id FROM held) FOR UPDATE SKIP LOCKED
), o AS (
    SELECT * FROM all_outcomes a
    WHERE id IN (SELECT id FROM free)
       OR id NOT IN (SELECT id FROM held) AND EXISTS (SELECT FROM events e WHERE e.id = a.id)
), logged AS (
    INSERT INTO attempts (event_id, number, outcome, status, reason, error, response, started_at, finished_at)
    SELECT id, attempt, outcome, status, reason, error, response, started_at, finished_at FROM o
    ON CONFLICT (event_id, number) DO UPDATE
    SET outcome = excluded.outcome, status = excluded.status, reason = excluded.reason, error = excluded.error,
        response = excluded.response, started_at = excluded.started_at, finished_at = excluded.finished_at
    WHERE attempts.reason = 'worker_lost'
), ended AS (
    UPDATE events e
    SET state = CASE WHEN o.next_at IS NULL THEN 'dead' ELSE 'pending' END::event_state,
        reason = CASE WHEN o.next_at IS NULL THEN o.reason END, last_error = coalesce(o.error, e.last_error),
        next_attempt_at = o.next_at, finished_at = CASE WHEN o.next_at IS NULL THEN o.finished_at END, lease_id = NULL
    FROM o WHERE e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt
    RETURNING e.id, o.reason, o.finished_at, e.state
), letters AS (
    INSERT INTO outbox (event_ids, dead_letter, created_at, available_at)
    SELECT ARRAY[id], reason, finished_at, finished_at FROM ended WHERE state = 'dead'
)
SELECT id FROM ended";

impl Store {
    /// Records `deliveries`, and deletes the leases `ended`. Where a lease has expired, the delivery still counts unless the event
    /// was leased again. After an error, the same call may be made again.
    pub async fn record_deliveries(&self, deliveries: &[Delivery], ended: &[Uuid]) -> Result<Recorded> {
        let ids = column(deliveries, |one| one.event_id);
        let leases = column(deliveries, |one| one.lease_id);
        let attempts = column(deliveries, |one| one.attempt);
        let delivered = sqlx::query_scalar(DELIVERED)
            .bind(&ids)
            .bind(&leases)
            .bind(&attempts)
            .bind(column(deliveries, |one| one.status.map(|status| status as i16)))
            .bind(column(deliveries, |one| one.started_at))
            .bind(column(deliveries, |one| one.finished_at))
            .bind(ended);
        let delivered = self.run(delivered.fetch_all(&self.pool)).await?;
        let mut result = self.recorded(delivered, &ids, &leases, &attempts).await?;
        if result.events.len() + result.locked.len() < deliveries.len() {
            let done = |id: &Uuid| result.events.contains(id) || result.locked.contains(id);
            let late: Vec<Delivery> = deliveries.iter().filter(|one| !done(&one.event_id)).copied().collect();
            result.events.extend(self.record_late_deliveries(&late).await?);
        }
        Ok(result)
    }

    async fn record_late_deliveries(&self, deliveries: &[Delivery]) -> Result<Vec<Uuid>> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let delivered = sqlx::query_scalar(DELIVERED_LATE)
            .bind(column(deliveries, |one| one.event_id))
            .bind(column(deliveries, |one| one.attempt))
            .bind(column(deliveries, |one| one.status.map(|status| status as i16)))
            .bind(column(deliveries, |one| one.started_at))
            .bind(column(deliveries, |one| one.finished_at));
        self.run(delivered.fetch_all(&self.pool)).await
    }

    /// Records `failures`, and deletes the leases `ended`. An event whose lease was lost keeps the state that a sweep or another
    /// worker gave it, but its attempt is recorded, unless its user was deleted. A dead event gets its message to the dead-letter
    /// queue in the same statement. After an error, the same call may be made again.
    pub async fn record_failures(&self, failures: &[Failure], ended: &[Uuid]) -> Result<Recorded> {
        let next = |one: &Failure| match one.next {
            NextStep::Retry(at) => Some(at),
            NextStep::Dead => None,
        };
        let ids = column(failures, |one| one.event_id);
        let leases = column(failures, |one| one.lease_id);
        let attempts = column(failures, |one| one.attempt);
        let failed = sqlx::query_scalar(FAILED)
            .bind(&ids)
            .bind(&leases)
            .bind(&attempts)
            .bind(column(failures, |one| one.outcome.as_str()))
            .bind(column(failures, |one| one.status.map(|status| status as i16)))
            .bind(column(failures, |one| one.reason.as_str()))
            .bind(column(failures, |one| one.error.as_deref()))
            .bind(column(failures, |one| one.response.as_deref()))
            .bind(column(failures, |one| one.started_at))
            .bind(column(failures, |one| one.finished_at))
            .bind(column(failures, next))
            .bind(ended);
        let failed = self.run(failed.fetch_all(&self.pool)).await?;
        self.recorded(failed, &ids, &leases, &attempts).await
    }

    async fn recorded(
        &self,
        events: Vec<Uuid>,
        ids: &[Uuid],
        leases: &[Uuid],
        attempts: &[i16],
    ) -> Result<Recorded> {
        let events: HashSet<Uuid> = events.into_iter().collect();
        let mut locked = HashSet::new();
        if events.len() < ids.len() {
            let held = sqlx::query_scalar(STILL_HELD).bind(ids).bind(leases).bind(attempts);
            let held: Vec<Uuid> = self.run(held.fetch_all(&self.pool)).await?;
            locked = held.into_iter().filter(|id| !events.contains(id)).collect();
        }
        Ok(Recorded { events, locked })
    }
}
