//! Sweep: closes what a lost message or a dead worker left open.

use chrono::{DateTime, Utc};

use super::{Result, Store};

/// From when on something counts as lost. All UTC.
#[derive(Debug, Clone, Copy)]
pub struct SweepLimits {
    /// The current instant. A queued event whose deadline is before it has lost its message.
    pub now: DateTime<Utc>,
    /// A lease that ran out before this, and that nobody took over, has lost its message.
    pub lease_before: DateTime<Utc>,
    /// The same for the last attempt there is: its message went to the dead-letter queue, so nobody could.
    pub last_lease_before: DateTime<Utc>,
    /// How many attempts there are, counted from a redrive.
    pub max_receives: u32,
}

impl Store {
    /// Whether [`sweep_dead`](Store::sweep_dead) or [`sweep_lost`](Store::sweep_lost) would find something. Looks
    /// at what is due and open.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn has_lost(&self, limits: SweepLimits) -> Result<bool> {
        self.in_time(async {
            Ok(sqlx::query_scalar(
                "SELECT EXISTS (
                     SELECT FROM events WHERE finished_at IS NULL AND due_at <= $1
                       AND state IN ('queued', 'delivering') AND deadline_at < $1
                       AND (state = 'queued' OR deadline_at < $2 OR attempts - attempts_at_redrive >= $4 AND deadline_at < $3))",
            )
            .bind(limits.now)
            .bind(limits.lease_before)
            .bind(limits.last_lease_before)
            .bind(limits.max_receives as i32)
            .fetch_one(&self.pool)
            .await?)
        })
        .await
    }

    /// Ends events whose worker died in the last attempt.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn sweep_dead(&self, limits: SweepLimits, limit: u32) -> Result<u64> {
        self.in_time(async {
            let done = sqlx::query(
                "WITH lost AS (
                     SELECT id, attempts FROM events
                     WHERE finished_at IS NULL AND due_at <= $1
                       AND state = 'delivering' AND deadline_at < $2 AND attempts - attempts_at_redrive >= $3
                     ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
                 ), logged AS (
                     INSERT INTO attempts (event_id, number, outcome, reason, error)
                     SELECT id, n, 'unknown', 'worker_lost', 'the worker died before it could record the outcome'
                     FROM lost, generate_series(1, lost.attempts) AS n ON CONFLICT DO NOTHING
                 )
                 UPDATE events e SET state = 'dead', reason = 'worker_lost', finished_at = $1, lease_holder = NULL,
                        deadline_at = NULL
                 FROM lost WHERE e.id = lost.id",
            )
            .bind(limits.now)
            .bind(limits.last_lease_before)
            .bind(limits.max_receives as i32)
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
            Ok(done.rows_affected())
        })
        .await
    }

    /// Puts events back to pending whose message must be lost: queued, and nobody took it until its deadline; or
    /// leased by a worker that died, and nobody took it over. Should the message be there after all, the lease makes
    /// the second copy harmless.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn sweep_lost(&self, limits: SweepLimits, limit: u32) -> Result<u64> {
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
            .bind(limits.now)
            .bind(limits.lease_before)
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
            Ok(done.rows_affected())
        })
        .await
    }
}
