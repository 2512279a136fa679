//! The scheduler: what the stages in front of the queue share. Each stage is a file; [`super::passes`] runs them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::queue::{Queue, QueueError};
use crate::clock::SharedClock;
use crate::health::Beat;
use crate::model::Schedule;
use crate::skew::{Skew, WrongClock};
use crate::store::{Store, StoreError};

/// Why a pass did not do all of its work. What it did is committed; the next pass does the rest.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// This machine's clock, or the database's. Nothing was done.
    #[error(transparent)]
    Clock(#[from] WrongClock),
}

/// How the scheduler works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far ahead events are planned.
    pub horizon: Duration,
    /// An event that is still unsent this long after its lateness began is skipped.
    pub late_max: Duration,
    /// Of a worker: a pack is a part of it.
    pub max_in_flight: usize,
    /// After this many attempts an event is dead.
    pub max_attempts: u32,
    /// How far events are spread that lost several workers.
    pub retry_spread: Duration,
    /// How long records are kept.
    pub retention: Retention,
}

/// How long records are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Finished events, with their attempts.
    pub events: TimeDelta,
    /// The audit log of the API.
    pub audit: TimeDelta,
}

/// How far a claim goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Until nothing is due.
    All,
    /// For this long at most, and not while many events wait for workers.
    Paced(Duration),
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tick {
    /// Events planned.
    pub planned: u64,
    /// Events claimed because they were due.
    pub due: u64,
    /// Of these, and of packs that were left, events that the queue has confirmed.
    pub enqueued: u64,
    /// Events whose pack was not confirmed; it is sent again.
    pub failed: u64,
    /// Events skipped: too late, or learned too late.
    pub skipped: u64,
    /// How long it took.
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

    pub(super) fn is_idle(&self) -> bool {
        Self { elapsed_ms: 0, ..*self } == Self::default()
    }
}

/// The stages in front of the queue, and the sweep.
#[derive(Debug, Clone)]
pub struct Scheduler {
    pub(super) store: Store,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: SharedClock,
    pub(super) schedule: Arc<Schedule>,
    pub(super) kinds: Vec<String>,
    pub(super) options: Options,
    pub(super) beat: Beat,
    pub(super) plan_beat: Beat,
}

impl Scheduler {
    /// `beat` and `plan_beat` tell health that ticks and planning make progress.
    #[must_use]
    pub fn new(
        store: Store,
        queue: Arc<dyn Queue>,
        clock: SharedClock,
        schedule: Arc<Schedule>,
        options: Options,
        (beat, plan_beat): (Beat, Beat),
    ) -> Self {
        let kinds = schedule.kinds.keys().cloned().collect();
        Self { store, queue, clock, schedule, kinds, options, beat, plan_beat }
    }

    pub(super) async fn check_clock(&self, now: DateTime<Utc>) -> Result<(), TickError> {
        Ok(Skew::of(now, &*self.clock, &self.store).await?.check()?)
    }
}
