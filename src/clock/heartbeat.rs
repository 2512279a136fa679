//! The last progress of a stage, for health checks and the watchdog.
//!
//! A stage that fails because a dependency is unavailable is alive without progress: it is not ready, and a restart would not
//! help.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::SharedClock;

/// Clones share their state.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    clock: SharedClock,
    born: Instant,
    /// Milliseconds after `born`, plus one; 0 before the first progress.
    progress: Arc<AtomicU64>,
    /// Like `progress`, but set with or without progress.
    alive: Arc<AtomicU64>,
}

impl Heartbeat {
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { born: clock.monotonic(), clock, progress: Arc::default(), alive: Arc::default() }
    }

    pub fn progress(&self) {
        self.progress.store(self.mark(), Ordering::Relaxed);
        self.alive();
    }

    /// Records that the stage runs, with or without progress.
    pub fn alive(&self) {
        self.alive.store(self.mark(), Ordering::Relaxed);
    }

    /// Returns the time since the last progress; `None` before the first.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let last = self.progress.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.since(last))
    }

    /// Returns the time since [`alive`](Self::alive) or, before the first, since `new`.
    #[must_use]
    pub fn alive_age(&self) -> Duration {
        self.since(self.alive.load(Ordering::Relaxed).saturating_sub(1))
    }

    fn mark(&self) -> u64 {
        self.clock.monotonic().duration_since(self.born).as_millis() as u64 + 1
    }

    fn since(&self, mark: u64) -> Duration {
        self.clock.monotonic().duration_since(self.born).saturating_sub(Duration::from_millis(mark))
    }
}
