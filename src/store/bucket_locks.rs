//! Locks between the planners and the writers of users.
//!
//! Users fall into buckets by the last byte of their id, as in `occasions.bucket`. Writers share a bucket's advisory lock; a planner
//! holds it alone for a page, so that planning locks no user row.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::login::LOCK_TIMEOUT;
use super::{Result, StoreError};

pub const BUCKETS: i16 = 32;
const LOCK_CLASS: i32 = 0x6264_6179;
/// How long a planner waits for the writers of a bucket. Later writers queue behind it, so it must be short.
const PLANNER_LOCK_TIMEOUT: &str = "300ms";

/// Locks `bucket`, or all buckets, for a planner; returns false if a writer holds one for longer than [`PLANNER_LOCK_TIMEOUT`]. The
/// transaction has failed then.
pub(super) async fn try_lock_for_planner(
    transaction: &mut PgConnection,
    bucket: Option<i16>,
) -> Result<bool> {
    set_lock_timeout(transaction, PLANNER_LOCK_TIMEOUT).await?;
    let locked =
        sqlx::query("SELECT pg_advisory_xact_lock($1, b) FROM generate_series($2::int, $3::int) AS b")
            .bind(LOCK_CLASS)
            .bind(i32::from(bucket.unwrap_or(0)))
            .bind(i32::from(bucket.unwrap_or(BUCKETS - 1)))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from);
    match locked {
        Ok(_) => set_lock_timeout(transaction, LOCK_TIMEOUT).await.map(|()| true),
        Err(error) if error.is_contention() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn set_lock_timeout(transaction: &mut PgConnection, timeout: &str) -> Result<()> {
    sqlx::query("SELECT set_config('lock_timeout', $1, true)").bind(timeout).execute(transaction).await?;
    Ok(())
}

/// Keeps planners from the buckets of `users` until the transaction ends. Every writer of users calls it before it locks rows of
/// users or events.
pub(super) async fn lock_buckets(transaction: &mut PgConnection, users: &[Uuid]) -> Result<()> {
    let buckets: BTreeSet<i16> = users.iter().map(|id| bucket_of(*id)).collect();
    let buckets: Vec<i32> = buckets.into_iter().map(i32::from).collect();
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1, b) FROM unnest($2::int[]) AS b")
        .bind(LOCK_CLASS)
        .bind(buckets)
        .execute(transaction)
        .await?;
    Ok(())
}

pub(super) async fn lock_users(transaction: &mut PgConnection, users: &[Uuid]) -> Result<()> {
    lock_buckets(transaction, users).await?;
    sqlx::query("SELECT FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE")
        .bind(users)
        .execute(transaction)
        .await?;
    Ok(())
}

fn bucket_of(user: Uuid) -> i16 {
    i16::from(user.as_bytes()[15]) & (BUCKETS - 1)
}
