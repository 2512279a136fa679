//! Figures for metrics and for people.

use chrono::{DateTime, Utc};

use super::{Result, Store};

/// What is due and not yet sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// When the oldest pending event that is due was due, UTC.
    pub oldest_pending_due_at: Option<DateTime<Utc>>,
    /// Queued and delivering events.
    pub under_way: i64,
}

impl Store {
    /// What is due at `now` and not yet sent. Looks at what is open.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog> {
        self.in_time(async {
            let (oldest_pending_due_at, under_way) = sqlx::query_as(
                "SELECT (SELECT due_at FROM events WHERE finished_at IS NULL AND state = 'pending' AND due_at <= $1
                         ORDER BY due_at, id LIMIT 1),
                        (SELECT count(*) FROM events WHERE finished_at IS NULL AND state IN ('queued', 'delivering')
                         AND due_at <= $1)",
            )
            .bind(now)
            .fetch_one(&self.pool)
            .await?;
            Ok(Backlog { oldest_pending_due_at, under_way })
        })
        .await
    }

    /// When the first pending event is due, UTC.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn next_pending(&self) -> Result<Option<DateTime<Utc>>> {
        self.in_time(async {
            Ok(sqlx::query_scalar(
                "SELECT due_at FROM events WHERE finished_at IS NULL AND state = 'pending' ORDER BY due_at, id LIMIT 1",
            )
            .fetch_optional(&self.pool)
            .await?)
        })
        .await
    }

    /// Whether this database has no table yet.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn is_empty(&self) -> Result<bool> {
        self.in_time(async {
            Ok(sqlx::query_scalar(
                "SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema'))",
            )
            .fetch_one(&self.pool)
            .await?)
        })
        .await
    }
}
