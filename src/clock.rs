//! Where time comes from. Nothing else in the crate reads a clock: a lint refuses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound as _, Utc};

/// The one source of time: UTC for instants, monotonic for elapsed time.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// The current instant, UTC, in whole microseconds: what Postgres gives back is what was written.
    fn now(&self) -> DateTime<Utc>;

    /// A monotonic reading, for measuring how long something took.
    #[expect(clippy::disallowed_methods, reason = "this is where elapsed time comes from")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that is handed to every stage.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}

/// A clock that stands still until it is set: for tests and for simulated years.
#[derive(Debug)]
pub struct SettableClock(Mutex<DateTime<Utc>>);

impl SettableClock {
    /// Starts at `now` (UTC).
    #[must_use]
    pub fn new(now: DateTime<Utc>) -> Self {
        Self(Mutex::new(now))
    }

    /// Jumps to `now` (UTC), forwards or backwards.
    pub fn set(&self, now: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves by `by`, which may be negative.
    pub fn advance(&self, by: chrono::TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for SettableClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The machine's clock, but for elapsed time, which passes as it is told: for tests of what happens after minutes.
#[derive(Debug)]
pub struct Stopwatch {
    began: Instant,
    passed: Mutex<Duration>,
}

impl Stopwatch {
    /// Lets time pass.
    pub fn pass(&self, by: Duration) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            began: SystemClock.monotonic(),
            passed: Mutex::default(),
        }
    }
}

impl Clock for Stopwatch {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now()
    }

    fn monotonic(&self) -> Instant {
        self.began + *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
