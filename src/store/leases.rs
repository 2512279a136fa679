//! Leases: the right to send the events of a batch of packs, taken in one statement.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{ChannelName, EventState, Lease};

/// Leases that one call expires, of up to some hundred events each.
const MAX_EXPIRED: i64 = 20;

#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    pub id: Uuid,
    pub holder: Uuid,
    pub now: DateTime<Utc>,
    pub until: DateTime<Utc>,
    pub kinds: &'a [String],
    /// The kinds whose message needs the year of the date; for others `since_year` is not read.
    pub kinds_with_years: &'a [String],
    /// Events with an earlier `late_from` are too late.
    pub late_before: DateTime<Utc>,
    /// The channels of each kind, in the order in which they are tried. None: every kind uses the webhook alone.
    pub routes: Option<&'a Routes>,
    /// The channels of this worker.
    pub channels: &'a [String],
}

pub type Routes = Json<BTreeMap<String, Vec<ChannelName>>>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnleasedEvents {
    /// With state and reason.
    pub ended: Vec<(Uuid, EventState, String)>,
    /// Still queued: locked by another transaction, or sending is paused.
    pub locked: Vec<Uuid>,
    /// Of a kind or a channel that this worker does not have.
    pub unknown: Vec<Uuid>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpiredLeases {
    pub requeued: u64,
    pub dead: u64,
}

#[derive(sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "a row of conditions")]
struct QueuedEvent {
    id: Uuid,
    known: bool,
    late: bool,
    deleted: bool,
    reachable: bool,
}

impl QueuedEvent {
    fn is_over(&self) -> bool {
        self.deleted || self.late || self.known && !self.reachable
    }
}

/// A statement that leases events, with the part that gives each event in `free` its channel and address: `routed`.
///
/// Locks with SKIP LOCKED first: an update would wait for a row that an edit has locked, and delay the whole batch.
/// The transaction that deletes a date also deletes its event, unless an attempt was made: the date is looked up only after an
/// attempt. [`lease`] reads the columns by position.
macro_rules! lease {
    ($routed:literal) => {
        concat!(
            "
WITH free AS MATERIALIZED (
    SELECT ctid AS tid, user_id, kind, channel FROM events
    WHERE id = ANY($1) AND state = 'queued' AND kind = ANY($2) AND late_from >= $3
      AND (channel IS NULL OR channel = ANY($8)) AND NOT EXISTS (SELECT FROM pauses)
    FOR UPDATE SKIP LOCKED
), ",
            $routed,
            ", leased AS (
    UPDATE events e SET state = 'delivering', attempts = e.attempts + 1, lease_id = $4, channel = r.channel
    FROM routed r, users u
    WHERE e.ctid = r.tid AND u.id = r.user_id
      AND (e.attempts = 0 OR EXISTS (SELECT FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind))
    RETURNING e.id AS event_id, e.user_id, e.attempts AS attempt, e.attempts - e.attempts_not_counted AS attempts_since_redrive,
              e.kind, e.due_at, e.late_from, e.local_date, u.first_name, u.last_name, u.locale, r.channel, r.address,
              r.address_hash,
              CASE WHEN e.kind = ANY($7) THEN
                  (SELECT o.year FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind) END AS since_year
), held AS (
    INSERT INTO leases (id, holder, lease_until, event_ids)
    SELECT $4, $5, $6, array_agg(event_id) FROM leased HAVING count(*) > 0
)
SELECT * FROM leased"
        )
    };
}

/// Every kind uses the webhook alone. A statement of its own: the plan of the other one expects more rows, and costs more.
pub(super) const LEASE_FOR_WEBHOOK: &str = lease!(
    "routed AS (
    SELECT tid, user_id, 'webhook' AS channel, NULL AS address, NULL::bytea AS address_hash FROM free
)"
);

/// The first lease fixes the channel; the later ones look up its contact again. `routes` has the arrays for `reach`: PostgreSQL does
/// not inline a function with a subquery as an argument, and would plan the lookup again for each event.
pub(super) const LEASE: &str = lease!(
    "routes AS MATERIALIZED (
    SELECT kind, ARRAY(SELECT jsonb_array_elements_text(channels)) AS channels FROM jsonb_each($9) AS r(kind, channels)
), routed AS (
    SELECT f.tid, f.user_id, r.channel, r.address, r.address_hash
    FROM free f LEFT JOIN routes ON routes.kind = f.kind,
         reach(f.user_id, f.kind, CASE WHEN f.channel IS NOT NULL THEN ARRAY[f.channel] ELSE routes.channels END) r
)"
);

const QUEUED: &str = "
WITH routes AS MATERIALIZED (
    SELECT kind, ARRAY(SELECT jsonb_array_elements_text(channels)) AS channels FROM jsonb_each($4) AS r(kind, channels)
)
SELECT e.id, e.kind = ANY($2) AND (e.channel IS NULL OR e.channel = ANY($5)) AS known, e.late_from < $3 AS late,
       NOT EXISTS (SELECT FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind) AS deleted,
       $4 IS NULL OR EXISTS (SELECT FROM reach(e.user_id, e.kind,
           CASE WHEN e.channel IS NOT NULL THEN ARRAY[e.channel] ELSE routes.channels END)) AS reachable
FROM events e LEFT JOIN routes ON routes.kind = e.kind WHERE e.id = ANY($1) AND e.state = 'queued'";

/// `$4` are those that no channel reaches.
const END: &str = "
UPDATE events e
SET state = CASE WHEN x.gone THEN 'cancelled' ELSE 'skipped' END::event_state,
    reason = CASE WHEN x.gone THEN 'user_deleted' WHEN e.late_from < $3 THEN 'late' ELSE 'no_contact' END, finished_at = $2
