//! The audit log of the API: requests that changed data, failed, or were refused.
//!
//! The row of a request that writes one user is committed together with that change. Other requests get a row before they begin,
//! and its status when they end.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Result, Store, TimeCursor};

pub(super) const CREATED: i16 = 201;
pub(super) const CHANGED: i16 = 200;
pub(super) const DELETED: i16 = 204;

/// A status is never overwritten: the change is committed, even if the client got no response.
const WRITE: &str = "
INSERT INTO api_writes AS w (id, at, token_id, token_name, method, path, target_id, remote, status)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::inet, $9)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, target_id = excluded.target_id WHERE w.status IS NULL";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ApiWrite {
    /// The `x-request-id` of the response.
    #[serde(rename = "requestId")]
    pub id: Uuid,
    pub at: DateTime<Utc>,
    /// Null: the request had no live token.
    pub token_id: Option<Uuid>,
    #[schema(example = "hr")]
    pub token_name: Option<String>,
    #[schema(example = "PATCH")]
    pub method: String,
    /// The route.
    #[schema(example = "/v1/users/{id}")]
    pub path: String,
    /// The user, event or token of the request.
    pub target_id: Option<Uuid>,
    /// The address of the client.
    #[schema(value_type = Option<String>, example = "192.0.2.7")]
    #[sqlx(try_from = "Option<String>")]
    pub remote: RemoteAddress,
    /// The status of the response. Null: in flight, or the process ended before the request.
    #[schema(example = 200)]
    pub status: Option<i16>,
}

impl From<&ApiWrite> for TimeCursor {
    fn from(write: &ApiWrite) -> Self {
        Self { at: write.at, id: write.id }
    }
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
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// The name of the token.
    pub token: Option<String>,
    pub target_id: Option<Uuid>,
    pub method: Option<String>,
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

    /// Returns up to `limit` rows before `before`, the newest first.
    pub async fn api_writes(
        &self,
        filter: &ApiWriteFilter,
        before: Option<TimeCursor>,
        limit: u32,
    ) -> Result<Vec<ApiWrite>> {
        let ApiWriteFilter { from, to, token, target_id, method } = filter;
        let mut query = QueryBuilder::<Postgres>::new(
            "SELECT id, at, token_id, token_name, method, path, target_id, host(remote) AS remote, status
             FROM api_writes WHERE true",
        );
        if let Some(from) = from {
            query.push(" AND at >= ").push_bind(from);
        }
        if let Some(to) = to {
            query.push(" AND at < ").push_bind(to);
        }
        if let Some(token) = token {
            query.push(" AND token_name = ").push_bind(token);
        }
        if let Some(target) = target_id {
            query.push(" AND target_id = ").push_bind(target);
        }
        if let Some(method) = method {
            query.push(" AND method = ").push_bind(method);
        }
        if let Some(TimeCursor { at, id }) = before {
            query.push(" AND (at, id) < (").push_bind(at).push(", ").push_bind(id).push(")");
        }
        query.push(" ORDER BY at DESC, id DESC LIMIT ").push_bind(i64::from(limit));
        self.run(query.build_query_as().fetch_all(&self.pool)).await
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
