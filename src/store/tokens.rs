//! Tokens of the API, stored as hashes.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{Scope, TokenHash};

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    pub id: Uuid,
    pub name: String,
    #[sqlx(try_from = "String")]
    pub scope: Scope,
    pub created_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiToken {
    #[must_use]
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
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

    pub async fn tokens(&self) -> Result<Vec<ApiToken>> {
        let sql = "
            SELECT id, name, scope, created_at, last_used_at, expires_at, revoked_at FROM api_tokens
            ORDER BY created_at DESC, id DESC";
        self.run(sqlx::query_as(sql).fetch_all(&self.pool)).await
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
