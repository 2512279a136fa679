//! Dead events, for whoever asks why, and what the messages in the dead-letter queue stand for.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::{EventCursor, Result, Store};
use crate::model::{DeadEvent, EventState, Reason};

/// Which dead events. All conditions hold together; one that is empty holds for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Dead for one of these reasons.
    pub reasons: Vec<Reason>,
    /// Of one of these kinds.
    pub kinds: Vec<String>,
    /// Died at this instant or later, UTC.
    pub since: Option<DateTime<Utc>>,
    /// Died before this instant, UTC.
    pub until: Option<DateTime<Utc>>,
    /// One of these.
    pub ids: Vec<Uuid>,
    /// Also those that an earlier redrive has skipped because their day was over.
    pub day_over: bool,
}

/// The event that a message in the dead-letter queue is for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LetterEvent {
    /// The event.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its state.
    pub state: EventState,
    /// Why it ended.
    pub reason: Option<String>,
    /// When it ended (UTC).
    pub finished_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "
SELECT e.id, e.user_id, e.kind, e.local_year, e.local_date, e.due_at, e.late_from, e.state, e.reason, e.last_error, e.attempts,
       e.next_attempt_at, e.queued_at, e.finished_at, e.redriven_at, a.status AS last_status, a.response AS last_response
FROM events e LEFT JOIN LATERAL (
    SELECT status, response FROM ended_attempts WHERE event_id = e.id ORDER BY number DESC LIMIT 1) AS a ON true WHERE ";

impl DeadFilter {
    /// Adds the conditions to `query`, where the events are called `e`.
    pub(super) fn push(&self, query: &mut QueryBuilder<Postgres>) {
        // The first is the index's.
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

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { day_over: self.day_over, ..Self::default() }
    }

    /// The same for the event of a message, dead or not.
    #[must_use]
    pub fn holds_for(&self, letter: &LetterEvent) -> bool {
        let within = |at: DateTime<Utc>| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
        };
        let timed = self.since.is_some() || self.until.is_some();
        (self.ids.is_empty() || self.ids.contains(&letter.id))
            && (self.kinds.is_empty() || self.kinds.contains(&letter.kind))
            && (self.reasons.is_empty()
                || self.reasons.iter().any(|reason| letter.reason.as_deref() == Some(reason.as_str())))
            && (!timed || letter.finished_at.is_some_and(within))
    }
}

impl Store {
    /// Up to `limit` dead events before `before`, those due last first.
    pub async fn dead_events(
        &self,
        filter: &DeadFilter,
        before: Option<EventCursor>,
        limit: u32,
    ) -> Result<Vec<DeadEvent>> {
        self.in_time(async {
            let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
            filter.push(&mut query);
            if let Some(EventCursor { due_at, id }) = before {
                query.push(" AND (e.due_at, e.id) < (").push_bind(due_at).push(", ").push_bind(id).push(")");
            }
            query.push(" ORDER BY e.due_at DESC, e.id DESC LIMIT ");
            query.push_bind(i64::from(limit));
            Ok(query.build_query_as().fetch_all(&self.pool).await?)
        })
        .await
    }

    /// How many dead events there are.
    pub async fn count_dead(&self, filter: &DeadFilter) -> Result<u64> {
        self.in_time(async {
            let mut query = QueryBuilder::<Postgres>::new("SELECT count(*) FROM events e WHERE ");
            filter.push(&mut query);
            let count: i64 = query.build_query_scalar().fetch_one(&self.pool).await?;
            Ok(count.unsigned_abs())
        })
        .await
    }

    /// The events that messages in the dead-letter queue name; unknown ones are not among them.
    pub async fn letter_events(&self, event_ids: &[Uuid]) -> Result<Vec<LetterEvent>> {
        let sql = "SELECT id, kind, state, reason, finished_at FROM events WHERE id = ANY($1)";
        self.run(sqlx::query_as(sql).bind(event_ids).fetch_all(&self.pool)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> LetterEvent {
        LetterEvent {
            id: Uuid::from_u128(1),
            kind: "birthday".to_owned(),
            state: EventState::Dead,
            reason: Some("status".to_owned()),
            finished_at: Some(DateTime::UNIX_EPOCH),
        }
    }

    #[test]
    fn every_condition_of_a_filter_holds() {
        let all = DeadFilter::default();
        assert!(all.is_empty() && all.holds_for(&letter()));
        let narrow = |change: fn(&mut DeadFilter)| {
            let mut filter = DeadFilter::default();
            change(&mut filter);
            assert!(!filter.is_empty());
            filter.holds_for(&letter())
        };
        assert!(narrow(|filter| filter.reasons = vec![Reason::Gone, Reason::Status]));
        assert!(!narrow(|filter| filter.reasons = vec![Reason::Gone]));
        assert!(!narrow(|filter| filter.kinds = vec!["work_anniversary".into()]));
        assert!(narrow(|filter| filter.since = Some(DateTime::UNIX_EPOCH)));
        assert!(!narrow(|filter| filter.until = Some(DateTime::UNIX_EPOCH)));
        assert!(narrow(|filter| filter.ids = vec![Uuid::from_u128(1)]));
        assert!(!narrow(|filter| filter.ids = vec![Uuid::from_u128(2)]));
    }
}
