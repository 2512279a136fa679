//! Tokens of the API. What is kept of a token is its hash.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Result, Store, StoreError};
use crate::model::{Scope, TokenHash};

/// So many can be live: every process that answers keeps all of them in memory.
pub const MAX_LIVE_TOKENS: i64 = 1000;

/// A token to be.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// 1 to 60 letters, digits, dots, hyphens and underscores.
    pub name: &'a str,
    /// What it allows.
    pub scope: Scope,
    /// What it is found by.
    pub hash: TokenHash,
    /// When it ends by itself, UTC.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What became of a request to create a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCreated {
    /// It can be used.
    Done,
    /// Another live token has this name.
    NameTaken,
    /// This very token is or was known already.
    HashKnown,
    /// There are [`MAX_LIVE_TOKENS`].
    TooMany,
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    /// Its id, in the audit log.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// UTC.
    pub created_at: DateTime<Utc>,
    /// UTC, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it ends by itself, UTC.
    pub expires_at: Option<DateTime<Utc>>,
    /// When somebody ended it, UTC.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiToken {
    /// Whether it may be used at `now`.
    #[must_use]
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: String,
    scope: String,
    hash: Vec<u8>,
    created_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl Row {
    fn read(self) -> Result<(TokenHash, ApiToken)> {
        let unreadable =
            |what: &dyn std::fmt::Display| StoreError::Unreadable(format!("token {}: {what}", self.id));
        let scope = self.scope.parse().map_err(|error| unreadable(&error))?;
        let hash = <[u8; 32]>::try_from(self.hash.as_slice()).map_err(|error| unreadable(&error))?;
        let token = ApiToken {
            id: self.id,
            name: self.name,
            scope,
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
        };
        Ok((TokenHash(hash), token))
    }
}

const COLUMNS: &str =
    "SELECT id, name, scope, hash, created_at, last_used_at, expires_at, revoked_at FROM api_tokens";

impl Store {
    /// Creates a token.
    ///
    /// # Errors
    /// The database refuses, for instance because the name is none, or is unavailable.
    pub async fn create_token(&self, now: DateTime<Utc>, token: NewToken<'_>) -> Result<TokenCreated> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            // The name of one that has run out is free again.
            sqlx::query(
                "UPDATE api_tokens SET revoked_at = expires_at WHERE name = $1 AND revoked_at IS NULL AND expires_at <= $2",
            )
            .bind(token.name)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
            let inserted = sqlx::query(
                "INSERT INTO api_tokens (id, name, scope, hash, created_at, expires_at)
                 SELECT $1, $2, $3, $4, $5, $6
                 WHERE (SELECT count(*) FROM api_tokens
                        WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $5)) < $7",
            )
            .bind(Uuid::now_v7())
            .bind(token.name)
            .bind(token.scope.as_str())
            .bind(token.hash.0)
            .bind(now)
            .bind(token.expires_at)
            .bind(MAX_LIVE_TOKENS)
            .execute(&mut *transaction)
            .await;
            let inserted = match inserted.map_err(StoreError::from) {
                Err(error) if error.constraint() == Some("one_live_token_per_name") => {
                    return Ok(TokenCreated::NameTaken);
                }
                Err(error) if error.constraint() == Some("a_token_is_known_by_its_hash") => {
                    return Ok(TokenCreated::HashKnown);
                }
                inserted => inserted?,
            };
            transaction.commit().await?;
            Ok(if inserted.rows_affected() > 0 {
                TokenCreated::Done
            } else {
                TokenCreated::TooMany
            })
        })
        .await
    }

    /// Ends the live token of this name; gives whether there was one.
    pub async fn revoke_token(&self, now: DateTime<Utc>, name: &str) -> Result<bool> {
        let sql = "UPDATE api_tokens SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL";
        Ok(self.execute(sqlx::query(sql).bind(name).bind(now)).await? > 0)
    }

    /// All tokens that there ever were, the newest first.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>> {
        self.in_time(async {
            let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
            query.push(" ORDER BY created_at DESC, id DESC");
            let rows: Vec<Row> = query.build_query_as().fetch_all(&self.pool).await?;
            rows.into_iter().map(|row| Ok(row.read()?.1)).collect()
        })
        .await
    }

    /// Those that may be used at `now`, by what they are found by.
    pub async fn live_tokens(&self, now: DateTime<Utc>) -> Result<Vec<(TokenHash, ApiToken)>> {
        self.in_time(async {
            let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
            query.push(" WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ");
            query.push_bind(now).push(")");
            let rows: Vec<Row> = query.build_query_as().fetch_all(&self.pool).await?;
            rows.into_iter().map(Row::read).collect()
        })
        .await
    }

    /// Notes that a token was used.
    pub async fn note_token_use(&self, id: Uuid, now: DateTime<Utc>) -> Result<()> {
        let sql = "UPDATE api_tokens SET last_used_at = greatest(last_used_at, $2) WHERE id = $1";
        self.execute(sqlx::query(sql).bind(id).bind(now)).await.map(drop)
    }
}
