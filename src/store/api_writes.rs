//! The audit log of the API: who changed what, and who was refused.
//!
//! A write that is let in has its row before it begins. That row's commit does not wait for the disk, and need not:
//! what the write itself commits comes later in the same log of PostgreSQL, and cannot be on disk without it.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Result, Store};

/// What has ended finds its row by the conflict, which always goes through the index. An `UPDATE` that joins the rows was planned
/// once, while the table was small, to read all of it: and went on so while it grew, until statistics came after a minute.
const WRITE: &str = "
WITH s AS (SELECT set_config('synchronous_commit', 'off', true) AS s)
INSERT INTO api_writes AS a (id, at, token_id, token_name, method, path, target_id, remote, status)
SELECT w.id, w.at, w.token_id, w.token_name, w.method, w.path, w.target_id, w.remote::inet, w.status
FROM s, unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[],
               $9::smallint[])
    AS w(id, at, token_id, token_name, method, path, target_id, remote, status)
WHERE s IS NOT NULL
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, target_id = coalesce(excluded.target_id, a.target_id)
WHERE excluded.status IS NOT NULL";

/// A request that writes, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ApiWrite {
    /// The request's own, as in its answer and in the log.
    #[serde(rename = "requestId")]
    pub id: Uuid,
    /// When it came, UTC.
    pub at: DateTime<Utc>,
    /// None: without a token.
    pub token_id: Option<Uuid>,
    /// The token's name.
    pub token_name: Option<String>,
    /// `POST`
    pub method: String,
    /// As in the description of the API: `/v1/users/{id}`.
    pub path: String,
    /// The user or event that it was about.
    pub target_id: Option<Uuid>,
    /// From where.
    #[sqlx(try_from = "Option<String>")]
    pub remote: Remote,
    /// None: it is under way, or broke off, and nobody knows how it ended.
    pub status: Option<i16>,
}

/// The address of a client, where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Remote(pub Option<IpAddr>);

impl TryFrom<Option<String>> for Remote {
    type Error = std::net::AddrParseError;

    fn try_from(text: Option<String>) -> Result<Self, Self::Error> {
        text.map(|text| text.parse()).transpose().map(Self)
    }
}

/// Which writes a list has. All conditions hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiWriteFilter {
    /// At this instant or later, UTC.
    pub since: Option<DateTime<Utc>>,
    /// With a token of this name.
    pub token: Option<String>,
}

impl Store {
    /// Writes the rows of requests: before they change anything, when they were refused, and when they have ended. One that is
    /// there learns how it ended, and what it was about if that is known only now.
    ///
    /// # Errors
    /// The database refuses or is away; then none is written.
    pub async fn write_api_writes(&self, writes: &[ApiWrite]) -> Result<()> {
        let column = |of: fn(&ApiWrite) -> Option<&str>| writes.iter().map(of).collect::<Vec<_>>();
        self.in_time(async {
            sqlx::query(WRITE)
                .bind(writes.iter().map(|write| write.id).collect::<Vec<_>>())
                .bind(writes.iter().map(|write| write.at).collect::<Vec<_>>())
                .bind(writes.iter().map(|write| write.token_id).collect::<Vec<_>>())
                .bind(column(|write| write.token_name.as_deref()))
                .bind(column(|write| Some(&write.method)))
                .bind(column(|write| Some(&write.path)))
                .bind(writes.iter().map(|write| write.target_id).collect::<Vec<_>>())
                .bind(
                    writes
                        .iter()
                        .map(|write| write.remote.0.map(|ip| ip.to_string()))
                        .collect::<Vec<_>>(),
                )
                .bind(writes.iter().map(|write| write.status).collect::<Vec<_>>())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
        .await
    }

    /// Up to `limit` requests, the newest first.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn api_writes(&self, filter: &ApiWriteFilter, limit: i64) -> Result<Vec<ApiWrite>> {
        self.in_time(async {
            Ok(sqlx::query_as(
                "SELECT id, at, token_id, token_name, method, path, target_id, host(remote) AS remote, status
                 FROM api_writes
                 WHERE ($1::timestamptz IS NULL OR at >= $1) AND ($2::text IS NULL OR token_name = $2)
                 ORDER BY at DESC, id DESC LIMIT $3",
            )
            .bind(filter.since)
            .bind(filter.token.as_deref())
            .bind(limit)
            .fetch_all(&self.pool)
            .await?)
        })
        .await
    }

    /// Deletes the requests that came before `before`, in batches, as many as one round may take. That is more than can
    /// come in between two rounds.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn forget_api_writes(&self, before: DateTime<Utc>) -> Result<()> {
        self.forget(
            before,
            "DELETE FROM api_writes WHERE id IN (
                 SELECT id FROM api_writes WHERE at < $1 ORDER BY at, id LIMIT $2 FOR UPDATE SKIP LOCKED)",
        )
        .await
    }
}
