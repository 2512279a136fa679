//! Sweep: what a dead worker or a lost message left open gets an end, or a second start.

use chrono::{DateTime, Utc};
use metrics::counter;

use super::{Scheduler, TickError};
use crate::store::SweepLimits;

const BATCH: u32 = 1000;

impl Scheduler {
    /// Closes what nobody else will close. Costs one look at what is due and open when there is nothing.
    pub(super) async fn sweep(&self, now: DateTime<Utc>) -> Result<(), TickError> {
        // A queued event's own deadline is `lost_after` ahead. A lease is short: its message is visible again when it
        // runs out, unless that was its last receive.
        let limits = SweepLimits {
            now,
            lease_before: now - self.options.lost_after,
            last_lease_before: now - self.options.visibility * 2,
            max_receives: self.options.max_receives,
        };
        // Where messages wait, workers are behind, and nothing is lost yet.
        if !self.store.has_lost(limits).await? || self.queue.depth().await?.visible > 0 {
            return Ok(());
        }
        let mut dead = 0;
        while let swept @ 1.. = self.store.sweep_dead(limits, BATCH).await? {
            dead += swept;
        }
        if dead > 0 {
            counter!("bday_events_dead_total", "reason" => "worker_lost").increment(dead);
            counter!("bday_swept_total", "outcome" => "dead").increment(dead);
            tracing::warn!(dead, "swept: the worker died in the last attempt");
        }
        let mut requeued = 0;
        while let swept @ 1.. = self.store.sweep_lost(limits, BATCH).await? {
            requeued += swept;
            self.beat.touch();
        }
        if requeued > 0 {
            counter!("bday_swept_total", "outcome" => "requeued").increment(requeued);
            tracing::warn!(
                requeued,
                "swept: the message was lost, so the event goes to the queue again"
            );
        }
        Ok(())
    }
}
