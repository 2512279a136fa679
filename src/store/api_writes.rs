//! The audit log of the API: requests that changed data, failed, or were refused.
//!
//! The row of a request that writes one user is committed together with that change. Other requests get a row before they begin,
//! and its status when they end.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Result, Store};

pub(super) const CREATED: i16 = 201;
pub(super) const CHANGED: i16 = 200;
pub(super) const DELETED: i16 = 204;

/// A status is never overwritten: the change is committed, even if the client got no response.
const WRITE: &str = "
INSERT INTO api_writes AS w (id, at, token_id, token_name, method, path, target_id, remote, status)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::inet, $9)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, target_id = excluded.target_id WHERE w.status IS NULL";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ApiWrite {
    #[serde(rename = "requestId")]
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub token_id: Option<Uuid>,
    pub token_name: Option<String>,
    pub method: String,
    pub path: String,
    pub target_id: Option<Uuid>,
    #[sqlx(try_from = "Option<String>")]
    pub remote: RemoteAddress,
    /// None: in flight, or the process ended before the request.
    pub status: Option<i16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RemoteAddress(pub Option<IpAddr>);

impl TryFrom<Option<String>> for RemoteAddress {
    type Error = std::net::AddrParseError;

    fn try_from(text: Option<String>) -> Result<Self, Self::Error> {
        text.map(|text| text.parse()).transpose().map(Self)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiWriteFilter {
    pub since: Option<DateTime<Utc>>,
    pub token: Option<String>,
}

impl ApiWrite {
    async fn execute(&self, executor: impl PgExecutor<'_>) -> Result<()> {
        sqlx::query(WRITE)
            .bind(self.id)
            .bind(self.at)
            .bind(self.token_id)
            .bind(self.token_name.as_deref())
            .bind(&self.method)
            .bind(&self.path)
            .bind(self.target_id)
            .bind(self.remote.0.map(|ip| ip.to_string()))
            .bind(self.status)
            .execute(executor)
            .await?;
        Ok(())
    }

    pub(super) async fn insert(
        &self,
        transaction: &mut PgConnection,
        target: Uuid,
        status: i16,
    ) -> Result<()> {
        let (target_id, status) = (Some(target), Some(status));
        let row = Self { target_id, status, ..self.clone() };
        row.execute(transaction).await
    }
}

impl Store {
    /// Inserts the row of a request, or sets its missing status.
    pub async fn save_api_write(&self, write: &ApiWrite) -> Result<()> {
        self.in_time(write.execute(&self.pool)).await
    }

    pub async fn api_writes(&self, filter: &ApiWriteFilter, limit: i64) -> Result<Vec<ApiWrite>> {
        let sql = "
            SELECT id, at, token_id, token_name, method, path, target_id, host(remote) AS remote, status
            FROM api_writes
            WHERE ($1::timestamptz IS NULL OR at >= $1) AND ($2::text IS NULL OR token_name = $2)
            ORDER BY at DESC, id DESC LIMIT $3";
        let writes = sqlx::query_as(sql).bind(filter.since).bind(filter.token.as_deref()).bind(limit);
        self.run(writes.fetch_all(&self.pool)).await
    }

    pub async fn forget_api_writes(&self, before: DateTime<Utc>) -> Result<()> {
        self.forget(
            before,
            "DELETE FROM api_writes WHERE id IN (
                 SELECT id FROM api_writes WHERE at < $1 ORDER BY at, id LIMIT $2 FOR UPDATE SKIP LOCKED)",
        )
        .await
    }
}
