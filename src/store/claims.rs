//! Claim: the due events, locked, and marked as queued once the queue has confirmed them.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::{Result, Store};

/// How far a pass has come, so that it meets each row once even if the queue refuses some.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClaimCursor(Option<(DateTime<Utc>, Uuid)>);

/// Due events that nobody else can claim until this is committed or dropped.
#[derive(Debug)]
pub struct Claim<'a> {
    store: &'a Store,
    transaction: Transaction<'static, Postgres>,
    /// The events, in the order in which they are due.
    pub event_ids: Vec<Uuid>,
}

impl Store {
    /// Locks up to `limit` pending events that are due at `now`, past `cursor`, and moves `cursor` behind them. Rows
    /// that another instance holds are skipped.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn claim(&self, now: DateTime<Utc>, limit: u32, cursor: &mut ClaimCursor) -> Result<Claim<'_>> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let (after_due, after_id) = cursor.0.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()));
            let rows: Vec<(DateTime<Utc>, Uuid)> = sqlx::query_as(
                "SELECT due_at, id FROM events
                 WHERE finished_at IS NULL AND state = 'pending' AND due_at <= $1 AND (due_at, id) > ($2, $3)
                 ORDER BY due_at, id LIMIT $4 FOR UPDATE SKIP LOCKED",
            )
            .bind(now)
            .bind(after_due)
            .bind(after_id)
            .bind(i64::from(limit))
            .fetch_all(&mut *transaction)
            .await?;
            if let Some(last) = rows.last() {
                cursor.0 = Some(*last);
            }
            let event_ids = rows.into_iter().map(|(_, id)| id).collect();
            Ok(Claim {
                store: self,
                transaction,
                event_ids,
            })
        })
        .await
    }

    /// Skips up to `limit` pending events that were due before `before`: the late rule. Gives how many. Of what was
    /// redriven on purpose, the redrive counts, not when it was due; of what an edit made or moved, the edit (see `leases`).
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn skip_late(&self, now: DateTime<Utc>, before: DateTime<Utc>, limit: u32) -> Result<u64> {
        self.in_time(async {
            let done = sqlx::query(
                "WITH late AS (
                     SELECT id FROM events WHERE finished_at IS NULL AND state = 'pending' AND due_at < $2
                       AND coalesce(redriven_at, due_at) < $2
                       AND least(created_at, (SELECT updated_at FROM users WHERE users.id = events.user_id)) < $2
                     ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
                 UPDATE events SET state = 'skipped', reason = 'late', finished_at = $1
                 FROM late WHERE events.id = late.id",
            )
            .bind(now)
            .bind(before)
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
            Ok(done.rows_affected())
        })
        .await
    }
}

impl Claim<'_> {
    /// Marks `confirmed` as queued and releases the rest, which stays pending. `lost_at` is when the sweeper is to
    /// take a message for lost.
    ///
    /// # Errors
    /// The database refuses or is away; then all of them stay pending, and go again.
    pub async fn commit(
        mut self,
        now: DateTime<Utc>,
        lost_at: DateTime<Utc>,
        confirmed: &[Uuid],
    ) -> Result<()> {
        self.store
            .in_time(async {
                sqlx::query(
                    "UPDATE events SET state = 'queued', queued_at = $1, deadline_at = $2 WHERE id = ANY($3)",
                )
                .bind(now)
                .bind(lost_at)
                .bind(confirmed)
                .execute(&mut *self.transaction)
                .await?;
                self.transaction.commit().await?;
                Ok(())
            })
            .await
    }
}
