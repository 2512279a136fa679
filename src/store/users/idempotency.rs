//! The promise that a repeated request creates no second user.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::{InstallationKey, Result, Store};
use super::ApiRequest;

/// How long a key is remembered.
const KEY_LIFE: TimeDelta = TimeDelta::hours(24);

/// A client's name for its request, and the request itself.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency<'a> {
    /// The client's key. Keys of other tokens are other keys.
    pub key: &'a str,
    /// The body, byte for byte: the same key with another body is refused.
    pub request: &'a [u8],
}

/// What an earlier request created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// The user's id.
    pub id: Uuid,
    /// When the user was created, UTC.
    pub created_at: DateTime<Utc>,
    /// The user as JSON, as it was then.
    pub answer: String,
}

/// The key of a request was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeated {
    /// By the same request.
    Before(Before),
    /// By a request whose user has been deleted since.
    DeletedSince,
    /// By another request.
    KeyTaken,
}

/// The key of a request, reserved for a transaction.
pub(super) struct Reserved([u8; 32]);

impl Store {
    /// Deletes expired keys with their answers, in batches, up to the limit of one round.
    pub async fn forget_idempotency_keys(&self, now: DateTime<Utc>) -> Result<()> {
        self.forget(
            now - KEY_LIFE,
            "DELETE FROM idempotency_keys WHERE key IN (
                 SELECT key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2
                 FOR UPDATE SKIP LOCKED)",
        )
        .await
    }
}

/// Reserves the key of `request`, if it has one, for this transaction. Waits for a request under the same key that is in flight.
pub(super) async fn reserve(
    transaction: &mut Transaction<'_, Postgres>,
    installation: &InstallationKey,
    now: DateTime<Utc>,
    request: Option<&ApiRequest<'_>>,
) -> Result<Result<Option<Reserved>, Repeated>> {
    let Some((write, idempotency)) = request.and_then(|request| Some((request.write, request.idempotency?)))
    else {
        return Ok(Ok(None));
    };
    let key = installation.idempotency_key(write.token_id, idempotency.key);
    let request_hash = installation.request(idempotency.request);
    let reserved = sqlx::query(
        "INSERT INTO idempotency_keys AS k (key, request_hash, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (key) DO UPDATE
         SET request_hash = excluded.request_hash, created_at = excluded.created_at, user_id = NULL, answer = NULL
         WHERE k.created_at < $4",
    )
    .bind(key.as_slice())
    .bind(request_hash.as_slice())
    .bind(now)
    .bind(now - KEY_LIFE)
    .execute(&mut **transaction)
    .await?;
    if reserved.rows_affected() > 0 {
        return Ok(Ok(Some(Reserved(key))));
    }
    // The key and its user were written at the same `now`.
    let (same, id, created_at, answer): (Option<bool>, Option<Uuid>, DateTime<Utc>, Option<String>) =
        sqlx::query_as(
            "SELECT request_hash = $2, user_id, created_at, answer FROM idempotency_keys WHERE key = $1",
        )
        .bind(key.as_slice())
        .bind(request_hash.as_slice())
        .fetch_one(&mut **transaction)
        .await?;
    Ok(Err(match (id, answer) {
        (Some(id), Some(answer)) if same == Some(true) => Repeated::Before(Before { id, created_at, answer }),
        (Some(_), Some(_)) => Repeated::KeyTaken,
        // The hash of the request was deleted as well.
        _ => Repeated::DeletedSince,
    }))
}

impl Reserved {
    /// Stores what a repeat of the request gets.
    pub(super) async fn answer(
        self,
        transaction: &mut Transaction<'_, Postgres>,
        user: Uuid,
        answer: String,
    ) -> Result<()> {
        sqlx::query("UPDATE idempotency_keys SET user_id = $2, answer = $3 WHERE key = $1")
            .bind(self.0.as_slice())
            .bind(user)
            .bind(answer)
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }
}

/// Removes a deleted user from the stored answers. The keys stay until they expire, so that a repeat of such a request does not
/// create the user again.
pub(super) async fn forget_answers(transaction: &mut Transaction<'_, Postgres>, user: Uuid) -> Result<()> {
    sqlx::query(
        "UPDATE idempotency_keys SET user_id = NULL, answer = NULL, request_hash = NULL WHERE user_id = $1",
    )
    .bind(user)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
