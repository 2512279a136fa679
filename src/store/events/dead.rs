//! Dead events: list and redrive. Also cancels events.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::model::{ChannelName, DeadEvent, EventState, Reason};
use crate::store::{Result, Store, TimeCursor, column};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadFilter {
    pub reasons: Vec<Reason>,
    pub kinds: Vec<String>,
    /// Of the last attempt; `None` selects events without a channel.
    pub channels: Vec<Option<ChannelName>>,
    /// Of the response to the last attempt; `None` selects events without a response.
    pub statuses: Vec<Option<i16>>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    pub ids: Vec<Uuid>,
    /// Includes events that an earlier redrive skipped because their day was over.
    pub day_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DeadLetterEvent {
    pub id: Uuid,
    pub kind: String,
    pub state: EventState,
    pub reason: Option<String>,
    /// The channel of the last attempt.
    pub channel: Option<String>,
    /// The status of the response to the last attempt.
    pub last_status: Option<i16>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RedriveCandidate {
    pub id: Uuid,
    pub due_at: DateTime<Utc>,
    pub local_date: NaiveDate,
    /// The user's zone; none: the user or the date was deleted.
    pub time_zone: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedriveOutcome {
    Redriven,
    Skipped(Reason),
    Cancelled(Reason),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivePage {
    pub outcomes: Vec<(Uuid, RedriveOutcome)>,
    /// Messages to the dead-letter queue that were still in the outbox.
    pub deleted_dead_letters: u64,
    pub next: Option<TimeCursor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    Cancelled,
    Refused(EventState),
    NotFound,
}

const COLUMNS: &str = "
SELECT e.id, e.user_id, e.kind, e.local_year, e.local_date, e.due_at, e.late_from, e.state, e.reason, e.last_error, e.channel, e.attempts,
       e.next_attempt_at, e.queued_at, e.finished_at, e.redriven_at, a.status AS last_status, a.response AS last_response
FROM events e LEFT JOIN LATERAL (
    SELECT status, response FROM ended_attempts WHERE event_id = e.id ORDER BY number DESC LIMIT 1) AS a ON true WHERE ";

/// The channel and status of the last attempt, for a comparison with a list: no channel is empty, and no status is -1. A refused contact
/// removes the channel of its event, but not that of the attempt.
const LAST_CHANNEL: &str = "coalesce((SELECT t.channel FROM attempts t WHERE t.event_id = e.id ORDER BY t.number DESC LIMIT 1), e.channel, '')";
const LAST_STATUS: &str =
    "coalesce((SELECT t.status FROM attempts t WHERE t.event_id = e.id ORDER BY t.number DESC LIMIT 1), -1)";

impl DeadFilter {
    pub(in crate::store) fn push(&self, query: &mut QueryBuilder<Postgres>) {
        // The first condition is that of the index.
        query.push("e.reason IS NOT NULL AND (e.state = 'dead'");
        if self.day_over {
            query.push(" OR e.state = 'skipped' AND e.reason = 'day_over'");
        }
        query.push(")");
        if !self.reasons.is_empty() {
            let names: Vec<&'static str> = self.reasons.iter().map(|reason| reason.as_str()).collect();
            query.push(" AND e.reason = ANY(").push_bind(names).push(")");
        }
        if !self.kinds.is_empty() {
            query.push(" AND e.kind = ANY(").push_bind(self.kinds.clone()).push(")");
        }
        if !self.channels.is_empty() {
            let names = column(&self.channels, |channel| channel.map_or("", ChannelName::as_str));
            query.push(" AND ").push(LAST_CHANNEL).push(" = ANY(").push_bind(names).push(")");
        }
        if !self.statuses.is_empty() {
            let statuses = column(&self.statuses, |status| status.unwrap_or(-1));
            query.push(" AND ").push(LAST_STATUS).push(" = ANY(").push_bind(statuses).push(")");
        }
        if let Some(since) = self.since {
            query.push(" AND e.finished_at >= ").push_bind(since);
        }
        if let Some(until) = self.until {
            query.push(" AND e.finished_at < ").push_bind(until);
        }
        if !self.ids.is_empty() {
            query.push(" AND e.id = ANY(").push_bind(self.ids.clone()).push(")");
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { day_over: self.day_over, ..Self::default() }
    }

    #[must_use]
    pub fn matches(&self, event: &DeadLetterEvent) -> bool {
        let within = |at: DateTime<Utc>| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
        };
        let by_time = self.since.is_some() || self.until.is_some();
        (self.ids.is_empty() || self.ids.contains(&event.id))
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.reasons.is_empty()
                || self.reasons.iter().any(|reason| event.reason.as_deref() == Some(reason.as_str())))
            && (self.channels.is_empty()
                || self
                    .channels
                    .iter()
                    .any(|channel| event.channel.as_deref() == channel.map(ChannelName::as_str)))
            && (self.statuses.is_empty() || self.statuses.contains(&event.last_status))
            && (!by_time || event.finished_at.is_some_and(within))
    }
}

impl RedriveOutcome {
    fn columns(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Redriven => ("pending", None),
            Self::Skipped(reason) => ("skipped", Some(reason.as_str())),
            Self::Cancelled(reason) => ("cancelled", Some(reason.as_str())),
        }
    }
}

impl Store {
    pub async fn dead_events(
        &self,
        filter: &DeadFilter,
        before: Option<TimeCursor>,
        limit: u32,
    ) -> Result<Vec<DeadEvent>> {
        let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
        filter.push(&mut query);
        if let Some(TimeCursor { at: due_at, id }) = before {
            query.push(" AND (e.due_at, e.id) < (").push_bind(due_at).push(", ").push_bind(id).push(")");
        }
        query.push(" ORDER BY e.due_at DESC, e.id DESC LIMIT ").push_bind(i64::from(limit));
        self.run(query.build_query_as().fetch_all(&self.pool)).await
    }

    pub async fn count_dead(&self, filter: &DeadFilter) -> Result<u64> {
        let mut query = QueryBuilder::<Postgres>::new("SELECT count(*) FROM events e WHERE ");
        filter.push(&mut query);
        let count: i64 = self.run(query.build_query_scalar().fetch_one(&self.pool)).await?;
        Ok(count.unsigned_abs())
    }

    pub async fn dead_letter_events(&self, event_ids: &[Uuid]) -> Result<Vec<DeadLetterEvent>> {
        let sql = "
            SELECT e.id, e.kind, e.state, e.reason, coalesce(a.channel, e.channel) AS channel, a.status AS last_status, e.finished_at
            FROM events e LEFT JOIN LATERAL (
                SELECT channel, status FROM attempts WHERE event_id = e.id ORDER BY number DESC LIMIT 1) AS a ON true
            WHERE e.id = ANY($1)";
        self.run(sqlx::query_as(sql).bind(event_ids).fetch_all(&self.pool)).await
    }

    /// Reads up to `limit` dead events after `after`, by `due_at`, and applies the outcome that `decide` returns for each, in one
    /// transaction. A redriven event keeps its id, and so its `webhook-id`; its attempts and its lateness count from `now`.
    /// Concurrent redrives wait for each other, and each event is redriven by one of them.
    pub async fn redrive_page(
        &self,
        now: DateTime<Utc>,
        filter: &DeadFilter,
        after: Option<TimeCursor>,
        limit: u32,
        dry_run: bool,
        decide: impl Fn(&RedriveCandidate) -> RedriveOutcome,
    ) -> Result<RedrivePage> {
        self.in_time(async {
            let mut query = candidates(filter, after, limit);
            if !dry_run {
                query.push(" FOR UPDATE OF e");
            }
            let mut transaction = self.begin().await?;
            let found: Vec<RedriveCandidate> = query.build_query_as().fetch_all(&mut *transaction).await?;
            let outcomes = column(&found, |candidate| (candidate.id, decide(candidate)));
            let mut deleted_dead_letters = 0;
            if !dry_run && !outcomes.is_empty() {
                deleted_dead_letters = sqlx::query_scalar::<_, i64>(REDRIVE)
                    .bind(column(&outcomes, |(id, _)| *id))
                    .bind(column(&outcomes, |(_, outcome)| outcome.columns().0))
                    .bind(column(&outcomes, |(_, outcome)| outcome.columns().1))
                    .bind(now)
                    .fetch_one(&mut *transaction)
                    .await?
                    .unsigned_abs();
            }
            transaction.commit().await?;
            // Of two concurrent redrives, the second may get a short page: only an empty page is the last.
            let next = found.last().map(|last| TimeCursor { at: last.due_at, id: last.id });
            Ok(RedrivePage { outcomes, deleted_dead_letters, next })
        })
        .await
    }

    /// Cancels a pending or queued event. The worker that receives its pack drops it.
    pub async fn cancel_event(&self, now: DateTime<Utc>, id: Uuid) -> Result<CancelOutcome> {
        let state = sqlx::query_scalar(CANCEL).bind(id).bind(now).bind(Reason::Operator.as_str());
        Ok(match self.run(state.fetch_optional(&self.pool)).await? {
            None => CancelOutcome::NotFound,
            Some(EventState::Pending | EventState::Queued) => CancelOutcome::Cancelled,
            Some(other) => CancelOutcome::Refused(other),
        })
    }
}

fn candidates(filter: &DeadFilter, after: Option<TimeCursor>, limit: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        // A look-up for each row of the page: for a join, the planner may read all users for every page.
        "SELECT e.id, e.due_at, e.local_date,
                (SELECT u.time_zone FROM users u JOIN occasions o ON o.user_id = u.id
                 WHERE u.id = e.user_id AND o.kind = e.kind) AS time_zone
         FROM events e WHERE ",
    );
    filter.push(&mut query);
    if let Some(TimeCursor { at: due_at, id }) = after {
        query.push(" AND (e.due_at, e.id) > (").push_bind(due_at).push(", ").push_bind(id).push(")");
    }
    query.push(" ORDER BY e.due_at, e.id LIMIT ").push_bind(i64::from(limit));
    query
}

/// Returns the state before. Locks, to wait for an attempt that is ending; in one statement, so that the lock ends with the
/// response, and a sweep that follows does not skip the event.
const CANCEL: &str = "
WITH found AS MATERIALIZED (
    SELECT id, state FROM events WHERE id = $1 FOR UPDATE
), cancelled AS (
    UPDATE events e SET state = 'cancelled', reason = $3, finished_at = $2, next_attempt_at = NULL
    FROM found f WHERE e.id = f.id AND f.state IN ('pending', 'queued')
)
SELECT state FROM found";

/// Stored counts of the dates become outdated: `count_days` counts them again. Its rows are locked in order, against deadlocks.
///
/// `last_error` stays. So does `finished_at` of an event whose user was deleted: it marks the event as blurred. Also deletes the
/// message to the dead-letter queue if it was not sent yet.
const REDRIVE: &str = "
WITH letters AS (
    DELETE FROM outbox WHERE dead_letter IS NOT NULL AND event_ids[1] = ANY($1) RETURNING id
), days AS MATERIALIZED (
    SELECT local_date FROM day_counts WHERE local_date IN (SELECT local_date FROM events WHERE id = ANY($1))
    ORDER BY local_date FOR UPDATE
), outdated AS (
    UPDATE day_counts d SET counted_at = NULL FROM days WHERE d.local_date = days.local_date
), redriven AS (
UPDATE events e
SET state = f.state::event_state, reason = f.reason,
    finished_at = CASE WHEN f.reason = 'user_deleted' THEN e.finished_at WHEN f.state <> 'pending' THEN $4 END,
    next_attempt_at = CASE WHEN f.state = 'pending' THEN $4 END,
    queued_at = CASE WHEN f.state <> 'pending' THEN e.queued_at END,
    redriven_at = CASE WHEN f.state = 'pending' THEN $4 ELSE e.redriven_at END,
    late_from = CASE WHEN f.state = 'pending' THEN greatest(e.late_from, $4) ELSE e.late_from END,
    attempts_not_counted = CASE WHEN f.state = 'pending' THEN e.attempts ELSE e.attempts_not_counted END
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS f(id, state, reason)
WHERE e.id = f.id
)
SELECT count(*) FROM letters";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_must_match_every_condition_of_the_filter() {
        let (id, at) = (Uuid::from_u128(1), DateTime::UNIX_EPOCH);
        let event = DeadLetterEvent {
            id,
            kind: "birthday".to_owned(),
            state: EventState::Dead,
            reason: Some("status".to_owned()),
            channel: Some("mail".to_owned()),
            last_status: None,
            finished_at: Some(at),
        };
        let all = DeadFilter::default();
        assert!(all.is_empty() && all.matches(&event));
        for (matches, filter) in [
            (true, DeadFilter { reasons: vec![Reason::Gone, Reason::Status], ..all.clone() }),
            (false, DeadFilter { reasons: vec![Reason::Gone], ..all.clone() }),
            (false, DeadFilter { kinds: vec!["work_anniversary".into()], ..all.clone() }),
            (true, DeadFilter { channels: vec![None, Some(ChannelName::Mail)], ..all.clone() }),
            (false, DeadFilter { channels: vec![None, Some(ChannelName::Sms)], ..all.clone() }),
            (true, DeadFilter { statuses: vec![None], ..all.clone() }),
            (false, DeadFilter { statuses: vec![Some(503)], ..all.clone() }),
            (true, DeadFilter { since: Some(at), ..all.clone() }),
            (false, DeadFilter { until: Some(at), ..all.clone() }),
            (true, DeadFilter { ids: vec![id], ..all.clone() }),
            (false, DeadFilter { ids: vec![Uuid::from_u128(2)], ..all.clone() }),
        ] {
            assert!(!filter.is_empty());
            assert_eq!(filter.matches(&event), matches, "{filter:?}");
        }
    }
}
