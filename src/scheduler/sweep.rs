//! Sweep: what a dead worker or a lost message left open gets an end, or a second start.

use chrono::{DateTime, Utc};
use metrics::counter;

use super::{Scheduler, TickError};

const BATCH: u32 = 1000;

impl Scheduler {
    /// Closes what nobody else will close. Costs two looks at what is due and open.
    pub(super) async fn sweep(&self, now: DateTime<Utc>) -> Result<(), TickError> {
        // The message of an expired lease is visible again by then, unless that was its last receive.
        let grace = self.options.visibility * 2;
        let dead = self
            .store
            .sweep_dead(now, now - grace, self.options.max_receives, BATCH)
            .await?;
        if dead > 0 {
            counter!("bday_events_dead_total", "reason" => "worker_lost").increment(dead);
            counter!("bday_swept_total", "outcome" => "dead").increment(dead);
            tracing::warn!(dead, "swept: the worker died in the last attempt");
        }
        // A queued event's own deadline is `lost_after` ahead; that of a lease is short, and gets the same patience.
        let lease_before = now - self.options.lost_after;
        // Where messages wait, workers are behind, and nothing is lost yet.
        if self.store.has_lost(now, lease_before).await? && self.queue.depth().await?.visible == 0 {
            let requeued = self.store.sweep_lost(now, lease_before, BATCH).await?;
            counter!("bday_swept_total", "outcome" => "requeued").increment(requeued);
            tracing::warn!(
                requeued,
                "swept: the message was lost, so the event goes to the queue again"
            );
        }
        Ok(())
    }
}
