//! Send: packs leave the outbox for the queue, and dead events for the dead-letter queue. A row is taken for a bounded time, not
//! locked; what a crash or a refusal leaves is taken again by any scheduler when that time is over.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::counter;

use super::queue::{DeadLetter, Pack};
use super::scheduler::{Scheduler, TickError};
use crate::clock::MAX_SKEW;
use crate::telemetry::chain;

/// How long a sender may take: the deadline of a call to the queue and more.
const TAKEN_FOR: Duration = Duration::from_secs(15);
/// Rows taken at once.
const BATCH: usize = 80;
/// Batches of one pass.
const BATCHES: usize = 25;

impl Scheduler {
    /// When another process may take the packs that this one claims at `now`.
    pub(super) fn available_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        if self.queue.is_outbox() {
            // At once, also for workers whose clock is behind.
            now - MAX_SKEW
        } else {
            self.clock.now() + TAKEN_FOR
        }
    }

    /// Sends packs that this process has taken; returns how many events the queue has confirmed. Packs that were refused are
    /// available again at once.
    pub(super) async fn send(&self, packs: &[Pack]) -> Result<u64, TickError> {
        if self.queue.is_outbox() {
            self.queue.send(packs).await?;
            return Ok(Pack::count_events(packs));
        }
        let result = self.queue.send(packs).await;
        let confirmed: HashSet<i64> =
            result.as_ref().map_or_else(|_| HashSet::new(), |ids| ids.iter().copied().collect());
        let refused: Vec<i64> =
            packs.iter().map(|pack| pack.id).filter(|id| !confirmed.contains(id)).collect();
        if !confirmed.is_empty() {
            let ids: Vec<i64> = confirmed.iter().copied().collect();
            self.store.confirm_packs(self.clock.now(), &ids).await?;
        }
        if !refused.is_empty() {
            let lost = Pack::count_events(packs.iter().filter(|pack| !confirmed.contains(&pack.id)));
            counter!("bday_send_failed_total").increment(lost);
            self.store.release_packs(self.clock.now(), &refused).await?;
        }
        result?;
        Ok(Pack::count_events(packs.iter().filter(|pack| confirmed.contains(&pack.id))))
    }

    /// Sends what is left in the outbox. Returns how many events were confirmed and how many were not.
    pub(super) async fn send_left(&self, now: DateTime<Utc>) -> Result<(u64, u64), TickError> {
        let (mut sent, mut failed) = (0, 0);
        if self.queue.is_outbox() {
            return Ok((sent, failed));
        }
        for _ in 0..BATCHES {
            let packs = self.store.take_packs(now, self.clock.now() + TAKEN_FOR, BATCH).await?;
            if packs.is_empty() {
                break;
            }
            let all = Pack::count_events(&packs);
            let confirmed = self.send(&packs).await?;
            sent += confirmed;
            failed += all - confirmed;
            if confirmed < all {
                break;
            }
        }
        if let Err(error) = self.send_dead_letters(now).await {
            tracing::warn!(error = chain(&error), "dead letters not sent");
        }
        Ok((sent, failed))
    }

    async fn send_dead_letters(&self, now: DateTime<Utc>) -> Result<(), TickError> {
        for _ in 0..BATCHES {
            let rows = self.store.take_dead_letters(now, self.clock.now() + TAKEN_FOR, BATCH).await?;
            if rows.is_empty() {
                break;
            }
            let letters: Vec<DeadLetter> =
                rows.iter().map(|row| DeadLetter::of_event(row.event_id, &row.reason)).collect();
            let confirmed = self.queue.send_dead_letters(&letters).await?;
            let ids: Vec<i64> = confirmed.into_iter().filter_map(|at| Some(rows.get(at)?.id)).collect();
            self.store.delete_outbox(&ids).await?;
        }
        Ok(())
    }
}
