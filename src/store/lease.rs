//! Lease: the right to send, for the events of a batch of packs in one statement.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{EventState, Lease};

#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    pub id: Uuid,
    pub holder: Uuid,
    pub now: DateTime<Utc>,
    pub until: DateTime<Utc>,
    pub kinds: &'a [String],
    /// Those of them whose message needs the year of the date; for others `since_year` is not read.
    pub kinds_with_years: &'a [String],
    /// Events whose lateness counts from before this instant are too late.
    pub late_before: DateTime<Utc>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotLeased {
    pub ended: Vec<(Uuid, EventState)>,
    /// Still queued: locked by another transaction, or sending is paused.
    pub locked: Vec<Uuid>,
    /// Still queued, of kinds that this worker does not know.
    pub unknown_kind: Vec<Uuid>,
}

#[derive(sqlx::FromRow)]
struct Look {
    id: Uuid,
    known: bool,
    late: bool,
    gone: bool,
}

/// Locks with SKIP LOCKED first: an update would wait for a row that an edit has locked, and every event of the batch with it.
/// The transaction that deletes a date deletes its event, too, unless an attempt was made: only after an attempt is the date
/// looked up.
pub(super) const LEASE: &str = "
WITH free AS MATERIALIZED (
    SELECT ctid AS tid FROM events
    WHERE id = ANY($1) AND state = 'queued' AND kind = ANY($2) AND late_from >= $3 AND NOT EXISTS (SELECT FROM pauses)
    FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE events e SET state = 'delivering', attempts = e.attempts + 1, lease_id = $4
    FROM free, users u
    WHERE e.ctid = free.tid AND u.id = e.user_id
      AND (e.attempts = 0 OR EXISTS (SELECT FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind))
    RETURNING e.id AS event_id, e.user_id, e.attempts AS attempt, e.attempts - e.attempts_at_redrive AS tries, e.kind,
              e.due_at, e.late_from, e.local_date, u.first_name, u.last_name,
              CASE WHEN e.kind = ANY($7) THEN
                  (SELECT o.year FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind) END AS since_year
), held AS (
    INSERT INTO leases (id, holder, lease_until, event_ids)
    SELECT $4, $5, $6, array_agg(event_id) FROM leased HAVING count(*) > 0
)
SELECT * FROM leased";

const LOOK: &str = "
SELECT e.id, e.kind = ANY($2) AS known, e.late_from < $3 AS late,
       NOT EXISTS (SELECT FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind) AS gone
FROM events e WHERE e.id = ANY($1) AND e.state = 'queued'";

const END: &str = "
UPDATE events e
SET state = CASE WHEN x.gone THEN 'cancelled' ELSE 'skipped' END::event_state,
    reason = CASE WHEN x.gone THEN 'user_deleted' ELSE 'late' END, finished_at = $2
FROM (
    SELECT e.id, NOT EXISTS (SELECT FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind) AS gone
    FROM events e WHERE e.id = ANY($1) AND e.state = 'queued' FOR UPDATE OF e SKIP LOCKED
) AS x
WHERE e.id = x.id AND (x.gone OR e.late_from < $3)
RETURNING e.id, e.state";

impl Store {
    /// Leases those of `event_ids` that are queued, of a known kind, in time, and free, while sending is not paused; counts
    /// their attempts. Waits for no lock. After an error, a lease that was written nevertheless is unknown to its worker, and
    /// expires.
    pub async fn lease(&self, request: LeaseRequest<'_>, event_ids: &[Uuid]) -> Result<Vec<Lease>> {
        let leased = sqlx::query_as(LEASE)
            .bind(event_ids)
            .bind(request.kinds)
            .bind(request.late_before)
            .bind(request.id)
            .bind(request.holder)
            .bind(request.until)
            .bind(request.kinds_with_years);
        self.run(leased.fetch_all(&self.pool)).await
    }

    /// Returns why events were not leased, and ends those that can no longer be sent. Events that are missing in the answer are not
    /// queued any more.
    pub async fn not_leased(&self, request: LeaseRequest<'_>, event_ids: &[Uuid]) -> Result<NotLeased> {
        let looks = sqlx::query_as(LOOK).bind(event_ids).bind(request.kinds).bind(request.late_before);
        let looks: Vec<Look> = self.run(looks.fetch_all(&self.pool)).await?;
        let mut result = NotLeased::default();
        let over: Vec<Uuid> =
            looks.iter().filter(|look| look.gone || look.late).map(|look| look.id).collect();
        if !over.is_empty() {
            let ended = sqlx::query_as(END).bind(&over).bind(request.now).bind(request.late_before);
            result.ended = self.run(ended.fetch_all(&self.pool)).await?;
        }
        let ended: HashSet<Uuid> = result.ended.iter().map(|(id, _)| *id).collect();
        for look in looks.iter().filter(|look| !ended.contains(&look.id)) {
            if look.known || look.gone || look.late {
                result.locked.push(look.id);
            } else {
                result.unknown_kind.push(look.id);
            }
        }
        Ok(result)
    }

    pub async fn extend_leases(&self, until: DateTime<Utc>, leases: &[Uuid]) -> Result<HashSet<Uuid>> {
        // Never shortened: a statement that arrives late must not end a newer lease.
        let sql = "UPDATE leases SET lease_until = greatest(lease_until, $2) WHERE id = ANY($1) RETURNING id";
        let kept = sqlx::query_scalar(sql).bind(leases).bind(until);
        Ok(self.run(kept.fetch_all(&self.pool)).await?.into_iter().collect())
    }
}
