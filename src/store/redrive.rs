//! Redrive and cancel: what people do to single events, or to many dead ones.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{DeadFilter, EventCursor, Result, Store};
use crate::model::{EventState, Reason};

/// A dead event that somebody wants to send again, and what decides whether it still can be.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Candidate {
    /// The event.
    pub id: Uuid,
    /// When it was due, UTC.
    pub due_at: DateTime<Utc>,
    /// The date in the user's zone on which it was to be sent.
    pub local_date: NaiveDate,
    /// Where the user lives now; none: the user, or this date of theirs, is gone.
    pub time_zone: Option<String>,
}

/// What becomes of a dead event in a redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Pending again.
    Redriven,
    /// Skipped, with this reason.
    Skipped(Reason),
    /// Cancelled, with this reason.
    Cancelled(Reason),
}

/// A part of a redrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivePage {
    /// The events, and what became of them, or would.
    pub fates: Vec<(Uuid, Fate)>,
    /// Messages to the dead-letter queue that were still in the outbox, and are deleted.
    pub letters: u64,
    /// Where the next part begins; none: this was the last.
    pub next: Option<EventCursor>,
}

/// What came of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled.
    Done,
    /// It is in this state, in which it cannot be cancelled.
    Refused(EventState),
    /// Nobody knows it.
    Unknown,
}

impl Fate {
    fn columns(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Redriven => ("pending", None),
            Self::Skipped(reason) => ("skipped", Some(reason.as_str())),
            Self::Cancelled(reason) => ("cancelled", Some(reason.as_str())),
        }
    }
}

impl Store {
    /// Looks at up to `limit` dead events past `after`, those due first first, and does with each what `judge` says, in
    /// one transaction. With `dry_run` nothing is changed.
    ///
    /// What is redriven is pending again: the same event, so the same `webhook-id`. The attempts so far are remembered, so
    /// that the new ones are counted from there; the late rule counts from `now`. Two at once wait for each other, and
    /// each event is redriven by one of them.
    ///
    /// # Errors
    /// The database refuses or is unavailable; then nothing of this part is changed.
    pub async fn redrive_page(
        &self,
        now: DateTime<Utc>,
        filter: &DeadFilter,
        after: Option<EventCursor>,
        limit: u32,
        dry_run: bool,
        judge: impl Fn(&Candidate) -> Fate,
    ) -> Result<RedrivePage> {
        self.in_time(async {
            let mut query = QueryBuilder::<Postgres>::new(
                // A look-up for each row of the page: as a join, the planner may read all users for every page.
                "SELECT e.id, e.due_at, e.local_date,
                        (SELECT u.time_zone FROM users u JOIN occasions o ON o.user_id = u.id
                         WHERE u.id = e.user_id AND o.kind = e.kind) AS time_zone
                 FROM events e WHERE ",
            );
            filter.push(&mut query);
            if let Some(EventCursor { due_at, id }) = after {
                query.push(" AND (e.due_at, e.id) > (").push_bind(due_at).push(", ").push_bind(id).push(")");
            }
            query.push(" ORDER BY e.due_at, e.id LIMIT ").push_bind(i64::from(limit));
            if !dry_run {
                query.push(" FOR UPDATE OF e");
            }
            let mut transaction = self.begin().await?;
            let found: Vec<Candidate> = query.build_query_as().fetch_all(&mut *transaction).await?;
            let fates: Vec<(Uuid, Fate)> = found.iter().map(|one| (one.id, judge(one))).collect();
            let mut letters = 0;
            if !dry_run && !fates.is_empty() {
                let ids: Vec<Uuid> = fates.iter().map(|(id, _)| *id).collect();
                let (states, reasons): (Vec<&str>, Vec<Option<&str>>) =
                    fates.iter().map(|(_, fate)| fate.columns()).unzip();
                letters = sqlx::query_scalar::<_, i64>(REDRIVE)
                    .bind(ids)
                    .bind(states)
                    .bind(reasons)
                    .bind(now)
                    .fetch_one(&mut *transaction)
                    .await?
                    .unsigned_abs();
            }
            transaction.commit().await?;
            // Where two wait for each other, the second finds fewer than there are: only an empty part is the last.
            let next = found.last().map(|last| EventCursor { due_at: last.due_at, id: last.id });
            Ok(RedrivePage { fates, letters, next })
        })
        .await
    }

    /// Cancels an event of which no request is in flight. Its pack, if there is one, is received without it.
    pub async fn cancel_event(&self, now: DateTime<Utc>, id: Uuid) -> Result<Cancelled> {
        self.in_time(async {
            let state: Option<EventState> = sqlx::query_scalar(CANCEL)
                .bind(id)
                .bind(now)
                .bind(Reason::Operator.as_str())
                .fetch_optional(&self.pool)
                .await?;
            Ok(match state {
                None => Cancelled::Unknown,
                Some(EventState::Pending | EventState::Queued) => Cancelled::Done,
                Some(other) => Cancelled::Refused(other),
            })
        })
        .await
    }
}

/// Answers the state until now. Locked, so that an attempt which ends at this moment has ended; in one statement, so that the lock
/// ends with the answer, and a sweep that follows does not skip the event.
const CANCEL: &str = "
WITH found AS MATERIALIZED (
    SELECT id, state FROM events WHERE id = $1 FOR UPDATE
), cancelled AS (
    UPDATE events e SET state = 'cancelled', reason = $3, finished_at = $2, next_attempt_at = NULL
    FROM found f WHERE e.id = f.id AND f.state IN ('pending', 'queued')
)
SELECT state FROM found";

/// `last_error` stays: it says why the event had died. So does the end of an event whose user was deleted: it marks the event as blurred. Its message to the dead-letter queue goes, unless it was sent already.
const REDRIVE: &str = "
WITH letters AS (
    DELETE FROM outbox WHERE dead_letter IS NOT NULL AND event_ids[1] = ANY($1) RETURNING id
), redriven AS (
UPDATE events e
SET state = f.state::event_state, reason = f.reason,
    finished_at = CASE WHEN f.reason = 'user_deleted' THEN e.finished_at WHEN f.state <> 'pending' THEN $4 END,
    next_attempt_at = CASE WHEN f.state = 'pending' THEN $4 END,
    queued_at = CASE WHEN f.state <> 'pending' THEN e.queued_at END,
    redriven_at = CASE WHEN f.state = 'pending' THEN $4 ELSE e.redriven_at END,
    late_from = CASE WHEN f.state = 'pending' THEN greatest(e.late_from, $4) ELSE e.late_from END,
    attempts_at_redrive = CASE WHEN f.state = 'pending' THEN e.attempts ELSE e.attempts_at_redrive END
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS f(id, state, reason)
WHERE e.id = f.id
)
SELECT count(*) FROM letters";
