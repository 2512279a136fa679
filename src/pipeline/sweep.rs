//! Sweep: expired leases, packs that the queue has lost, rows past their retention, and the counts of past days.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use metrics::counter;

use super::scheduler::{Result, Scheduler, SchedulerOptions};
use crate::store::chain;

/// A confirmed pack that no worker has taken for this long is sent again if the queue is empty.
const RESEND_AFTER_IF_EMPTY: TimeDelta = TimeDelta::minutes(2);
/// It is sent again after this long in any case: a second copy is harmless.
const RESEND_AFTER: TimeDelta = TimeDelta::hours(2);
const RESEND_LIMIT: usize = 1000;
const DELETE_LIMIT: u32 = 1000;
const MAX_DELETE_BATCHES: usize = 20;
const KEEP_PLANNED_DAYS: TimeDelta = TimeDelta::days(40);
/// From the beginning of a date in UTC until it is over in the last zone, UTC-12. Its count is stored half a day before the statistics
/// read it.
const OVER_AFTER: TimeDelta = TimeDelta::hours(36);
const COUNTED_DAYS: TimeDelta = TimeDelta::days(400);
/// No date is counted that may have lost events to the retention: an event can end two days before its local date is over in every zone.
const RETENTION_MARGIN: TimeDelta = TimeDelta::days(3);
/// After this many events, the next minute counts the other dates: about half a second for the database.
const MAX_COUNTED_EVENTS: i64 = 500_000;

/// Returns the latest date that is over in every zone.
fn latest_past_date(now: DateTime<Utc>) -> NaiveDate {
    (now - OVER_AFTER).date_naive()
}

impl Scheduler {
    /// Makes events with an expired lease pending, or dead after their last attempt. Costs two statements if there are none.
    pub(super) async fn expire_leases(&self, now: DateTime<Utc>) -> Result<()> {
        let SchedulerOptions { max_attempts, retry_spread, give_up, .. } = &self.options;
        loop {
            let expired = self.store.expire_leases(now, *max_attempts, *retry_spread, give_up).await?;
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
    pub(super) async fn resend_lost_packs(&self, now: DateTime<Utc>) -> Result<()> {
        if self.queue.is_outbox() {
            return Ok(());
        }
        let depth = self.queue.depth().await?;
        let empty = depth.visible + depth.in_flight == 0;
        let before = now - if empty { RESEND_AFTER_IF_EMPTY } else { RESEND_AFTER };
        let resent = self.store.resend_packs(now, before, RESEND_LIMIT).await?;
        if resent > 0 {
            counter!("bday_packs_resent_total").increment(resent);
            tracing::warn!(packs = resent, "lost packs sent again");
        }
        Ok(())
    }

    /// Counts the events of dates that are over in every zone, for the statistics.
    pub(super) async fn count_days(&self, now: DateTime<Utc>) {
        let kept = self.options.keep_events - RETENTION_MARGIN;
        let from = (now - COUNTED_DAYS.min(kept)).date_naive();
        let to = latest_past_date(now);
        match self.store.count_days(now, (from, to), MAX_COUNTED_EVENTS).await {
            Ok(0) => {}
            Ok(days) => tracing::debug!(days, "days counted"),
            Err(error) => tracing::warn!(error = chain(&error), "counting days failed"),
        }
    }

    pub(super) async fn delete_old_rows(&self, now: DateTime<Utc>) {
        let (events, audit) = (self.options.keep_events, self.options.keep_audit);
        let delete = async {
            for _ in 0..MAX_DELETE_BATCHES {
                let deleted = self.store.forget_events(now - events, DELETE_LIMIT).await?;
                counter!("bday_events_forgotten_total").increment(deleted);
                if deleted < u64::from(DELETE_LIMIT) {
                    break;
                }
                // A backlog of old rows must not slow the deliveries.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.store.forget_planned_days(now - KEEP_PLANNED_DAYS).await?;
            self.store.clean_up(now, now - audit).await
        };
        if let Err(error) = delete.await {
            tracing::warn!(error = chain(&error), "deleting old rows failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_past_when_it_is_over_in_the_last_zone() {
        for (now, past) in [
            ("2026-05-10T11:59:59Z", "2026-05-08"),
            ("2026-05-10T12:00:00Z", "2026-05-09"),
            // The statistics read the stored count of this date from now on.
            ("2026-05-11T00:00:00Z", "2026-05-09"),
        ] {
            assert_eq!(latest_past_date(now.parse().expect("an instant")).to_string(), past, "{now}");
        }
    }
}
