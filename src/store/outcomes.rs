//! Record: what became of the attempts, a whole batch in one statement.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{AttemptOutcome, Reason};

/// What comes next for an event after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// It is delivered.
    Delivered,
    /// It goes back to `queued`; the sweeper takes its message for lost at this instant, UTC.
    Retry(DateTime<Utc>),
    /// It is dead.
    Dead(Reason),
}

/// How one attempt ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The event.
    pub event_id: Uuid,
    /// The attempt's number, half of the fence.
    pub attempt: i16,
    /// How the request ended.
    pub outcome: AttemptOutcome,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// The same in words, without secrets.
    pub error: Option<String>,
    /// The first bytes of an answer that was no 2xx, as safe text.
    pub response: Option<String>,
    /// When the request began, UTC.
    pub started_at: DateTime<Utc>,
    /// When it ended, UTC.
    pub finished_at: DateTime<Utc>,
    /// What becomes of the event.
    pub next: NextStep,
}

impl Store {
    /// Writes `outcomes` of the worker process `holder`; gives the events and attempts whose lease it had lost, and
    /// those events stay as they are. Every attempt goes on record either way: its request did leave.
    ///
    /// A sweep that took the worker for dead, as after an outage of the database, does not undo a delivery: the event is
    /// delivered, as long as nobody has leased it since.
    ///
    /// # Errors
    /// The database refuses or is away; then nothing is written, and the same call may be made again.
    pub async fn record(&self, holder: Uuid, outcomes: &[Outcome]) -> Result<HashSet<(Uuid, i16)>> {
        let n = outcomes.len();
        let mut ids = Vec::with_capacity(n);
        let mut attempts = Vec::with_capacity(n);
        let mut states = Vec::with_capacity(n);
        let mut deadlines = Vec::with_capacity(n);
        let mut outcome = Vec::with_capacity(n);
        let mut statuses = Vec::with_capacity(n);
        let mut reasons = Vec::with_capacity(n);
        let mut errors: Vec<Option<&str>> = Vec::with_capacity(n);
        let mut responses: Vec<Option<&str>> = Vec::with_capacity(n);
        let mut started = Vec::with_capacity(n);
        let mut finished = Vec::with_capacity(n);
        for o in outcomes {
            let (state, deadline) = match o.next {
                NextStep::Delivered => ("delivered", None),
                NextStep::Dead(_) => ("dead", None),
                NextStep::Retry(lost_at) => ("queued", Some(lost_at)),
            };
            ids.push(o.event_id);
            attempts.push(o.attempt);
            states.push(state);
            deadlines.push(deadline);
            outcome.push(o.outcome.as_str());
            statuses.push(o.status.map(|status| status as i16));
            reasons.push(o.reason.map(Reason::as_str));
            errors.push(o.error.as_deref());
            responses.push(o.response.as_deref());
            started.push(o.started_at);
            finished.push(o.finished_at);
        }
        let written: Vec<(Uuid, i16)> = self
            .in_time(async {
                Ok(sqlx::query_as(RECORD)
                    .bind(&ids)
                    .bind(&attempts)
                    .bind(&states)
                    .bind(&deadlines)
                    .bind(&outcome)
                    .bind(&statuses)
                    .bind(&reasons)
                    .bind(&errors)
                    .bind(&started)
                    .bind(&finished)
                    .bind(holder)
                    .bind(&responses)
                    .fetch_all(&self.pool)
                    .await?)
            })
            .await?;
        let mut lost: HashSet<(Uuid, i16)> = ids.iter().copied().zip(attempts.iter().copied()).collect();
        for attempt in &written {
            lost.remove(attempt);
        }
        if !lost.is_empty() {
            let there: Vec<(Uuid, i16)> = self
                .in_time(async {
                    Ok(sqlx::query_as(ALREADY_RECORDED)
                        .bind(&ids)
                        .bind(&attempts)
                        .bind(&deadlines)
                        .bind(&finished)
                        .fetch_all(&self.pool)
                        .await?)
                })
                .await?;
            for attempt in &there {
                lost.remove(attempt);
            }
        }
        Ok(lost)
    }
}

/// Attempts that are not on record when a later one ends were lost with their workers: they are noted as unknown, until
/// such a worker should turn out to live and record its own after all. Two attempts of one event may be in one batch,
/// after an outage; then the earlier is no lost one, and none is noted twice (Postgres would refuse the whole batch).
///
/// A lease that the sweeper took away proves nothing against a delivery. The attempt's number proves that nobody has leased
/// the event since, so it is still this attempt's to end, whether it waits to go again, is on the queue, or was taken for
/// dead. A failure changes nothing then: the sweeper has seen to what comes next.
const RECORD: &str = "
WITH o AS (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::timestamptz[], $5::text[], $6::smallint[],
                         $7::text[], $8::text[], $9::timestamptz[], $10::timestamptz[], $12::text[])
        AS o(id, attempt, state, deadline_at, outcome, status, reason, error, started_at, finished_at, response)
), logged AS (
    INSERT INTO attempts (event_id, number, outcome, status, reason, error, started_at, finished_at, response)
    SELECT id, attempt, outcome, status, reason, error, started_at, finished_at, response FROM o
    UNION ALL
    SELECT DISTINCT id, n::smallint, 'unknown', NULL::smallint, 'worker_lost',
           'the worker died before it could record the outcome', NULL::timestamptz, NULL::timestamptz, NULL::text
    FROM o, generate_series(1, o.attempt - 1) AS n
    WHERE NOT EXISTS (SELECT FROM o AS p WHERE p.id = o.id AND p.attempt = n)
    ON CONFLICT (event_id, number) DO UPDATE
    SET outcome = excluded.outcome, status = excluded.status, reason = excluded.reason, error = excluded.error,
        started_at = excluded.started_at, finished_at = excluded.finished_at, response = excluded.response
    WHERE attempts.reason = 'worker_lost'
)
UPDATE events e
SET state = o.state::event_state,
    reason = CASE o.state WHEN 'dead' THEN o.reason END,
    last_error = coalesce(o.error, e.last_error),
    deadline_at = o.deadline_at,
    finished_at = CASE WHEN o.deadline_at IS NULL THEN o.finished_at END,
    lease_holder = NULL
FROM o
WHERE e.id = o.id AND e.attempts = o.attempt
  AND (e.lease_holder = $11
       OR o.state = 'delivered' AND e.lease_holder IS NULL
          AND (e.state IN ('pending', 'queued') OR e.state = 'dead' AND e.reason = 'worker_lost'))
RETURNING e.id, o.attempt";

/// What an earlier call wrote whose answer got lost: the event stands exactly as this outcome would leave it.
const ALREADY_RECORDED: &str = "
SELECT e.id, o.attempt FROM events e
JOIN unnest($1::uuid[], $2::smallint[], $3::timestamptz[], $4::timestamptz[])
    AS o(id, attempt, deadline_at, finished_at) ON o.id = e.id AND o.attempt = e.attempts
WHERE e.lease_holder IS NULL AND e.deadline_at IS NOT DISTINCT FROM o.deadline_at
  AND (e.deadline_at IS NOT NULL OR e.finished_at = o.finished_at)";
