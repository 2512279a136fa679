//! Gauges that no stage sets: queue, clock and backlog.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::clock::SharedClock;
use crate::http::Health;
use crate::pipeline::clock_offset::ClockOffset;
use crate::pipeline::queue::Queue;
use crate::store::{Store, chain};

/// A sample costs two requests to the queue.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(15);

pub(super) struct Sampler {
    pub(super) store: Store,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: SharedClock,
    pub(super) health: Arc<Health>,
    pub(super) metrics: PrometheusHandle,
    /// Only processes with a scheduler sample the backlog, which is the same for all.
    pub(super) has_scheduler: bool,
}

impl Sampler {
    pub(super) async fn run(self) -> Infallible {
        loop {
            self.sample_queue().await;
            match ClockOffset::measure(&*self.clock, &self.store).await {
                Ok(offset) => gauge!("bday_clock_offset_seconds").set(offset.value().as_seconds_f64()),
                Err(error) => tracing::warn!(error = chain(&error), "clock offset unknown"),
            }
            if self.has_scheduler {
                self.sample_backlog(self.clock.now()).await;
            }
            self.metrics.run_upkeep();
            tokio::time::sleep(SAMPLE_INTERVAL).await;
        }
    }

    async fn sample_queue(&self) {
        let depth = self.queue.depth().await;
        self.health.set_queue_available(depth.is_ok());
        match depth {
            Ok(depth) => {
                gauge!("bday_queue_messages", "state" => "visible").set(depth.visible as f64);
                gauge!("bday_queue_messages", "state" => "in_flight").set(depth.in_flight as f64);
                gauge!("bday_dead_letters").set(depth.dead_letters as f64);
            }
            Err(error) => tracing::warn!(%error, "queue depth unknown"),
        }
    }

    async fn sample_backlog(&self, now: DateTime<Utc>) {
        let backlog = match self.store.backlog(now).await {
            Ok(backlog) => backlog,
            Err(error) => return tracing::warn!(error = chain(&error), "backlog unknown"),
        };
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
}
