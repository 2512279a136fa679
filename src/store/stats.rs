//! Figures for metrics and for people.

use chrono::{DateTime, Utc};

use super::{Result, Store};

/// Due events are counted up to this number: the count costs what it counts.
pub const MOST_COUNTED: i64 = 100_000;

/// Events that are due and not yet accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Backlog {
    /// Due and pending, up to [`MOST_COUNTED`].
    pub pending: i64,
    /// In packs that no worker has leased yet.
    pub queued: i64,
    /// Leased by workers.
    pub delivering: i64,
    /// Since when the oldest event waits that is pending or queued (UTC).
    pub oldest_at: Option<DateTime<Utc>>,
}

impl Backlog {
    /// Events that wait for a worker.
    #[must_use]
    pub fn waiting(&self) -> i64 {
        self.pending + self.queued
    }
}

impl Store {
    /// The backlog at `now`. Reads due events, packs and leases; no other event.
    pub async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog> {
        let sql = "SELECT (SELECT count(*) FROM (
                        SELECT FROM events WHERE next_attempt_at <= $1 ORDER BY next_attempt_at LIMIT $2) AS due) AS pending,
                   p.queued, l.delivering,
                   least((SELECT min(next_attempt_at) FROM events WHERE next_attempt_at <= $1), p.oldest_at) AS oldest_at
            FROM (SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint AS queued, min(created_at) AS oldest_at
                  FROM outbox WHERE dead_letter IS NULL) AS p,
                 (SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint AS delivering FROM leases) AS l";
        self.run(sqlx::query_as(sql).bind(now).bind(MOST_COUNTED).fetch_one(&self.pool)).await
    }

    /// Events in packs that no worker has leased yet.
    pub async fn queued(&self) -> Result<i64> {
        let sql =
            "SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint FROM outbox WHERE dead_letter IS NULL";
        self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await
    }

    /// Whether this database has no table yet.
    pub async fn is_empty(&self) -> Result<bool> {
        let sql = "SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema'))";
        self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await
    }
}
