//! Tokens of the API, stored as hashes.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Result, Store, TimeCursor};
use crate::model::{Scope, TokenHash, TokenState};

pub const MAX_LIVE_TOKENS: i64 = 1000;

#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    pub name: &'a str,
    pub scope: Scope,
    pub hash: TokenHash,
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateTokenOutcome {
    Created,
    NameTaken,
    HashTaken,
    TooManyTokens,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    pub id: Uuid,
    #[schema(example = "hr")]
    pub name: String,
    #[sqlx(try_from = "String")]
    pub scope: Scope,
    pub created_at: DateTime<Utc>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiToken {
    #[must_use]
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> TokenState {
        match self {
            _ if self.is_live(now) => TokenState::Live,
            // An expired token whose name was used again has its expiry as the time of its revocation.
            _ if self.revoked_at.is_some() && self.revoked_at != self.expires_at => TokenState::Revoked,
            _ => TokenState::Expired,
        }
    }
}

impl From<&ApiToken> for TimeCursor {
    fn from(token: &ApiToken) -> Self {
        Self { at: token.created_at, id: token.id }
    }
}

impl TryFrom<String> for Scope {
    type Error = <Self as FromStr>::Err;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[derive(FromRow)]
struct LiveToken {
    hash: [u8; 32],
    #[sqlx(flatten)]
    token: ApiToken,
}

impl Store {
    pub async fn create_token(&self, now: DateTime<Utc>, token: NewToken<'_>) -> Result<CreateTokenOutcome> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            // An expired token releases its name.
            let sql = "
                UPDATE api_tokens SET revoked_at = expires_at
                WHERE name = $1 AND revoked_at IS NULL AND expires_at <= $2";
            sqlx::query(sql).bind(token.name).bind(now).execute(&mut *transaction).await?;
            let inserted = match insert_token(&mut transaction, now, token).await {
                Err(error) => match error.constraint() {
                    Some("one_live_token_per_name") => return Ok(CreateTokenOutcome::NameTaken),
                    Some("a_token_is_known_by_its_hash") => return Ok(CreateTokenOutcome::HashTaken),
                    _ => return Err(error),
                },
                Ok(inserted) => inserted,
            };
            transaction.commit().await?;
            Ok(if inserted { CreateTokenOutcome::Created } else { CreateTokenOutcome::TooManyTokens })
        })
        .await
    }

    pub async fn revoke_token(&self, now: DateTime<Utc>, name: &str) -> Result<bool> {
        let sql = "UPDATE api_tokens SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL";
        Ok(self.execute(sqlx::query(sql).bind(name).bind(now)).await? > 0)
    }

    pub async fn revoke_token_by_id(&self, now: DateTime<Utc>, id: Uuid) -> Result<bool> {
        let sql = "UPDATE api_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
        Ok(self.execute(sqlx::query(sql).bind(id).bind(now)).await? > 0)
    }

    pub async fn tokens(&self) -> Result<Vec<ApiToken>> {
        let sql = "
            SELECT id, name, scope, created_at, last_used_at, expires_at, revoked_at FROM api_tokens
            ORDER BY created_at DESC, id DESC";
        self.run(sqlx::query_as(sql).fetch_all(&self.pool)).await
    }

    /// Returns up to `limit` tokens before `before`, the newest first; with `live_at`, only those that are live at that instant.
    pub async fn list_tokens(
        &self,
        live_at: Option<DateTime<Utc>>,
        before: Option<TimeCursor>,
        limit: u32,
    ) -> Result<Vec<ApiToken>> {
        let mut query = QueryBuilder::<Postgres>::new(
            "SELECT id, name, scope, created_at, last_used_at, expires_at, revoked_at FROM api_tokens WHERE true",
        );
        if let Some(now) = live_at {
            query
                .push(" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ")
                .push_bind(now)
                .push(")");
        }
        if let Some(TimeCursor { at: created_at, id }) = before {
            query.push(" AND (created_at, id) < (").push_bind(created_at).push(", ").push_bind(id).push(")");
        }
        query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(i64::from(limit));
        self.run(query.build_query_as().fetch_all(&self.pool)).await
    }

    pub async fn token(&self, hash: TokenHash) -> Result<Option<ApiToken>> {
        let sql = "
            SELECT id, name, scope, created_at, last_used_at, expires_at, revoked_at FROM api_tokens
            WHERE hash = $1";
        self.run(sqlx::query_as(sql).bind(hash.0).fetch_optional(&self.pool)).await
    }

    pub async fn live_tokens(&self, now: DateTime<Utc>) -> Result<Vec<(TokenHash, ApiToken)>> {
        let sql = "
            SELECT hash, id, name, scope, created_at, last_used_at, expires_at, revoked_at FROM api_tokens
            WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)";
        let rows: Vec<LiveToken> = self.run(sqlx::query_as(sql).bind(now).fetch_all(&self.pool)).await?;
        Ok(rows.into_iter().map(|row| (TokenHash(row.hash), row.token)).collect())
    }

    pub async fn record_token_use(&self, id: Uuid, now: DateTime<Utc>) -> Result<()> {
        let sql = "UPDATE api_tokens SET last_used_at = greatest(last_used_at, $2) WHERE id = $1";
        self.execute(sqlx::query(sql).bind(id).bind(now)).await.map(drop)
    }
}

async fn insert_token(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    token: NewToken<'_>,
) -> Result<bool> {
    let sql = "
        INSERT INTO api_tokens (id, name, scope, hash, created_at, expires_at)
        SELECT $1, $2, $3, $4, $5, $6
        WHERE (SELECT count(*) FROM api_tokens
               WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $5)) < $7";
    let inserted = sqlx::query(sql)
        .bind(Uuid::now_v7())
        .bind(token.name)
        .bind(token.scope.as_str())
        .bind(token.hash.0)
        .bind(now)
        .bind(token.expires_at)
        .bind(MAX_LIVE_TOKENS)
        .execute(transaction)
        .await?;
    Ok(inserted.rows_affected() > 0)
}
