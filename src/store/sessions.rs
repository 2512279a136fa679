//! Sessions of the console, stored as hashes.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Result, Store};

/// Sessions of one token: the oldest ends when one more begins.
const MAX_SESSIONS_OF_TOKEN: i64 = 100;

/// Precision of the time of the last use.
const USE_PRECISION: TimeDelta = TimeDelta::minutes(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// A session without use ends after this time.
    pub idle: TimeDelta,
    /// Every session ends after this time.
    pub total: TimeDelta,
}

const CREATE: &str = "
WITH ended AS (
    DELETE FROM sessions WHERE hash IN (
        SELECT hash FROM sessions WHERE created_at < $4 OR used_at < $5 ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
), surplus AS (
    DELETE FROM sessions WHERE hash IN (
        SELECT hash FROM sessions WHERE token_id = $2 ORDER BY created_at DESC OFFSET $6 - 1 FOR UPDATE SKIP LOCKED)
)
INSERT INTO sessions (hash, token_id, created_at, used_at) VALUES ($1, $2, $3, $3)";

const FIND: &str = "
WITH found AS (
    SELECT hash, token_id, used_at FROM sessions WHERE hash = $1 AND created_at >= $3 AND used_at >= $4
), used AS (
    UPDATE sessions s SET used_at = $2 FROM found f WHERE s.hash = f.hash AND $5 AND f.used_at < $6
)
SELECT token_id FROM found";

impl Store {
    /// Creates a session, and deletes sessions that have ended.
    pub async fn create_session(
        &self,
        hash: [u8; 32],
        token_id: Uuid,
        now: DateTime<Utc>,
        limits: SessionLimits,
    ) -> Result<()> {
        let create = sqlx::query(CREATE)
            .bind(hash)
            .bind(token_id)
            .bind(now)
            .bind(now - limits.total)
            .bind(now - limits.idle)
            .bind(MAX_SESSIONS_OF_TOKEN);
        self.execute(create).await.map(drop)
    }

    /// Returns the token of a session that has not ended. `is_use`: whether the session is used now.
    pub async fn session_token(
        &self,
        hash: [u8; 32],
        now: DateTime<Utc>,
        limits: SessionLimits,
        is_use: bool,
    ) -> Result<Option<Uuid>> {
        let find = sqlx::query_scalar(FIND)
            .bind(hash)
            .bind(now)
            .bind(now - limits.total)
            .bind(now - limits.idle)
            .bind(is_use)
            .bind(now - USE_PRECISION);
        self.run(find.fetch_optional(&self.pool)).await
    }

    pub async fn delete_session(&self, hash: [u8; 32]) -> Result<()> {
        self.execute(sqlx::query("DELETE FROM sessions WHERE hash = $1").bind(hash)).await.map(drop)
    }
}
