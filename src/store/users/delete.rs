//! Deletion: what was not sent is cancelled, and no personal data remains.
//!
//! Of a deleted user remain the id, a keyed hash of the external id for [`REMEMBERED`], and the events, so that one greeting a year
//! holds for a person who returns. Of an event remain its user, kind, year, state and reason. Its dates are reduced to the year,
//! its errors and answers are deleted, and it gets another id: the old one (a UUID of version 7) contains the time of the planning,
//! the new one only the year.

use chrono::{DateTime, TimeDelta, Utc};
use metrics::counter;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::api_writes::{ApiWrite, DELETED};
use super::super::{InstallationKey, Result, Store};
use super::UserRef;
use super::idempotency::forget_answers;
use super::write::begin_one;
use crate::model::{Reason, Version};

/// How long a deleted user is remembered: an event of the year of the deletion can be due for a little over a year.
const REMEMBERED: TimeDelta = TimeDelta::days(400);

const BLUR_BATCH: i64 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    Gone,
    OtherVersion,
    Done(Uuid),
}

impl Store {
    /// Deletes a user, at one of `versions` if given, and cancels what was not sent yet. A request that is in flight may still
    /// arrive; its event is blurred by [`Store::blur_events`] when it has ended. The row `write` of the audit log is committed with it.
    pub async fn delete_user(
        &self,
        now: DateTime<Utc>,
        who: UserRef<'_>,
        versions: Option<&[Version]>,
        write: Option<&ApiWrite>,
    ) -> Result<Deleted> {
        let key = self.installation_key().await?;
        // Boxed: a large future is copied at each await around it.
        self.in_time(Box::pin(async {
            let (id, mut transaction, locked) = begin_one(self, key, Some(who)).await?;
            let Some(user) = locked.get(&id) else {
                return Ok(Deleted::Gone);
            };
            if versions.is_some_and(|versions| !versions.contains(&user.version)) {
                return Ok(Deleted::OtherVersion);
            }
            forget_answers(&mut transaction, id).await?;
            sqlx::query("DELETE FROM users WHERE id = $1").bind(id).execute(&mut *transaction).await?;
            let cancelled = forget_events(&mut transaction, now, &[id]).await?;
            remember(&mut transaction, key, now, id, user.external_id.as_deref()).await?;
            if let Some(write) = write {
                write.insert(&mut transaction, id, DELETED).await?;
            }
            transaction.commit().await?;
            count(cancelled);
            Ok(Deleted::Done(id))
        }))
        .await
    }

    /// Blurs the events of deleted users that were being delivered at the deletion and have ended, up to the limit of one pass.
    pub async fn blur_events(&self, now: DateTime<Utc>) -> Result<()> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            // A user who has returned is planned under its id again: its events are not touched.
            let sql = "
                SELECT user_id FROM deleted_users f
                WHERE blur_pending AND NOT EXISTS (SELECT FROM users u WHERE u.id = f.user_id)
                ORDER BY deleted_at LIMIT $1 FOR UPDATE SKIP LOCKED";
            let users: Vec<Uuid> =
                sqlx::query_scalar(sql).bind(BLUR_BATCH).fetch_all(&mut *transaction).await?;
            if users.is_empty() {
                return Ok(());
            }
            let cancelled = forget_events(&mut transaction, now, &users).await?;
            let sql = "
                UPDATE deleted_users f SET blur_pending = false
                WHERE user_id = ANY($1)
                  AND NOT EXISTS (SELECT FROM events e WHERE e.user_id = f.user_id AND e.finished_at IS NULL)";
            sqlx::query(sql).bind(&users).execute(&mut *transaction).await?;
            transaction.commit().await?;
            count(cancelled);
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn forget_deleted_users(&self, now: DateTime<Utc>) -> Result<()> {
        self.forget(
            now - REMEMBERED,
            "DELETE FROM deleted_users WHERE user_id IN (
                 SELECT user_id FROM deleted_users WHERE deleted_at < $1 ORDER BY deleted_at LIMIT $2
                 FOR UPDATE SKIP LOCKED)",
        )
        .await
    }
}

