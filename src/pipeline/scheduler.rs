//! The scheduler: the state that the stages before the queue share. Each stage is a file; [`super::passes`] runs them.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;

use super::queue::{Queue, QueueError};
use crate::clock::SharedClock;
use crate::clock::heartbeat::Heartbeat;
use crate::model::Schedule;
use crate::pipeline::clock_offset::WrongClock;
use crate::store::{Store, StoreError};

/// Why a pass is incomplete. Its work so far is committed; the next pass does the rest.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// This machine's clock differs from the database's. Nothing was done.
    #[error(transparent)]
    Clock(#[from] WrongClock),
}

#[derive(Debug, Clone)]
pub(crate) struct SchedulerOptions {
    pub(crate) horizon: Duration,
    /// An event that is still unsent this long after its lateness began is skipped.
    pub(crate) late_max: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_attempts: u32,
    /// The interval over which events that lost several workers are spread.
    pub(crate) retry_spread: Duration,
    /// How long finished events and their attempts are kept.
    pub(crate) keep_events: TimeDelta,
    pub(crate) keep_audit: TimeDelta,
}

pub(super) type Result<T, E = TickError> = std::result::Result<T, E>;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tick {
    /// Events planned.
    pub planned: u64,
    /// Due events claimed.
    pub due: u64,
    /// Events that the queue has confirmed: of these, and of packs left in the outbox.
    pub enqueued: u64,
    /// Events whose pack was not confirmed; it is sent again.
    pub failed: u64,
    /// Events skipped: too late, or learned too late.
    pub skipped: u64,
    /// The duration.
    pub elapsed_ms: u64,
}

impl Tick {
    pub(super) fn add(&mut self, other: &Self) {
        self.planned += other.planned;
        self.due += other.due;
        self.enqueued += other.enqueued;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// The stages before the queue, and the sweep.
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
}
