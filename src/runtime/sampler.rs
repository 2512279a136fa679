//! Gauges that no stage sets: the queue, the clock and the backlog.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::clock::SharedClock;
use crate::http::Health;
use crate::pipeline::clock_offset::ClockOffset;
use crate::pipeline::queue::Queue;
use crate::store::Store;
use crate::store::chain;

/// Between two samples. Each costs two requests to the queue.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(15);

/// Sets the gauges until it is cancelled; those of the backlog only where a scheduler runs, since they are the same for all
/// processes.
pub(super) async fn run(
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
    health: Arc<Health>,
    metrics: PrometheusHandle,
    backlog: bool,
) {
    loop {
        match queue.depth().await {
            Ok(depth) => {
                health.set_queue_available(true);
                gauge!("bday_queue_messages", "state" => "visible").set(depth.visible as f64);
                gauge!("bday_queue_messages", "state" => "in_flight").set(depth.in_flight as f64);
                gauge!("bday_dead_letters").set(depth.dead_letters as f64);
            }
            Err(error) => {
                health.set_queue_available(false);
                tracing::warn!(%error, "queue depth unknown");
            }
        }
        match ClockOffset::measure(&*clock, &store).await {
            Ok(offset) => gauge!("bday_clock_offset_seconds").set(offset.value().as_seconds_f64()),
            Err(error) => tracing::warn!(error = chain(&error), "clock skew unknown"),
        }
        if backlog {
            sample_backlog(&store, clock.now()).await;
        }
        metrics.run_upkeep();
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
}

async fn sample_backlog(store: &Store, now: DateTime<Utc>) {
    match store.backlog(now).await {
        Ok(backlog) => {
            let age = backlog.oldest_at.map_or(TimeDelta::zero(), |at| (now - at).max(TimeDelta::zero()));
            gauge!("bday_events_waiting").set(backlog.waiting() as f64);
            gauge!("bday_events_delivering").set(backlog.delivering as f64);
            gauge!("bday_events_waiting_oldest_age_seconds").set(age.as_seconds_f64());
            if backlog.waiting() > 0 {
                tracing::info!(
                    waiting = backlog.waiting(),
                    delivering = backlog.delivering,
                    oldest_age_secs = age.num_seconds(),
                    "backlog"
                );
            }
        }
        Err(error) => tracing::warn!(error = chain(&error), "backlog unknown"),
    }
}
