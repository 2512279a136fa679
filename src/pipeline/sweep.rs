//! Sweep: leases that expired, packs that the queue lost, and rows past their retention.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::counter;

use super::scheduler::{Result, Scheduler};
use crate::store::chain;

/// A confirmed pack that no worker has taken for this long is sent again if the queue is empty.
const LOST_AFTER: TimeDelta = TimeDelta::minutes(2);
/// It is sent again after this long in any case: a second copy is harmless.
const LOST_ANYWAY_AFTER: TimeDelta = TimeDelta::hours(2);
const RESENT: usize = 1000;
const BATCH: u32 = 1000;
const BATCHES: usize = 20;
const PLANNED_DAYS: TimeDelta = TimeDelta::days(40);

impl Scheduler {
    /// Makes events with an expired lease pending, or dead after their last attempt. Costs one query where there are none.
    pub(super) async fn expire_leases(&self, now: DateTime<Utc>) -> Result<()> {
        let spread = self.options.retry_spread;
        loop {
            let expired = self.store.expire_leases(now, self.options.max_attempts, spread).await?;
            if expired.requeued + expired.dead == 0 {
                return Ok(());
            }
            self.heartbeat.progress();
            counter!("bday_swept_total", "outcome" => "dead").increment(expired.dead);
            counter!("bday_swept_total", "outcome" => "requeued").increment(expired.requeued);
            counter!("bday_events_dead_total", "reason" => "worker_lost").increment(expired.dead);
            tracing::warn!(requeued = expired.requeued, dead = expired.dead, "expired leases swept");
        }
    }

    /// Sends packs again that the queue has lost: it was purged, or the messages expired.
    pub(super) async fn resend_lost(&self, now: DateTime<Utc>) -> Result<()> {
        if self.queue.is_outbox() {
            return Ok(());
        }
        let depth = self.queue.depth().await?;
        let empty = depth.visible + depth.in_flight == 0;
        let before = now - if empty { LOST_AFTER } else { LOST_ANYWAY_AFTER };
        let resent = self.store.resend_packs(now, before, RESENT).await?;
        if resent > 0 {
            counter!("bday_packs_resent_total").increment(resent);
            tracing::warn!(packs = resent, "packs lost by the queue are sent again");
        }
        Ok(())
    }

    pub(super) async fn forget_old(&self, now: DateTime<Utc>) {
        let (events, audit) = (self.options.keep_events, self.options.keep_audit);
        let forget = async {
            for _ in 0..BATCHES {
                let deleted = self.store.forget_events(now - events, BATCH).await?;
                counter!("bday_events_forgotten_total").increment(deleted);
                if deleted < u64::from(BATCH) {
                    break;
                }
                // A backlog of old rows must not slow the deliveries.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.store.forget_planned_days(now - PLANNED_DAYS).await?;
            self.store.clean_up(now, now - audit).await
        };
        if let Err(error) = forget.await {
            tracing::warn!(error = chain(&error), "deleting old records failed");
        }
    }
}