fn count(cancelled: u64) {
    counter!("bday_events_cancelled_total", "reason" => Reason::UserDeleted.as_str()).increment(cancelled);
}

/// Cancels the events of deleted `users` that are not being delivered, and blurs all that have ended. Returns how many were
/// cancelled.
async fn forget_events(transaction: &mut PgConnection, now: DateTime<Utc>, users: &[Uuid]) -> Result<u64> {
    let sql = "
        UPDATE events SET state = 'cancelled', reason = 'user_deleted', finished_at = $2, next_attempt_at = NULL
        WHERE user_id = ANY($1) AND state IN ('pending', 'queued')";
    let cancelled = sqlx::query(sql).bind(users).bind(now).execute(&mut *transaction).await?;
    sqlx::query(BLUR).bind(users).execute(transaction).await?;
    Ok(cancelled.rows_affected())
}

/// `finished_at` is the end of the year, unlike the others: the event must be kept until a greeting in that year is impossible.
/// See `Event::is_blurred`.
const BLUR: &str = "
WITH ended AS MATERIALIZED (
    SELECT id, make_date(local_year, 1, 1) AS day, year,
           make_timestamptz(local_year + 1, 1, 1, 0, 0, 0, 'UTC') AS year_end,
           (lpad(to_hex((extract(epoch FROM year) * 1000)::bigint), 12, '0') || '7'
            || right(replace(gen_random_uuid()::text, '-', ''), 19))::uuid AS new_id
    FROM events, make_timestamptz(local_year, 1, 1, 0, 0, 0, 'UTC') AS year
    WHERE user_id = ANY($1) AND finished_at IS NOT NULL
      AND finished_at <> make_timestamptz(local_year + 1, 1, 1, 0, 0, 0, 'UTC')
    FOR UPDATE OF events
), blurred AS (
    UPDATE events e
    SET id = ended.new_id, local_date = ended.day, due_at = ended.year, late_from = ended.year, created_at = ended.year,
        finished_at = ended.year_end, started_at = NULL,
        queued_at = CASE WHEN queued_at IS NOT NULL THEN ended.year END,
        redriven_at = CASE WHEN redriven_at IS NOT NULL THEN ended.year END, last_error = NULL
    FROM ended WHERE e.id = ended.id
), letters AS (
    DELETE FROM outbox WHERE dead_letter IS NOT NULL AND event_ids[1] IN (SELECT id FROM ended)
)
UPDATE attempts a
SET event_id = ended.new_id, error = NULL, response = NULL, started_at = NULL, finished_at = NULL
FROM ended WHERE a.event_id = ended.id";

/// Stores which id belonged to an external id, for a returning user, and whether an event is still to be blurred.
async fn remember(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    now: DateTime<Utc>,
    id: Uuid,
    external_id: Option<&str>,
) -> Result<()> {
    let hash = external_id.map(|name| key.external_id(name));
    // Another deleted user had this external id before.
    let sql =
        "UPDATE deleted_users SET external_id_hash = NULL WHERE external_id_hash = $2 AND user_id <> $1";
    sqlx::query(sql).bind(id).bind(hash).execute(&mut *transaction).await?;
    let sql = "
        INSERT INTO deleted_users (user_id, external_id_hash, deleted_at, blur_pending)
        VALUES ($1, $2, $3, EXISTS (SELECT FROM events WHERE user_id = $1 AND finished_at IS NULL))
        ON CONFLICT (user_id) DO UPDATE
        SET external_id_hash = excluded.external_id_hash, deleted_at = excluded.deleted_at,
            blur_pending = excluded.blur_pending";
    sqlx::query(sql).bind(id).bind(hash).bind(now).execute(transaction).await?;
    Ok(())
}
