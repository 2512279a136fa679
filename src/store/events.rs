//! Events and their attempts, for whoever asks what was sent, when and why.

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

const COLUMNS: &str = "SELECT id, user_id, kind, local_year, local_date, due_at, late_from, state, reason, last_error, attempts, next_attempt_at, queued_at,
        finished_at, redriven_at FROM events";

/// Which events a list has. All conditions hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// In one of these states; empty means in any.
    pub states: Vec<EventState>,
    /// Due at this instant or later, UTC.
    pub from: Option<DateTime<Utc>>,
    /// Due before this instant, UTC.
    pub to: Option<DateTime<Utc>>,
    /// Of this user, who may be gone.
    pub user_id: Option<Uuid>,
}

/// In which order events are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// By the instant at which they are due.
    #[default]
    Ascending,
    /// The other way round.
    Descending,
}

/// A place in a list of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    /// When the last event so far was due, UTC.
    pub due_at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
}

impl From<&Event> for EventCursor {
    fn from(event: &Event) -> Self {
        Self { due_at: event.due_at, id: event.id }
    }
}

/// States that share a way to find them, as a condition: pending events have an index of their own, queued and leased ones are
/// named by the outbox and by leases, and those that were not delivered are few.
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
    /// One event.
    pub async fn event(&self, id: Uuid) -> Result<Option<Event>> {
        self.in_time(async {
            let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
            query.push(" WHERE id = ").push_bind(id);
            Ok(query.build_query_as().fetch_optional(&self.pool).await?)
        })
        .await
    }

    /// Up to `limit` events past `after`, by the instant at which they are due, then by id.
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<EventCursor>,
        limit: u32,
    ) -> Result<Vec<Event>> {
        self.in_time(async {
            let mut query = QueryBuilder::<Postgres>::new("");
            let wanted = |state: &EventState| filter.states.is_empty() || filter.states.contains(state);
            if filter.user_id.is_some() {
                let all = filter.states.is_empty();
                let states: Vec<&EventState> = filter.states.iter().collect();
                arm(&mut query, filter, order, after, None, (!all).then_some(states));
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
                    arm(&mut query, filter, order, after, Some(condition), some);
                    query.push(ordered(order)).push(" LIMIT ");
                    query.push_bind(i64::from(limit)).push(")");
                    union = " UNION ALL ";
                }
                query.push(") AS e");
            }
            query.push(ordered(order)).push(" LIMIT ").push_bind(i64::from(limit));
            Ok(query.build_query_as().fetch_all(&self.pool).await?)
        })
        .await
    }

    /// The attempts of one event, first to last.
    pub async fn attempts(&self, event: Uuid) -> Result<Vec<Attempt>> {
        self.run(sqlx::query_as(ATTEMPTS).bind([event].as_slice()).fetch_all(&self.pool)).await
    }

    /// How many events there are in each state.
    pub async fn count_by_state(&self) -> Result<Vec<(EventState, i64)>> {
        self.run(
            sqlx::query_as("SELECT state, count(*) FROM events GROUP BY state ORDER BY state")
                .fetch_all(&self.pool),
        )
        .await
    }
}

/// Selects what `filter` says, under `condition` and in one of `states` where these are given.
fn arm(
    query: &mut QueryBuilder<Postgres>,
    filter: &EventFilter,
    order: Order,
    after: Option<EventCursor>,
    condition: Option<&'static str>,
    states: Option<Vec<&EventState>>,
) {
    query.push(COLUMNS).push(" WHERE ").push(condition.unwrap_or("true"));
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
