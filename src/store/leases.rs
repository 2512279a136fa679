//! Lease: the right to send, for a whole batch of received messages in one statement.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{EventState, Lease, Reason};

/// What a worker asks for.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest {
    /// The worker process.
    pub holder: Uuid,
    /// UTC.
    pub now: DateTime<Utc>,
    /// When the lease runs out, UTC.
    pub until: DateTime<Utc>,
    /// What was due before this is too late.
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
    /// Somebody else holds the lease until then, or holds the row at this moment: keep the message and look again.
    Wait(Option<DateTime<Utc>>),
}

type Row = (
    Uuid,
    Uuid,
    i16,
    String,
    DateTime<Utc>,
    NaiveDate,
    Option<i16>,
    String,
    String,
);

impl Store {
    /// Leases the events that can be sent now, and counts the attempt; says of the others what to do with their
    /// messages.
    ///
    /// Leased is what is `queued`; what is `delivering` under a lease that ran out; and what is due and `pending`,
    /// because a message can arrive before the claim that sent it has committed (the statement then waits for that
    /// claim). The user must still be there, and the late rule must allow it.
    ///
    /// # Errors
    /// The database refuses or is away; then nothing is leased.
    pub async fn lease(
        &self,
        request: LeaseRequest,
        event_ids: &[Uuid],
    ) -> Result<(Vec<Lease>, Vec<Refused>)> {
        let leases = self.in_time(self.take(request, event_ids)).await?;
        if leases.len() == event_ids.len() {
            return Ok((leases, Vec::new()));
        }
        let held: HashSet<Uuid> = leases.iter().map(|lease| lease.event_id).collect();
        let others: Vec<Uuid> = event_ids
            .iter()
            .copied()
            .filter(|id| !held.contains(id))
            .collect();
        let refused = self.in_time(self.refuse(request, &others)).await?;
        Ok((leases, refused))
    }

    async fn take(&self, request: LeaseRequest, event_ids: &[Uuid]) -> Result<Vec<Lease>> {
        let rows: Vec<Row> = sqlx::query_as(
            "UPDATE events e
             SET state = 'delivering', attempts = e.attempts + 1, lease_holder = $2, deadline_at = $4,
                 queued_at = coalesce(e.queued_at, $3)
             FROM unnest($1::uuid[]) AS m(id), users u, occasions o
             WHERE e.id = m.id AND u.id = e.user_id AND o.user_id = e.user_id AND o.kind = e.kind
               AND (e.state IN ('pending', 'queued') OR e.state = 'delivering' AND e.deadline_at <= $3)
               AND e.due_at <= $3 AND e.due_at >= $5
             RETURNING e.id, e.user_id, e.attempts, e.kind, e.due_at, e.local_date, o.year, u.first_name, u.last_name",
        )
        .bind(event_ids)
        .bind(request.holder)
        .bind(request.now)
        .bind(request.until)
        .bind(request.late_before)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(
                |(
                    event_id,
                    user_id,
                    attempt,
                    kind,
                    due_at,
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
                    local_date,
                    since_year,
                    first_name,
                    last_name,
                },
            )
            .collect())
    }

    /// The rare part: ends what cannot be sent any more, and looks at the rest.
    async fn refuse(&self, request: LeaseRequest, event_ids: &[Uuid]) -> Result<Vec<Refused>> {
        let ended: Vec<(Uuid, EventState)> = sqlx::query_as(
            "UPDATE events e
             SET state = CASE WHEN o.user_id IS NULL THEN 'cancelled' ELSE 'skipped' END::event_state,
                 reason = CASE WHEN o.user_id IS NULL THEN 'user_deleted' ELSE 'late' END,
                 finished_at = $2, lease_holder = NULL, deadline_at = NULL
             FROM events x LEFT JOIN occasions o ON o.user_id = x.user_id AND o.kind = x.kind
             WHERE x.id = ANY($1) AND e.id = x.id
               AND (e.state IN ('pending', 'queued') OR e.state = 'delivering' AND e.deadline_at <= $2)
               AND (o.user_id IS NULL OR e.due_at < $3)
             RETURNING e.id, e.state",
        )
        .bind(event_ids)
        .bind(request.now)
        .bind(request.late_before)
        .fetch_all(&self.pool)
        .await?;
        let rows: Vec<(Uuid, EventState, Option<DateTime<Utc>>, bool)> =
            sqlx::query_as("SELECT id, state, deadline_at, due_at > $2 FROM events WHERE id = ANY($1)")
                .bind(event_ids)
                .bind(request.now)
                .fetch_all(&self.pool)
                .await?;
        let refused = event_ids.iter().map(|&event_id| {
            let just_ended = ended
                .iter()
                .find(|(id, _)| *id == event_id)
                .map(|(_, state)| *state);
            let refusal = match (just_ended, rows.iter().find(|(id, ..)| *id == event_id)) {
                (Some(EventState::Cancelled), _) => {
                    Refusal::Ended(EventState::Cancelled, Reason::UserDeleted)
                }
                (Some(state), _) => Refusal::Ended(state, Reason::Late),
                (None, Some((_, state, ..))) if state.is_final() => Refusal::Drop,
                // Unknown; or its user was edited after the message went out, and it goes again when it is due.
                (None, None | Some((_, EventState::Pending, _, true))) => Refusal::Drop,
                (None, Some((_, EventState::Delivering, until, _))) => Refusal::Wait(*until),
                (None, Some(_)) => Refusal::Wait(None),
            };
            Refused { event_id, refusal }
        });
        Ok(refused.collect())
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
                    "UPDATE events e SET deadline_at = $4
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
