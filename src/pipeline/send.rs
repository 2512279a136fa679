//! Send: packs leave the outbox for the queue, and dead events for the dead-letter queue. A row is taken for a bounded time, not
//! locked; after a crash or a refusal any scheduler takes it again when that time is over.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::counter;

use super::queue::{DeadLetter, Pack};
use super::scheduler::{Result, Scheduler, Tick};
use crate::clock::MAX_SKEW;
use crate::store::chain;

/// How long a sender may take: more than the deadline of a call to the queue.
const TAKEN_FOR: Duration = Duration::from_secs(15);
const BATCH: usize = 80;
const BATCHES: usize = 25;

impl Scheduler {
    pub(super) fn available_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        if self.queue.is_outbox() {
            // At once, also for workers whose clock is behind.
            now - MAX_SKEW
        } else {
            self.clock.now() + TAKEN_FOR
        }
    }

    /// Sends packs that this process has taken; returns whether the queue confirmed all. Refused packs are available again at once.
    pub(super) async fn send(&self, packs: &[Pack], tick: &mut Tick) -> Result<bool> {
        if packs.is_empty() {
            return Ok(true);
        }
        let result = self.queue.send(packs).await;
        if self.queue.is_outbox() {
            result?;
            tick.enqueued += Pack::count_events(packs);
            return Ok(true);
        }
        let (ids, error) = match result {
            Ok(ids) => (ids, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if !ids.is_empty() {
            self.store.confirm_packs(self.clock.now(), &ids).await?;
        }
        let confirmed: HashSet<i64> = ids.into_iter().collect();
        let (sent, refused): (Vec<&Pack>, Vec<&Pack>) =
            packs.iter().partition(|pack| confirmed.contains(&pack.id));
        let failed = Pack::count_events(refused.iter().copied());
        if !refused.is_empty() {
            counter!("bday_send_failed_total").increment(failed);
            let ids: Vec<i64> = refused.iter().map(|pack| pack.id).collect();
            self.store.release_packs(self.clock.now(), &ids).await?;
        }
        if let Some(error) = error {
            return Err(error.into());
        }
        tick.enqueued += Pack::count_events(sent);
        tick.failed += failed;
        Ok(refused.is_empty())
    }

    pub(super) async fn send_left(&self, now: DateTime<Utc>, tick: &mut Tick) -> Result<()> {
        if self.queue.is_outbox() {
            return Ok(());
        }
        for _ in 0..BATCHES {
            let packs = self.store.take_packs(now, self.clock.now() + TAKEN_FOR, BATCH).await?;
            if packs.is_empty() || !self.send(&packs, tick).await? {
                break;
            }
        }
        if let Err(error) = self.send_dead_letters(now).await {
            tracing::warn!(error = chain(&error), "dead letters not sent");
        }
        Ok(())
    }

    async fn send_dead_letters(&self, now: DateTime<Utc>) -> Result<()> {
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
