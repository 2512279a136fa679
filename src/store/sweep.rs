//! Sweep: closes what a lost message or a dead worker left open.

use chrono::{DateTime, Utc};

use super::{Result, Store};

impl Store {
    /// Ends events whose worker died in the last of `max_receives` attempts: the lease ran out before `before`, and the
    /// message is in the dead-letter queue, or goes there with its next receive.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn sweep_dead(
        &self,
        now: DateTime<Utc>,
        before: DateTime<Utc>,
        max_receives: u32,
        limit: u32,
    ) -> Result<u64> {
        self.in_time(async {
            let done = sqlx::query(
                "WITH lost AS (
                     SELECT id, attempts FROM events
                     WHERE finished_at IS NULL AND due_at <= $1
                       AND state = 'delivering' AND deadline_at < $2 AND attempts >= $3
                     ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
                 ), logged AS (
                     INSERT INTO attempts (event_id, number, outcome, reason, error)
                     SELECT id, attempts, 'unknown', 'worker_lost', 'the worker died before it could record the outcome'
                     FROM lost ON CONFLICT DO NOTHING
                 )
                 UPDATE events e SET state = 'dead', reason = 'worker_lost', finished_at = $1, lease_holder = NULL,
                        deadline_at = NULL
                 FROM lost WHERE e.id = lost.id",
            )
            .bind(now)
            .bind(before)
            .bind(max_receives as i32)
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
            Ok(done.rows_affected())
        })
        .await
    }

    /// Whether [`sweep_lost`](Store::sweep_lost) would find something. Looks at what is due and open.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn has_lost(&self, now: DateTime<Utc>, lease_before: DateTime<Utc>) -> Result<bool> {
        self.in_time(async {
            Ok(sqlx::query_scalar(
                "SELECT EXISTS (
                     SELECT FROM events WHERE finished_at IS NULL AND due_at <= $1
                       AND state IN ('queued', 'delivering') AND deadline_at < $1 AND (state = 'queued' OR deadline_at < $2))",
            )
            .bind(now)
            .bind(lease_before)
            .fetch_one(&self.pool)
            .await?)
        })
        .await
    }

    /// Puts events back to pending whose message must be lost: queued, and nobody took it until its deadline; or
    /// leased by a worker that died, and nobody took it over although the lease ran out before `lease_before`. Should
    /// the message be there after all, the lease makes the second copy harmless.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn sweep_lost(
        &self,
        now: DateTime<Utc>,
        lease_before: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64> {
        self.in_time(async {
            let done = sqlx::query(
                "WITH lost AS (
                     SELECT id FROM events WHERE finished_at IS NULL AND due_at <= $1
                       AND state IN ('queued', 'delivering') AND deadline_at < $1
                       AND (state = 'queued' OR deadline_at < $2)
                     ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
                 )
                 UPDATE events e SET state = 'pending', lease_holder = NULL, deadline_at = NULL
                 FROM lost WHERE e.id = lost.id",
            )
            .bind(now)
            .bind(lease_before)
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
            Ok(done.rows_affected())
        })
        .await
    }
}
