//! The scheduler: the state that the stages before the queue and the sweep share. Each stage is a file; `tick.rs` runs them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::queue::{Queue, QueueError};
use super::trace::Tracer;
use crate::clock::SharedClock;
use crate::clock::heartbeat::Heartbeat;
use crate::model::{Schedule, SpanContext};
use crate::pipeline::clock_offset::{ClockOffset, ClockOffsetError};
use crate::store::{Store, StoreError};

/// Why a tick is incomplete. Its work so far is committed; the next tick does the rest.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Nothing was done.
    #[error(transparent)]
    ClockOffset(#[from] ClockOffsetError),
}

#[derive(Debug, Clone)]
pub(crate) struct SchedulerOptions {
    pub(crate) horizon: Duration,
    /// An event that is still unsent this long after its lateness began is skipped.
    pub(crate) late_max: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_attempts: u32,
    /// Events that lost several workers are retried after this long, and up to twice as long.
    pub(crate) retry_spread: Duration,
    /// The channels whose events are not retried after an unknown outcome.
    pub(crate) give_up: Vec<String>,
    pub(crate) keep_events: TimeDelta,
    pub(crate) keep_audit: TimeDelta,
    pub(crate) tracer: Tracer,
}

/// What the stages of one tick share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) now: DateTime<Utc>,
    /// The span of the tick. None: the stages are not traced.
    pub(super) span: Option<SpanContext>,
}

pub(super) type Result<T, E = TickError> = std::result::Result<T, E>;

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tick {
    pub planned: u64,
    /// Events claimed.
    pub due: u64,
    /// Events whose pack the queue confirmed, also of packs that earlier ticks left in the outbox.
    pub enqueued: u64,
    /// Events whose pack the queue did not confirm; it is sent again.
    pub failed: u64,
    /// Events that are too late, or that were learned too late.
    pub skipped: u64,
    pub elapsed_ms: u64,
}

impl Tick {
    pub(super) fn is_empty(&self) -> bool {
        Self { elapsed_ms: 0, ..*self } == Self::default()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.planned += other.planned;
        self.due += other.due;
        self.enqueued += other.enqueued;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

#[derive(Debug, Clone)]
pub struct Scheduler {
    pub(super) store: Store,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: SharedClock,
    pub(super) schedule: Arc<Schedule>,
    pub(super) kinds: Vec<String>,
    pub(super) options: SchedulerOptions,
    pub(super) heartbeat: Heartbeat,
    pub(super) plan_heartbeat: Heartbeat,
}

impl Scheduler {
    pub(crate) fn new(
        store: Store,
        queue: Arc<dyn Queue>,
        clock: SharedClock,
        schedule: Arc<Schedule>,
        options: SchedulerOptions,
        (heartbeat, plan_heartbeat): (Heartbeat, Heartbeat),
    ) -> Self {
        let kinds = schedule.kinds.keys().cloned().collect();
        Self { store, queue, clock, schedule, kinds, options, heartbeat, plan_heartbeat }
    }

    pub(super) async fn check_clock(&self, now: DateTime<Utc>) -> Result<()> {
        Ok(ClockOffset::measure_at(now, &*self.clock, &self.store).await?.ensure_within_limit()?)
    }
}
