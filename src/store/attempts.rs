//! Attempts: records their outcomes, a batch in one statement, fenced by the lease and the attempt's number.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Result, Store, column};
use crate::model::{Attempt, AttemptOutcome, ChannelName, Reason, TraceId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAttempt {
    pub event_id: Uuid,
    pub lease_id: Uuid,
    /// With the lease, this number fences the record.
    pub attempt: i16,
    pub channel: ChannelName,
    pub status: Option<u16>,
    pub provider_id: Option<String>,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    pub trace_id: Option<TraceId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    pub ended: EndedAttempt,
    pub outcome: AttemptOutcome,
    pub reason: Reason,
    /// Without secrets.
    pub error: Option<String>,
    /// The first bytes of the response, as safe text.
    pub response: Option<String>,
    /// When the event may be claimed again; none: it is dead.
    pub retry_at: Option<DateTime<Utc>>,
    /// Whether the attempt counts against the limit.
    pub counts: bool,
}

impl FailedAttempt {
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.retry_at.is_none()
    }
}

/// What a call has recorded. The other attempts had lost their lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordResult {
    /// Events recorded, now or by an earlier call whose response was lost.
    pub events: HashSet<Uuid>,
    /// Events that another transaction has locked: call again.
    pub locked: HashSet<Uuid>,
}

/// The attempts of events, by event and number. Columns are named: `*` would fail on prepared statements of an older process
/// when a newer one adds a column.
pub(super) const ATTEMPTS: &str =
    "SELECT event_id, number, outcome, channel, status, provider_id, reason, error, response, started_at, finished_at,
            trace_id
     FROM ended_attempts WHERE event_id = ANY($1) ORDER BY event_id, number";

/// `$7` are ended leases. `$9` is NULL if no attempt was traced, as the traces of the other statements: `unnest` completes the column.
/// Skips locked rows: waiting for one would delay the whole batch.
pub(super) const DELIVERED: &str = "
WITH done AS (
    DELETE FROM leases WHERE id = ANY($7)
), o AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::smallint[], $5::timestamptz[], $6::timestamptz[], $8::text[],
                         $9::uuid[])
        AS o(id, lease_id, attempt, status, started_at, finished_at, provider_id, trace_id)
), free AS MATERIALIZED (
    SELECT e.ctid AS tid, o.status, o.started_at, o.finished_at, o.provider_id, o.trace_id
    FROM events e JOIN o ON e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE events e
SET state = 'delivered', lease_id = NULL, status = f.status, started_at = f.started_at, finished_at = f.finished_at,
    provider_id = f.provider_id, trace_id = f.trace_id
FROM free f WHERE e.ctid = f.tid
RETURNING e.id";

/// Events whose lease is still valid: their rows were locked.
const STILL_HELD: &str = "
SELECT e.id FROM events e JOIN unnest($1::uuid[], $2::uuid[], $3::smallint[]) AS o(id, lease_id, attempt)
    ON e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt";

/// The lease has expired, or an earlier call has recorded the delivery and its response was lost. The attempt's number shows that
/// the event was not leased since, so the delivery is valid and ends the event.
const DELIVERED_LATE: &str = "
WITH o AS (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[],
                         $8::uuid[])
        AS o(id, attempt, status, started_at, finished_at, channel, provider_id, trace_id)
), late AS (
    UPDATE events e
    SET state = 'delivered', reason = NULL, next_attempt_at = NULL, status = o.status, started_at = o.started_at,
        finished_at = o.finished_at, channel = o.channel, provider_id = o.provider_id, trace_id = o.trace_id
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
                         $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $13::text[], $14::boolean[],
                         $15::uuid[])
        AS o(id, lease_id, attempt, outcome, status, reason, error, response, started_at, finished_at, next_at, channel, counts,
             trace_id)
), held AS MATERIALIZED (
    SELECT e.id FROM events e JOIN all_outcomes o ON e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt
), free AS MATERIALIZED (
    SELECT id FROM events WHERE id IN (SELECT id FROM held) FOR UPDATE SKIP LOCKED
), o AS (
    SELECT * FROM all_outcomes a
    WHERE id IN (SELECT id FROM free)
       OR id NOT IN (SELECT id FROM held) AND EXISTS (SELECT FROM events e WHERE e.id = a.id)
), logged AS (
    INSERT INTO attempts (event_id, number, outcome, channel, status, reason, error, response, started_at, finished_at, trace_id)
    SELECT id, attempt, outcome, channel, status, reason, error, response, started_at, finished_at, trace_id FROM o
    ON CONFLICT (event_id, number) DO UPDATE
    SET outcome = excluded.outcome, status = excluded.status, reason = excluded.reason, error = excluded.error,
        response = excluded.response, started_at = excluded.started_at, finished_at = excluded.finished_at,
        trace_id = excluded.trace_id
    WHERE attempts.reason = 'worker_lost'
), ended AS (
    UPDATE events e
    SET state = CASE WHEN o.next_at IS NULL THEN 'dead' ELSE 'pending' END::event_state,
        reason = CASE WHEN o.next_at IS NULL THEN o.reason END, last_error = coalesce(o.error, e.last_error),
        next_attempt_at = o.next_at, finished_at = CASE WHEN o.next_at IS NULL THEN o.finished_at END, lease_id = NULL,
        attempts_not_counted = CASE WHEN o.counts THEN e.attempts_not_counted ELSE e.attempts_not_counted + 1 END
    FROM o WHERE e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt
    RETURNING e.id, o.reason, o.finished_at, e.state
), letters AS (
    INSERT INTO outbox (event_ids, dead_letter, created_at, available_at)
    SELECT ARRAY[id], reason, finished_at, finished_at FROM ended WHERE state = 'dead'
)
SELECT id FROM ended";

