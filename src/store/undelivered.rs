//! Attempts that move an event to another channel or to another time: its contact was refused, or its channel was not ready.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::attempts::{EndedAttempt, Fence, RecordResult, trace_ids};
use super::leases::Routes;
use super::{Result, Store, column};
use crate::model::{ContactStatus, EventState, Reason};

/// An attempt whose contact the provider refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedContact {
    pub ended: EndedAttempt,
    pub status: ContactStatus,
    /// The keyed hash of the address.
    pub address_hash: Vec<u8>,
    pub reason: Reason,
    /// Without addresses.
    pub error: Option<String>,
    /// The first bytes of the response, as safe text.
    pub response: Option<String>,
    /// No further channel is tried.
    pub last: bool,
}

/// A leased event whose request did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostponedEvent {
    pub event_id: Uuid,
    pub lease_id: Uuid,
    pub attempt: i16,
    pub until: DateTime<Utc>,
}

/// After an unknown outcome, the greeting may have arrived, so that no other channel is tried. The next channel is looked up without the
/// refused one, since the statement does not see the suppression that it inserts.
const REFUSED: &str = "
WITH done AS (
    DELETE FROM leases WHERE id = ANY($1)
), all_outcomes AS (
    SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::smallint[], $5::text[], $6::smallint[], $7::text[], $8::text[],
                         $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::bytea[], $14::boolean[],
                         $16::uuid[])
        AS o(id, lease_id, attempt, channel, status, reason, error, response, started_at, finished_at, contact, address_hash,
             last, trace_id)
), marked AS (
    INSERT INTO suppressions (address_hash, channel, status, since)
    SELECT address_hash, channel, contact, finished_at FROM all_outcomes
    ON CONFLICT DO NOTHING
), free AS MATERIALIZED (
    SELECT e.id, e.user_id, e.kind FROM events e
    JOIN all_outcomes o ON e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt
    FOR UPDATE OF e SKIP LOCKED
), routes AS MATERIALIZED (
    SELECT kind, ARRAY(SELECT jsonb_array_elements_text(channels)) AS channels FROM jsonb_each($15) AS r(kind, channels)
), o AS (
    SELECT o.*, CASE WHEN NOT o.last AND NOT EXISTS (SELECT FROM attempts a WHERE a.event_id = f.id AND a.outcome = 'unknown') THEN (
        SELECT r.channel FROM reach(f.user_id, f.kind, array_remove(routes.channels, o.channel)) r) END AS next_channel
    FROM all_outcomes o JOIN free f ON f.id = o.id LEFT JOIN routes ON routes.kind = f.kind
), logged AS (
    INSERT INTO attempts (event_id, number, outcome, channel, status, reason, error, response, started_at, finished_at, trace_id)
    SELECT id, attempt, 'failed', channel, status, reason, error, response, started_at, finished_at, trace_id FROM o
    ON CONFLICT DO NOTHING
), ended AS (
    UPDATE events e
    SET state = CASE WHEN o.next_channel IS NULL THEN 'dead' ELSE 'pending' END::event_state, channel = NULL,
        reason = CASE WHEN o.next_channel IS NULL THEN o.reason END, last_error = o.error, lease_id = NULL,
        next_attempt_at = CASE WHEN o.next_channel IS NOT NULL THEN o.finished_at END,
        finished_at = CASE WHEN o.next_channel IS NULL THEN o.finished_at END
    FROM o WHERE e.id = o.id
    RETURNING e.id, e.state, o.reason, o.finished_at
), letters AS (
    INSERT INTO outbox (event_ids, dead_letter, created_at, available_at)
    SELECT ARRAY[id], reason, finished_at, finished_at FROM ended WHERE state = 'dead'
)
SELECT id, state FROM ended";

/// No attempt was made, so the number is free again. The channel of an event without attempts is chosen again.
const POSTPONED: &str = "
WITH done AS (
    DELETE FROM leases WHERE id = ANY($1)
), o AS (
    SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::smallint[], $5::timestamptz[]) AS o(id, lease_id, attempt, until)
), free AS MATERIALIZED (
    SELECT e.ctid AS tid, o.until FROM events e
    JOIN o ON e.id = o.id AND e.lease_id = o.lease_id AND e.attempts = o.attempt
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE events e
SET state = 'pending', lease_id = NULL, next_attempt_at = f.until, attempts = e.attempts - 1,
    channel = CASE WHEN e.attempts > 1 THEN e.channel END
FROM free f WHERE e.ctid = f.tid
RETURNING e.id";

impl Store {
    /// Records refused contacts: suppresses their addresses, and makes each event pending if another channel of `routes` reaches its
    /// user, otherwise dead. Deletes the leases `ended`. Returns the dead events, too. After an error, repeat the call.
    pub async fn record_refused_contacts(
        &self,
        refused: &[RefusedContact],
        routes: Option<&Routes>,
        ended: &[Uuid],
    ) -> Result<(RecordResult, HashSet<Uuid>)> {
        let fence = Fence::of(refused.iter().map(|refused| &refused.ended));
        let recorded = sqlx::query_as(REFUSED)
            .bind(ended)
            .bind(&fence.ids)
            .bind(&fence.leases)
            .bind(&fence.attempts)
            .bind(column(refused, |refused| refused.ended.channel.as_str()))
            .bind(column(refused, |refused| refused.ended.status.map(|status| status as i16)))
            .bind(column(refused, |refused| refused.reason.as_str()))
            .bind(column(refused, |refused| refused.error.as_deref()))
            .bind(column(refused, |refused| refused.response.as_deref()))
            .bind(column(refused, |refused| refused.ended.started_at))
            .bind(column(refused, |refused| refused.ended.finished_at))
            .bind(column(refused, |refused| refused.status.as_str()))
            .bind(column(refused, |refused| refused.address_hash.as_slice()))
            .bind(column(refused, |refused| refused.last))
            .bind(routes)
            .bind(trace_ids(refused.iter().map(|refused| &refused.ended)));
        let recorded: Vec<(Uuid, EventState)> = self.run(recorded.fetch_all(&self.pool)).await?;
        let dead =
            recorded.iter().filter(|(_, state)| *state == EventState::Dead).map(|(id, _)| *id).collect();
        let events = recorded.into_iter().map(|(id, _)| id).collect();
        Ok((self.record_result(events, &fence).await?, dead))
    }

    /// Makes leased events pending again, and deletes the leases `ended`. After an error, repeat the call.
    pub async fn postpone(&self, postponed: &[PostponedEvent], ended: &[Uuid]) -> Result<RecordResult> {
        let fence = Fence {
            ids: column(postponed, |event| event.event_id),
            leases: column(postponed, |event| event.lease_id),
            attempts: column(postponed, |event| event.attempt),
        };
        let recorded = sqlx::query_scalar(POSTPONED)
            .bind(ended)
            .bind(&fence.ids)
            .bind(&fence.leases)
            .bind(&fence.attempts)
            .bind(column(postponed, |event| event.until));
        let recorded = self.run(recorded.fetch_all(&self.pool)).await?;
        self.record_result(recorded, &fence).await
    }
}
