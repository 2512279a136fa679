//! Whether the stages live: each touches its beat when it made progress, and whoever asks sees how long ago.
//!
//! A stage that works, but without success because something else is unavailable, turns its beat: it is not ready for work,
//! but it is not stuck either, and to start it anew would not help.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::SharedClock;

/// The pulse of one stage. Cheap to touch, and shared by its clones.
#[derive(Debug, Clone)]
pub struct Beat {
    clock: SharedClock,
    born: Instant,
    /// Milliseconds after `born`, plus one; 0 before the first touch.
    last: Arc<AtomicU64>,
    /// The same, of the last touch or turn.
    turned: Arc<AtomicU64>,
}

impl Beat {
    /// Not touched yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { born: clock.monotonic(), clock, last: Arc::default(), turned: Arc::default() }
    }

    /// Notes progress.
    pub fn touch(&self) {
        self.last.store(self.mark(), Ordering::Relaxed);
        self.turn();
    }

    /// Notes that the stage went round, be it without success.
    pub fn turn(&self) {
        self.turned.store(self.mark(), Ordering::Relaxed);
    }

    /// How long ago the last touch was; none if there never was one.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.since(last))
    }

    /// How long ago the stage went round, or was made.
    #[must_use]
    pub fn turned_age(&self) -> Duration {
        self.since(self.turned.load(Ordering::Relaxed).saturating_sub(1))
    }

    fn mark(&self) -> u64 {
        self.clock.monotonic().duration_since(self.born).as_millis() as u64 + 1
    }

    fn since(&self, mark: u64) -> Duration {
        self.clock.monotonic().duration_since(self.born).saturating_sub(Duration::from_millis(mark))
    }
}
