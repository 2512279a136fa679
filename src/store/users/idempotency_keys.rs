//! Idempotency keys: a repeated request creates no second user.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::ApiRequest;
use crate::store::{InstallationKey, Result, Store};

const RETENTION: TimeDelta = TimeDelta::hours(24);

#[derive(Debug, Clone, Copy)]
pub struct Idempotency<'a> {
    /// The client's key, unique within its token.
    pub key: &'a str,
    /// The body, byte for byte: the same key with another body is rejected.
    pub request: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepeatedRequest {
    Answered {
        id: Uuid,
        created_at: DateTime<Utc>,
        /// The user as JSON, as it was at its creation.
        answer: String,
    },
    UserDeleted,
    KeyTaken,
}

impl Store {
    pub async fn forget_idempotency_keys(&self, now: DateTime<Utc>) -> Result<()> {
        self.forget(
            now - RETENTION,
            "DELETE FROM idempotency_keys WHERE key IN (
                 SELECT key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2
                 FOR UPDATE SKIP LOCKED)",
        )
        .await
    }
}

pub(super) struct Reservation {
    key: [u8; 32],
    request: [u8; 32],
}

impl Reservation {
    pub(super) fn of(installation: &InstallationKey, request: &ApiRequest<'_>) -> Option<Self> {
        let idempotency = request.idempotency?;
        let key = installation.idempotency_key_hash(request.write.token_id, idempotency.key);
        Some(Self { key, request: installation.request_hash(idempotency.request) })
    }

    /// Reserves the key for this transaction, unless an earlier request has it. Waits for a concurrent request with the same key.
    pub(super) async fn reserve(
        &self,
        transaction: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<Option<RepeatedRequest>> {
        let sql = "
            INSERT INTO idempotency_keys AS k (key, request_hash, created_at) VALUES ($1, $2, $3)
            ON CONFLICT (key) DO UPDATE
            SET request_hash = excluded.request_hash, created_at = excluded.created_at, user_id = NULL, answer = NULL
            WHERE k.created_at < $4";
        let reserved = sqlx::query(sql).bind(self.key).bind(self.request).bind(now).bind(now - RETENTION);
        if reserved.execute(&mut *transaction).await?.rows_affected() > 0 {
            return Ok(None);
        }
        // The key and its user were written at the same `now`.
        let sql =
            "SELECT request_hash = $2, user_id, created_at, answer FROM idempotency_keys WHERE key = $1";
        let (same, id, created_at, answer): (Option<bool>, Option<Uuid>, DateTime<Utc>, Option<String>) =
            sqlx::query_as(sql).bind(self.key).bind(self.request).fetch_one(transaction).await?;
        Ok(Some(match (id, answer) {
            (Some(id), Some(answer)) if same == Some(true) => {
                RepeatedRequest::Answered { id, created_at, answer }
            }
            (Some(_), Some(_)) => RepeatedRequest::KeyTaken,
            // The deletion of the user has removed the hash as well.
            _ => RepeatedRequest::UserDeleted,
        }))
    }

    pub(super) async fn save_answer(
        &self,
        transaction: &mut PgConnection,
        user: Uuid,
        answer: String,
    ) -> Result<()> {
        sqlx::query("UPDATE idempotency_keys SET user_id = $2, answer = $3 WHERE key = $1")
            .bind(self.key)
            .bind(user)
            .bind(answer)
            .execute(transaction)
            .await?;
        Ok(())
    }
}

/// Removes a deleted user from the stored answers. The keys stay until they expire, so that a repeated request does not create the
/// user again.
pub(super) async fn delete_answers(transaction: &mut PgConnection, user: Uuid) -> Result<()> {
    let sql =
        "UPDATE idempotency_keys SET user_id = NULL, answer = NULL, request_hash = NULL WHERE user_id = $1";
    sqlx::query(sql).bind(user).execute(transaction).await?;
    Ok(())
}
