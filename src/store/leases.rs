//! Lease: the right to send, for a whole batch of received messages in one statement.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{EventState, Lease, Reason};

// `least(e.created_at, u.updated_at)` is when an edit made this event, or moved it here: both are the same moment then. An
// event that was merely planned late, after an outage, has a user who was written long before; a user who was renamed
// since has an event from long before. Neither counts as learned late. The late rule counts from the same moment: what was
// learned on the day, after the send time, is sent however small `late.max_secs` is.
macro_rules! sendable_at {
    () => {
        "greatest(e.due_at, e.redriven_at, least(e.created_at, u.updated_at))"
    };
}

/// What a worker asks for.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest {
    /// The worker process.
    pub holder: Uuid,
    /// UTC.
    pub now: DateTime<Utc>,
    /// When the lease runs out, UTC.
    pub until: DateTime<Utc>,
    /// What was due, redriven or learned before this is too late.
    pub late_before: DateTime<Utc>,
}

/// A message whose event was not leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The event that the message names.
    pub event_id: Uuid,
    /// What to do with the message.
    pub refusal: Refusal,
}

/// What to do with a message whose event was not leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its event is finished, unknown, or not due (any more): drop the message.
    Drop,
    /// Its event was given up just now, with this reason: drop the message.
    Ended(EventState, Reason),
    /// Somebody else holds the lease until then, UTC: keep the message and look again.
    Wait(DateTime<Utc>),
    /// The claim that sent the message has not committed yet, or somebody else holds the row at this moment: look again
    /// soon.
    Soon,
}

type Row = (
    Uuid,
    Uuid,
    i16,
    String,
    DateTime<Utc>,
    DateTime<Utc>,
    NaiveDate,
    Option<i16>,
    String,
    String,
);

/// What is known of an event that was not leased at the first go.
#[derive(sqlx::FromRow)]
struct Look {
    id: Uuid,
    state: EventState,
    deadline_at: Option<DateTime<Utc>>,
    due: bool,
    late: bool,
    user_there: bool,
}

impl Store {
    /// Leases the events that can be sent now, and counts the attempt; says of the others what to do with their
    /// messages.
    ///
    /// Leased is what is `queued`; what is `delivering` under a lease that ran out; and what is due and `pending`,
    /// because a message can arrive before the claim that sent it has committed, or after that claim has failed. The
    /// user must still be there, and the late rule must allow it. No claim is waited for: a slow queue must not hold
    /// up the workers.
    ///
    /// # Errors
    /// The database refuses or is away; then nothing is leased.
    pub async fn lease(
        &self,
        request: LeaseRequest,
        event_ids: &[Uuid],
    ) -> Result<(Vec<Lease>, Vec<Refused>)> {
        let mut leases = self.in_time(self.take(TAKE_QUEUED, request, event_ids)).await?;
        if leases.len() == event_ids.len() {
            return Ok((leases, Vec::new()));
        }
        let held: HashSet<Uuid> = leases.iter().map(|lease| lease.event_id).collect();
        let others: Vec<Uuid> = event_ids
            .iter()
            .copied()
            .filter(|id| !held.contains(id))
            .collect();
        match self.in_time(self.refuse(request, &others, &mut leases)).await {
            Ok(refused) => Ok((leases, refused)),
            // What was leased must be used. Of the others nothing is known, so their messages are left alone.
            Err(_) if !leases.is_empty() => Ok((leases, Vec::new())),
            Err(error) => Err(error),
        }
    }

    async fn take(&self, sql: &'static str, request: LeaseRequest, event_ids: &[Uuid]) -> Result<Vec<Lease>> {
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(event_ids)
            .bind(request.holder)
            .bind(request.now)
            .bind(request.until)
            .bind(request.late_before)
            .fetch_all(&self.pool)
            .await?;
        let lease = |(
            event_id,
            user_id,
            attempt,
            kind,
            due_at,
            sendable_at,
            local_date,
            since_year,
            first_name,
            last_name,
        )| Lease {
            event_id,
            user_id,
            attempt,
            kind,
            due_at,
            sendable_at,
            local_date,
            since_year,
            first_name,
            last_name,
        };
        Ok(rows.into_iter().map(lease).collect())
    }

