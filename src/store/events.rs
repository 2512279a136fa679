//! Events and their attempts, for whoever asks what was sent, when and why.

use uuid::Uuid;

use super::{Result, Store};
use crate::model::{Attempt, Event, EventState};

const COLUMNS_OF: &str = "SELECT id, user_id, kind, local_year, local_date, due_at, state, reason, last_error, attempts, queued_at,
        finished_at FROM events WHERE id = $1";

impl Store {
    /// One event.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn event(&self, id: Uuid) -> Result<Option<Event>> {
        self.in_time(async {
            Ok(sqlx::query_as(COLUMNS_OF)
                .bind(id)
                .fetch_optional(&self.pool)
                .await?)
        })
        .await
    }

    /// The attempts of one event, first to last.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn attempts(&self, event: Uuid) -> Result<Vec<Attempt>> {
        self.in_time(async {
            Ok(
                sqlx::query_as("SELECT * FROM attempts WHERE event_id = $1 ORDER BY number")
                    .bind(event)
                    .fetch_all(&self.pool)
                    .await?,
            )
        })
        .await
    }

    /// How many events there are in each state.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn count_by_state(&self) -> Result<Vec<(EventState, i64)>> {
        self.in_time(async {
            Ok(
                sqlx::query_as("SELECT state, count(*) FROM events GROUP BY state ORDER BY state")
                    .fetch_all(&self.pool)
                    .await?,
            )
        })
        .await
    }
}
