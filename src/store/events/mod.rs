//! Events: the list, and one file for each change of their state.

mod backlog;
pub(super) mod claim;
mod dead;
pub(super) mod write;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::date_range::DateRange;
use super::{Result, Store, TimeCursor};
use crate::model::{Event, EventState, EventWithAttempts};

pub use backlog::{Backlog, MAX_COUNTED};
pub use claim::{ClaimCursor, ClaimRequest, ClaimedEvents};
pub use dead::{CancelOutcome, DeadFilter, DeadLetterEvent, RedriveCandidate, RedriveOutcome, RedrivePage};

/// Columns are named: `*` would fail on prepared statements of an older process when a newer one adds a column.
pub(super) const COLUMNS: &str =
    "SELECT id, user_id, kind, local_year, local_date, due_at, late_from, state, reason, last_error, channel, attempts, next_attempt_at,
            queued_at, finished_at, redriven_at FROM events";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub states: Vec<EventState>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub user_id: Option<Uuid>,
    /// Sent on this date in the zone of the user. Events of deleted users have no date any more.
    pub local_date: Option<NaiveDate>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventOrder {
    #[default]
    Ascending,
    Descending,
}

/// A position in a list by time: of events, and of other rows by an instant of their own.
impl From<&Event> for TimeCursor {
    fn from(event: &Event) -> Self {
        Self { at: event.due_at, id: event.id }
    }
}

/// States with the condition that finds them by an index: the outbox and the leases name queued and leased events, and events that
/// were not delivered are few.
const STATE_GROUPS: [(&[EventState], &str); 4] = [
    (&[EventState::Pending], "next_attempt_at IS NOT NULL"),
    (
        &[EventState::Queued, EventState::Delivering],
        "id IN (SELECT unnest(event_ids) FROM outbox WHERE dead_letter IS NULL UNION SELECT unnest(event_ids) FROM leases)
         AND state IN ('queued', 'delivering')",
    ),
    (&[EventState::Delivered], "state = 'delivered'"),
    (
        &[EventState::Dead, EventState::Cancelled, EventState::Skipped],
        "reason IS NOT NULL",
    ),
];

/// Ids are UUIDs of version 7, so the primary key is in the order of creation, and the end of events needs no index: an event
/// finishes within days of its creation, or was redriven.
const FORGET_EVENTS: &str = "
WITH old AS (
    SELECT id FROM events WHERE id < $3 AND finished_at < $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
), logged AS (
    DELETE FROM attempts WHERE event_id IN (SELECT id FROM old)
), reported AS (
    DELETE FROM feedback WHERE event_id IN (SELECT id FROM old)
), letters AS (
    DELETE FROM outbox WHERE dead_letter IS NOT NULL AND event_ids[1] IN (SELECT id FROM old)
)
DELETE FROM events WHERE id IN (SELECT id FROM old)";

impl Store {
    pub async fn event(&self, id: Uuid) -> Result<Option<Event>> {
        let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
        query.push(" WHERE id = ").push_bind(id);
        self.run(query.build_query_as().fetch_optional(&self.pool)).await
    }

    pub async fn event_with_attempts(&self, id: Uuid) -> Result<Option<EventWithAttempts>> {
        let Some(event) = self.event(id).await? else {
            return Ok(None);
        };
        let (attempts, feedback) = (self.attempts(id).await?, self.feedback(id).await?);
        Ok(Some(EventWithAttempts { event, attempts, feedback }))
    }

    /// Returns up to `limit` events after `after`, by `due_at`, then by id.
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        order: EventOrder,
        after: Option<TimeCursor>,
        limit: u32,
    ) -> Result<Vec<Event>> {
        let mut query = QueryBuilder::<Postgres>::new("");
        let wanted = |state: &EventState| filter.states.is_empty() || filter.states.contains(state);
        if filter.user_id.is_some() {
            let states = (!filter.states.is_empty()).then(|| filter.states.iter().collect());
            push_select(&mut query, filter, order, after, "true", states);
        } else {
            // A part for each index: the planner does not use several for an OR.
            query.push("SELECT * FROM (");
            let mut union = "";
            for (states, condition) in STATE_GROUPS {
                let selected: Vec<&EventState> = states.iter().filter(|state| wanted(state)).collect();
                if selected.is_empty() {
                    continue;
                }
                query.push(union).push("(");
                let selected = (selected.len() < states.len()).then_some(selected);
                push_select(&mut query, filter, order, after, condition, selected);
                query.push(order_by(order)).push(" LIMIT ").push_bind(i64::from(limit)).push(")");
                union = " UNION ALL ";
            }
            query.push(") AS e");
        }
        query.push(order_by(order)).push(" LIMIT ").push_bind(i64::from(limit));
        self.run(query.build_query_as().fetch_all(&self.pool)).await
    }

    /// Deletes a batch of events that finished before `before`, with their attempts. Returns how many.
    pub async fn forget_events(&self, before: DateTime<Utc>, limit: u32) -> Result<u64> {
        let delete =
            sqlx::query(FORGET_EVENTS).bind(before).bind(i64::from(limit)).bind(smallest_id_at(before));
        self.execute(delete).await
    }
}

fn smallest_id_at(at: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

fn push_select(
    query: &mut QueryBuilder<Postgres>,
    filter: &EventFilter,
    order: EventOrder,
    after: Option<TimeCursor>,
    condition: &'static str,
    states: Option<Vec<&EventState>>,
) {
    query.push(COLUMNS).push(" WHERE ").push(condition);
    if let Some(states) = states {
        let names: Vec<&'static str> = states.into_iter().map(|state| state.as_str()).collect();
        query.push(" AND state::text = ANY(").push_bind(names).push(")");
    }
    if let Some(user) = filter.user_id {
        query.push(" AND user_id = ").push_bind(user);
    }
    if let Some(from) = filter.from {
        query.push(" AND due_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND due_at < ").push_bind(to);
    }
    if let Some(date) = filter.local_date {
        push_local_date(query, date);
    }
    if let Some(TimeCursor { at: due_at, id }) = after {
        query.push(" AND (due_at, id) ").push(match order {
            EventOrder::Ascending => "> (",
            EventOrder::Descending => "< (",
        });
        query.push_bind(due_at).push(", ").push_bind(id).push(")");
    }
}

fn push_local_date(query: &mut QueryBuilder<Postgres>, date: NaiveDate) {
    let range = DateRange::new(date, date);
    query.push(" AND local_date = ").push_bind(date);
    query.push(" AND due_at >= ").push_bind(range.due_from);
    query.push(" AND due_at < ").push_bind(range.due_before);
    query.push(" AND (due_at <> ").push_bind(range.blurred_due);
    query.push(" OR finished_at IS DISTINCT FROM ").push_bind(range.blurred_finished).push(")");
}

fn order_by(order: EventOrder) -> &'static str {
    match order {
        EventOrder::Ascending => " ORDER BY due_at, id",
        EventOrder::Descending => " ORDER BY due_at DESC, id DESC",
    }
}