pub(super) struct Fence {
    pub(super) ids: Vec<Uuid>,
    pub(super) leases: Vec<Uuid>,
    pub(super) attempts: Vec<i16>,
}

impl Fence {
    pub(super) fn of<'a>(attempts: impl Iterator<Item = &'a EndedAttempt> + Clone) -> Self {
        Self {
            ids: attempts.clone().map(|ended| ended.event_id).collect(),
            leases: attempts.clone().map(|ended| ended.lease_id).collect(),
            attempts: attempts.map(|ended| ended.attempt).collect(),
        }
    }
}

/// Returns the column of the traces; none if no attempt was traced.
pub(super) fn trace_ids<'a>(
    mut attempts: impl Iterator<Item = &'a EndedAttempt> + Clone,
) -> Option<Vec<Option<TraceId>>> {
    let column = attempts.clone().map(|ended| ended.trace_id);
    attempts.any(|ended| ended.trace_id.is_some()).then(|| column.collect())
}

fn status(ended: &EndedAttempt) -> Option<i16> {
    ended.status.map(|status| status as i16)
}

impl Store {
    pub async fn attempts(&self, event: Uuid) -> Result<Vec<Attempt>> {
        self.run(sqlx::query_as(ATTEMPTS).bind([event].as_slice()).fetch_all(&self.pool)).await
    }

    /// Records `deliveries`, and deletes the leases `ended`. Where a lease has expired, the delivery still counts unless the event
    /// was leased again. After an error, repeat the call.
    pub async fn record_deliveries(
        &self,
        deliveries: &[EndedAttempt],
        ended: &[Uuid],
    ) -> Result<RecordResult> {
        let fence = Fence::of(deliveries.iter());
        let delivered = sqlx::query_scalar(DELIVERED)
            .bind(&fence.ids)
            .bind(&fence.leases)
            .bind(&fence.attempts)
            .bind(column(deliveries, status))
            .bind(column(deliveries, |delivery| delivery.started_at))
            .bind(column(deliveries, |delivery| delivery.finished_at))
            .bind(ended)
            .bind(column(deliveries, |delivery| delivery.provider_id.as_deref()))
            .bind(trace_ids(deliveries.iter()));
        let delivered = self.run(delivered.fetch_all(&self.pool)).await?;
        let mut result = self.record_result(delivered, &fence).await?;
        if result.events.len() + result.locked.len() < deliveries.len() {
            let done = |id: &Uuid| result.events.contains(id) || result.locked.contains(id);
            let late = deliveries.iter().filter(|delivery| !done(&delivery.event_id));
            let late: Vec<EndedAttempt> = late.cloned().collect();
            result.events.extend(self.record_late_deliveries(&late).await?);
        }
        Ok(result)
    }

    async fn record_late_deliveries(&self, deliveries: &[EndedAttempt]) -> Result<Vec<Uuid>> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let delivered = sqlx::query_scalar(DELIVERED_LATE)
            .bind(column(deliveries, |delivery| delivery.event_id))
            .bind(column(deliveries, |delivery| delivery.attempt))
            .bind(column(deliveries, status))
            .bind(column(deliveries, |delivery| delivery.started_at))
            .bind(column(deliveries, |delivery| delivery.finished_at))
            .bind(column(deliveries, |delivery| delivery.channel.as_str()))
            .bind(column(deliveries, |delivery| delivery.provider_id.as_deref()))
            .bind(trace_ids(deliveries.iter()));
        self.run(delivered.fetch_all(&self.pool)).await
    }

    /// Records `failures`, and deletes the leases `ended`. An event whose lease was lost keeps the state that a sweep or another
    /// worker gave it, but its attempt is recorded, unless its user was deleted. A dead event gets its message to the dead-letter
    /// queue in the same statement. After an error, repeat the call.
    pub async fn record_failures(&self, failures: &[FailedAttempt], ended: &[Uuid]) -> Result<RecordResult> {
        let fence = Fence::of(failures.iter().map(|failure| &failure.ended));
        let failed = sqlx::query_scalar(FAILED)
            .bind(&fence.ids)
            .bind(&fence.leases)
            .bind(&fence.attempts)
            .bind(column(failures, |failure| failure.outcome.as_str()))
            .bind(column(failures, |failure| status(&failure.ended)))
            .bind(column(failures, |failure| failure.reason.as_str()))
            .bind(column(failures, |failure| failure.error.as_deref()))
            .bind(column(failures, |failure| failure.response.as_deref()))
            .bind(column(failures, |failure| failure.ended.started_at))
            .bind(column(failures, |failure| failure.ended.finished_at))
            .bind(column(failures, |failure| failure.retry_at))
            .bind(ended)
            .bind(column(failures, |failure| failure.ended.channel.as_str()))
            .bind(column(failures, |failure| failure.counts))
            .bind(trace_ids(failures.iter().map(|failure| &failure.ended)));
        let failed = self.run(failed.fetch_all(&self.pool)).await?;
        self.record_result(failed, &fence).await
    }

    pub(super) async fn record_result(&self, events: Vec<Uuid>, fence: &Fence) -> Result<RecordResult> {
        let events: HashSet<Uuid> = events.into_iter().collect();
        let mut locked = HashSet::new();
        if events.len() < fence.ids.len() {
            let held =
                sqlx::query_scalar(STILL_HELD).bind(&fence.ids).bind(&fence.leases).bind(&fence.attempts);
            let held: Vec<Uuid> = self.run(held.fetch_all(&self.pool)).await?;
            locked = held.into_iter().filter(|id| !events.contains(id)).collect();
        }
        Ok(RecordResult { events, locked })
    }
}