FROM (
    SELECT e.id, NOT EXISTS (SELECT FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind) AS gone
    FROM events e WHERE e.id = ANY($1) AND e.state = 'queued' FOR UPDATE OF e SKIP LOCKED
) AS x
WHERE e.id = x.id AND (x.gone OR e.late_from < $3 OR e.id = ANY($4))
RETURNING e.id, e.state, e.reason";

/// Events of the channels in `$5` are not retried, since their greeting may have arrived. The first loss is retried at once. An event that
/// loses a second worker waits `$4` to `2 * $4` seconds, so that it is not leased together with the same events again.
const EXPIRE: &str = "
WITH expired AS MATERIALIZED (
    SELECT id, event_ids FROM leases WHERE lease_until < $1 ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED
), lost AS MATERIALIZED (
    SELECT e.id, e.attempts, e.channel, e.attempts - e.attempts_not_counted >= $3 OR e.channel = ANY($5) AS last, e.isolated
    FROM expired x JOIN events e ON e.id = ANY(x.event_ids) AND e.lease_id = x.id
    FOR UPDATE OF e SKIP LOCKED
), logged AS (
    INSERT INTO attempts (event_id, number, outcome, channel, reason, error)
    SELECT id, attempts, 'unknown', channel, 'worker_lost', 'the worker died before it recorded the outcome' FROM lost
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

/// Columns are read by position: looking up their names takes 2 % of the instructions of a delivery.
fn lease(row: &PgRow) -> sqlx::Result<Lease> {
    let channel = row.try_get::<&str, _>(11)?.parse::<ChannelName>();
    Ok(Lease {
        event_id: row.try_get(0)?,
        user_id: row.try_get(1)?,
        attempt: row.try_get(2)?,
        attempts_since_redrive: row.try_get(3)?,
        kind: row.try_get(4)?,
        due_at: row.try_get(5)?,
        late_from: row.try_get(6)?,
        local_date: row.try_get(7)?,
        first_name: row.try_get(8)?,
        last_name: row.try_get(9)?,
        locale: row.try_get(10)?,
        channel: channel.map_err(|error| sqlx::Error::Decode(error.into()))?,
        address: row.try_get(12)?,
        address_hash: row.try_get(13)?,
        since_year: row.try_get(14)?,
    })
}

impl Store {
    /// Leases those of `event_ids` that are queued, of a known kind, in time and not locked, while sending is not paused; counts
    /// their attempts. If the response is lost, the lease expires.
    pub async fn lease(&self, request: LeaseRequest<'_>, event_ids: &[Uuid]) -> Result<Vec<Lease>> {
        let statement = if request.routes.is_some() { LEASE } else { LEASE_FOR_WEBHOOK };
        let mut leased = sqlx::query(statement)
            .bind(event_ids)
            .bind(request.kinds)
            .bind(request.late_before)
            .bind(request.id)
            .bind(request.holder)
            .bind(request.until)
            .bind(request.kinds_with_years)
            .bind(request.channels);
        if let Some(routes) = request.routes {
            leased = leased.bind(routes);
        }
        self.run(leased.try_map(|row| lease(&row)).fetch_all(&self.pool)).await
    }

    /// Returns why events were not leased, and ends those that can no longer be sent. Events that are missing in the result are not
    /// queued any more.
    pub async fn check_unleased(
        &self,
        request: LeaseRequest<'_>,
        event_ids: &[Uuid],
    ) -> Result<UnleasedEvents> {
        let queued = sqlx::query_as(QUEUED)
            .bind(event_ids)
            .bind(request.kinds)
            .bind(request.late_before)
            .bind(request.routes)
            .bind(request.channels);
        let queued: Vec<QueuedEvent> = self.run(queued.fetch_all(&self.pool)).await?;
        let mut result = UnleasedEvents::default();
        let over = queued.iter().filter(|event| event.is_over());
        let over: Vec<Uuid> = over.map(|event| event.id).collect();
        if !over.is_empty() {
            let unreachable = queued.iter().filter(|event| event.known && !event.reachable);
            let unreachable: Vec<Uuid> = unreachable.map(|event| event.id).collect();
            let ended = sqlx::query_as(END)
                .bind(&over)
                .bind(request.now)
                .bind(request.late_before)
                .bind(&unreachable);
            result.ended = self.run(ended.fetch_all(&self.pool)).await?;
        }
        let ended: HashSet<Uuid> = result.ended.iter().map(|(id, ..)| *id).collect();
        for event in queued.iter().filter(|event| !ended.contains(&event.id)) {
            if event.known || event.is_over() {
                result.locked.push(event.id);
            } else {
                result.unknown.push(event.id);
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

    /// Requeues or fails the events of leases that expired before `now`; fails those of the channels `give_up`. Rows that another
    /// transaction has locked are left for the next call.
    pub async fn expire_leases(
        &self,
        now: DateTime<Utc>,
        max_attempts: u32,
        spread: Duration,
        give_up: &[String],
    ) -> Result<ExpiredLeases> {
        let expired = sqlx::query_scalar(EXPIRE)
            .bind(now)
            .bind(MAX_EXPIRED)
            .bind(max_attempts as i32)
            .bind(spread.as_secs_f64())
            .bind(give_up);
        let states: Vec<EventState> = self.run(expired.fetch_all(&self.pool)).await?;
        self.execute(sqlx::query(FORGET_LEASES).bind(now)).await?;
        let dead = states.iter().filter(|state| **state == EventState::Dead).count() as u64;
        Ok(ExpiredLeases { requeued: states.len() as u64 - dead, dead })
    }
}