    /// The rare part: leases what is pending and nobody claims, ends what cannot be sent any more, and judges the rest.
    async fn refuse(
        &self,
        request: LeaseRequest,
        event_ids: &[Uuid],
        leases: &mut Vec<Lease>,
    ) -> Result<Vec<Refused>> {
        let looks: Vec<Look> = sqlx::query_as(concat!(
            "SELECT e.id, e.state, e.deadline_at, e.due_at <= $2 AS due, ",
            sendable_at!(),
            " < $3 AS late,
                        o.user_id IS NOT NULL AS user_there
                 FROM events e LEFT JOIN users u ON u.id = e.user_id
                 LEFT JOIN occasions o ON o.user_id = e.user_id AND o.kind = e.kind
                 WHERE e.id = ANY($1)",
        ))
        .bind(event_ids)
        .bind(request.now)
        .bind(request.late_before)
        .fetch_all(&self.pool)
        .await?;
        let hopeless = |look: &&Look| !look.state.is_final() && (look.late || !look.user_there);
        let hopeless: Vec<Uuid> = looks.iter().filter(hopeless).map(|look| look.id).collect();
        let ended = if hopeless.is_empty() {
            Vec::new()
        } else {
            self.end(request, &hopeless).await?
        };
        let pending =
            |look: &&Look| look.state == EventState::Pending && look.due && !look.late && look.user_there;
        let pending: Vec<Uuid> = looks.iter().filter(pending).map(|look| look.id).collect();
        if !pending.is_empty() {
            match self.take(TAKE_PENDING, request, &pending).await {
                Ok(taken) => leases.extend(taken),
                // What was ended is committed, and is to be counted. The pending ones are looked at again soon.
                Err(_) if !ended.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        let held: HashSet<Uuid> = leases.iter().map(|lease| lease.event_id).collect();
        let judge = |event_id: Uuid| {
            if let Some((_, state)) = ended.iter().find(|(id, _)| *id == event_id) {
                let cancelled = *state == EventState::Cancelled;
                return Refusal::Ended(
                    *state,
                    if cancelled {
                        Reason::UserDeleted
                    } else {
                        Reason::Late
                    },
                );
            }
            match looks.iter().find(|look| look.id == event_id) {
                None => Refusal::Drop,
                Some(look) if look.state.is_final() => Refusal::Drop,
                // Its user was edited after the message went out: it goes again when it is due.
                Some(look) if look.state == EventState::Pending && !look.due => Refusal::Drop,
                Some(Look {
                    state: EventState::Delivering,
                    deadline_at: Some(until),
                    ..
                }) => Refusal::Wait(*until),
                Some(_) => Refusal::Soon,
            }
        };
        let others = event_ids.iter().copied().filter(|id| !held.contains(id));
        Ok(others
            .map(|event_id| Refused {
                event_id,
                refusal: judge(event_id),
            })
            .collect())
    }

    /// Ends events whose user is gone, or that are too late; leaves those that somebody holds.
    async fn end(&self, request: LeaseRequest, event_ids: &[Uuid]) -> Result<Vec<(Uuid, EventState)>> {
        Ok(sqlx::query_as(
            concat!(
                "UPDATE events e
                 SET state = CASE WHEN x.gone THEN 'cancelled' ELSE 'skipped' END::event_state,
                     reason = CASE WHEN x.gone THEN 'user_deleted' ELSE 'late' END,
                     finished_at = $2, lease_holder = NULL, deadline_at = NULL
                 FROM (
                     SELECT e.id, ", sendable_at!(), " < $3 AS late,
                            NOT EXISTS (SELECT FROM occasions o WHERE o.user_id = e.user_id AND o.kind = e.kind) AS gone
                     FROM events e LEFT JOIN users u ON u.id = e.user_id
                     WHERE e.id = ANY($1)
                       AND (e.state IN ('pending', 'queued') OR e.state = 'delivering' AND e.deadline_at <= $2)
                     FOR UPDATE OF e SKIP LOCKED
                 ) AS x
                 WHERE e.id = x.id AND (x.gone OR x.late)
                 RETURNING e.id, e.state",
            ),
        )
        .bind(event_ids)
        .bind(request.now)
        .bind(request.late_before)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Extends the leases that `holder` still has, each at its attempt; gives the events whose lease was lost.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn extend_leases(
        &self,
        holder: Uuid,
        until: DateTime<Utc>,
        leases: &[(Uuid, i16)],
    ) -> Result<Vec<Uuid>> {
        let (ids, attempts): (Vec<Uuid>, Vec<i16>) = leases.iter().copied().unzip();
        let kept: Vec<Uuid> = self
            .in_time(async {
                Ok(sqlx::query_scalar(
                    // Never shortened: a statement that a frozen server comes to late must not end a newer lease.
                    "UPDATE events e SET deadline_at = greatest(e.deadline_at, $4)
                     FROM unnest($1::uuid[], $2::smallint[]) AS h(id, attempt)
                     WHERE e.id = h.id AND e.attempts = h.attempt AND e.lease_holder = $3
                     RETURNING e.id",
                )
                .bind(&ids)
                .bind(&attempts)
                .bind(holder)
                .bind(until)
                .fetch_all(&self.pool)
                .await?)
            })
            .await?;
        let kept: HashSet<Uuid> = kept.into_iter().collect();
        Ok(ids.into_iter().filter(|id| !kept.contains(id)).collect())
    }
}

/// The usual case. A claim holds pending rows only, so this waits for none.
const TAKE_QUEUED: &str = concat!(
    "
UPDATE events e
SET state = 'delivering', attempts = e.attempts + 1, lease_holder = $2, deadline_at = $4
FROM unnest($1::uuid[]) AS m(id), users u, occasions o
WHERE e.id = m.id AND u.id = e.user_id AND o.user_id = e.user_id AND o.kind = e.kind
  AND (e.state = 'queued' OR e.state = 'delivering' AND e.deadline_at <= $3)
  AND ",
    sendable_at!(),
    " >= $5
  AND NOT EXISTS (SELECT FROM pauses)
RETURNING e.id, e.user_id, e.attempts, e.kind, e.due_at,
          ",
    sendable_at!(),
    ", e.local_date, o.year, u.first_name, u.last_name"
);

/// A message whose claim failed after the send. What a claim still holds is passed over.
const TAKE_PENDING: &str = concat!(
    "
UPDATE events e
SET state = 'delivering', attempts = e.attempts + 1, lease_holder = $2, deadline_at = $4, queued_at = $3
FROM (SELECT id FROM events WHERE id = ANY($1) AND state = 'pending' FOR UPDATE SKIP LOCKED) AS m,
     users u, occasions o
WHERE e.id = m.id AND u.id = e.user_id AND o.user_id = e.user_id AND o.kind = e.kind
  AND e.due_at <= $3 AND ",
    sendable_at!(),
    " >= $5
  AND NOT EXISTS (SELECT FROM pauses)
RETURNING e.id, e.user_id, e.attempts, e.kind, e.due_at,
          ",
    sendable_at!(),
    ", e.local_date, o.year, u.first_name, u.last_name"
);
