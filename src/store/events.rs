//! Events and their attempts.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{Attempt, Event, EventState};

/// The attempts of events, by event and number. Columns are named: `*` would fail on prepared statements of an older process
/// when a newer one adds a column.
pub(super) const ATTEMPTS: &str =
    "SELECT event_id, number, outcome, status, reason, error, response, started_at, finished_at
     FROM ended_attempts WHERE event_id = ANY($1) ORDER BY event_id, number";

pub(super) const COLUMNS: &str =
    "SELECT id, user_id, kind, local_year, local_date, due_at, late_from, state, reason, last_error, attempts, next_attempt_at,
            queued_at, finished_at, redriven_at FROM events";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub states: Vec<EventState>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub user_id: Option<Uuid>,
}

/// The order of a list, by the instant at which events are due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Ascending,
    Descending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    pub due_at: DateTime<Utc>,
    pub id: Uuid,
}

impl From<&Event> for EventCursor {
    fn from(event: &Event) -> Self {
        Self { due_at: event.due_at, id: event.id }
    }
}

/// States with the condition that finds them: pending events have an index of their own, the outbox and the leases name queued and
/// leased ones, and those that were not delivered are few.
const GROUPS: [(&[EventState], &str); 4] = [
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

impl Store {
    pub async fn event(&self, id: Uuid) -> Result<Option<Event>> {
        let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
        query.push(" WHERE id = ").push_bind(id);
        self.run(query.build_query_as().fetch_optional(&self.pool)).await
    }

    /// Returns up to `limit` events past `after`, by the instant at which they are due, then by id.
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<EventCursor>,
        limit: u32,
    ) -> Result<Vec<Event>> {
        let mut query = QueryBuilder::<Postgres>::new("");
        let wanted = |state: &EventState| filter.states.is_empty() || filter.states.contains(state);
        if filter.user_id.is_some() {
            let states = (!filter.states.is_empty()).then(|| filter.states.iter().collect());
            arm(&mut query, filter, order, after, "true", states);
        } else {
            // A part for each index: the planner does not find them by itself under an OR.
            query.push("SELECT * FROM (");
            let mut union = "";
            for (states, condition) in GROUPS {
                let some: Vec<&EventState> = states.iter().filter(|state| wanted(state)).collect();
                if some.is_empty() {
                    continue;
                }
                query.push(union).push("(");
                let some = (some.len() < states.len()).then_some(some);
                arm(&mut query, filter, order, after, condition, some);
                query.push(ordered(order)).push(" LIMIT ").push_bind(i64::from(limit)).push(")");
                union = " UNION ALL ";
            }
            query.push(") AS e");
        }
        query.push(ordered(order)).push(" LIMIT ").push_bind(i64::from(limit));
        self.run(query.build_query_as().fetch_all(&self.pool)).await
    }

    pub async fn attempts(&self, event: Uuid) -> Result<Vec<Attempt>> {
        self.run(sqlx::query_as(ATTEMPTS).bind([event].as_slice()).fetch_all(&self.pool)).await
    }

    pub async fn count_by_state(&self) -> Result<Vec<(EventState, i64)>> {
        self.run(
            sqlx::query_as("SELECT state, count(*) FROM events GROUP BY state ORDER BY state")
                .fetch_all(&self.pool),
        )
        .await
    }
}

fn arm(
    query: &mut QueryBuilder<Postgres>,
    filter: &EventFilter,
    order: Order,
    after: Option<EventCursor>,
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
    if let Some(EventCursor { due_at, id }) = after {
        query.push(" AND (due_at, id) ").push(match order {
            Order::Ascending => "> (",
            Order::Descending => "< (",
        });
        query.push_bind(due_at).push(", ").push_bind(id).push(")");
    }
}

fn ordered(order: Order) -> &'static str {
    match order {
        Order::Ascending => " ORDER BY due_at, id",
        Order::Descending => " ORDER BY due_at DESC, id DESC",
    }
}
