//! Deletes users: cancels unsent events, and removes all personal data.
//!
//! What remains of a user: the id, a keyed hash of the external id for [`RETENTION`], and the events, so that one greeting a year
//! holds for a person who returns; and keyed hashes of suppressed addresses, so that an opt-out holds. What remains of an event: its user, kind, year, state and reason. Its dates are reduced to the
//! year, its errors, responses and trace ids are deleted, and its id is replaced: the old one (a UUID of version 7) contains the time of
//! planning, the new one only the year.

use chrono::{DateTime, TimeDelta, Utc};
use metrics::counter;
use sqlx::PgConnection;
use uuid::Uuid;

use super::UserRef;
use super::idempotency_keys::delete_answers;
use super::write::begin_one;
use crate::model::{Reason, Version};
use crate::store::api_writes::{ApiWrite, DELETED};
use crate::store::{InstallationKey, Result, Store};

/// An event of the year of the deletion can be due for a little over a year.
const RETENTION: TimeDelta = TimeDelta::days(400);

const BLUR_BATCH: i64 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    Deleted(Uuid),
    NotFound,
    VersionMismatch,
}

impl Store {
    /// Deletes a user, at one of `versions` if given, and cancels its unsent events. A request in flight may still arrive;
    /// [`Store::blur_events`] blurs its event later. The row `write` of the audit log is committed together with the deletion.
    pub async fn delete_user(
        &self,
        now: DateTime<Utc>,
        user: UserRef<'_>,
        versions: Option<&[Version]>,
        write: Option<&ApiWrite>,
    ) -> Result<DeleteOutcome> {
        let key = self.installation_key().await?;
        // Boxed: a large future is copied at each await around it.
        self.in_time(Box::pin(async {
            let (id, mut transaction, locked) = begin_one(self, key, Some(user)).await?;
            let Some(row) = locked.get(&id) else {
                return Ok(DeleteOutcome::NotFound);
            };
            if versions.is_some_and(|versions| !versions.contains(&row.version)) {
                return Ok(DeleteOutcome::VersionMismatch);
            }
            delete_answers(&mut transaction, id).await?;
            sqlx::query("DELETE FROM users WHERE id = $1").bind(id).execute(&mut *transaction).await?;
            let cancelled = cancel_and_blur(&mut transaction, now, &[id]).await?;
            save_deleted_user(&mut transaction, key, now, id, row.external_id.as_deref()).await?;
            if let Some(write) = write {
                write.insert(&mut transaction, id, DELETED).await?;
            }
            transaction.commit().await?;
            count_cancelled(cancelled);
            Ok(DeleteOutcome::Deleted(id))
        }))
        .await
    }

    /// Blurs a batch of events of deleted users that were being delivered at the deletion and have ended.
    pub async fn blur_events(&self, now: DateTime<Utc>) -> Result<()> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            // A user who has returned is planned under its id again, and its events stay.
            let sql = "
                SELECT user_id FROM deleted_users d
                WHERE blur_pending AND NOT EXISTS (SELECT FROM users u WHERE u.id = d.user_id)
                ORDER BY deleted_at LIMIT $1 FOR UPDATE SKIP LOCKED";
            let users: Vec<Uuid> =
                sqlx::query_scalar(sql).bind(BLUR_BATCH).fetch_all(&mut *transaction).await?;
            if users.is_empty() {
                return Ok(());
            }
            let cancelled = cancel_and_blur(&mut transaction, now, &users).await?;
            let sql = "
                UPDATE deleted_users d SET blur_pending = false
                WHERE user_id = ANY($1)
                  AND NOT EXISTS (SELECT FROM events e WHERE e.user_id = d.user_id AND e.finished_at IS NULL)";
            sqlx::query(sql).bind(&users).execute(&mut *transaction).await?;
            transaction.commit().await?;
            count_cancelled(cancelled);
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn forget_deleted_users(&self, now: DateTime<Utc>) -> Result<()> {
        self.forget(
            now - RETENTION,
            "DELETE FROM deleted_users WHERE user_id IN (
                 SELECT user_id FROM deleted_users WHERE deleted_at < $1 ORDER BY deleted_at LIMIT $2
                 FOR UPDATE SKIP LOCKED)",
        )
        .await
    }
}

fn count_cancelled(cancelled: u64) {
    counter!("bday_events_cancelled_total", "reason" => Reason::UserDeleted.as_str()).increment(cancelled);
}

/// Cancels the unsent events of deleted `users`, and blurs all events that have ended. Returns how many were cancelled.
async fn cancel_and_blur(transaction: &mut PgConnection, now: DateTime<Utc>, users: &[Uuid]) -> Result<u64> {
    let sql = "
        UPDATE events SET state = 'cancelled', reason = 'user_deleted', finished_at = $2, next_attempt_at = NULL
        WHERE user_id = ANY($1) AND state IN ('pending', 'queued')";
    let cancelled = sqlx::query(sql).bind(users).bind(now).execute(&mut *transaction).await?;
    sqlx::query(BLUR).bind(users).execute(transaction).await?;
    Ok(cancelled.rows_affected())
}

/// `finished_at` becomes the end of the year, since the event must be kept until no greeting in that year is possible. See
/// `Event::is_blurred`.
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
        redriven_at = CASE WHEN redriven_at IS NOT NULL THEN ended.year END, last_error = NULL, provider_id = NULL,
        trace_id = NULL
    FROM ended WHERE e.id = ended.id
), reported AS (
    DELETE FROM feedback WHERE event_id IN (SELECT id FROM ended)
), letters AS (
    DELETE FROM outbox WHERE dead_letter IS NOT NULL AND event_ids[1] IN (SELECT id FROM ended)
)
UPDATE attempts a
SET event_id = ended.new_id, error = NULL, response = NULL, started_at = NULL, finished_at = NULL, trace_id = NULL
FROM ended WHERE a.event_id = ended.id";

/// Stores the id of the external id, for a returning user, and whether an event remains to be blurred.
async fn save_deleted_user(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    now: DateTime<Utc>,
    id: Uuid,
    external_id: Option<&str>,
) -> Result<()> {
    let hash = external_id.map(|name| key.external_id_hash(name));
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
