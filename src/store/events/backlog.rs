//! The backlog: due events that are not delivered yet.

use chrono::{DateTime, Utc};

use crate::store::{Result, Store};

/// Due events are counted up to this number: the count costs what it counts.
pub const MAX_COUNTED: i64 = 100_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Backlog {
    /// Due and pending, up to [`MAX_COUNTED`].
    pub pending: i64,
    /// In packs that no worker has leased yet.
    pub queued: i64,
    pub delivering: i64,
    /// When the oldest pending event was due, or the oldest pack was created.
    pub oldest_at: Option<DateTime<Utc>>,
}

impl Backlog {
    #[must_use]
    pub fn waiting(&self) -> i64 {
        self.pending + self.queued
    }
}

impl Store {
    /// Returns the backlog at `now`. Reads due events, packs and leases, and no other event.
    pub async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog> {
        let sql = "
            SELECT (SELECT count(*) FROM (
                        SELECT FROM events WHERE next_attempt_at <= $1 ORDER BY next_attempt_at LIMIT $2) AS due) AS pending,
                   p.queued, l.delivering,
                   least((SELECT min(next_attempt_at) FROM events WHERE next_attempt_at <= $1), p.oldest_at) AS oldest_at
            FROM (SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint AS queued, min(created_at) AS oldest_at
                  FROM outbox WHERE dead_letter IS NULL) AS p,
                 (SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint AS delivering FROM leases) AS l";
        self.run(sqlx::query_as(sql).bind(now).bind(MAX_COUNTED).fetch_one(&self.pool)).await
    }

    pub async fn queued(&self) -> Result<i64> {
        let sql =
            "SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint FROM outbox WHERE dead_letter IS NULL";
        self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await
    }
}
