//! Whether the stages live: each touches its beat when it made progress, and whoever asks sees how long ago.

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
}

impl Beat {
    /// Not touched yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            born: clock.monotonic(),
            clock,
            last: Arc::default(),
        }
    }

    /// Notes progress.
    pub fn touch(&self) {
        let age = self.clock.monotonic().duration_since(self.born).as_millis() as u64;
        self.last.store(age + 1, Ordering::Relaxed);
    }

    /// How long ago the last touch was; none if there never was one.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.clock
                .monotonic()
                .duration_since(self.born)
                .saturating_sub(Duration::from_millis(last)),
        )
    }
}
