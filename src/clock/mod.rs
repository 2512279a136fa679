//! Where time comes from. Nothing else in the crate reads a clock: a lint refuses it.

pub mod heartbeat;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

/// How far our clock may be from the database's, in either direction.
pub const MAX_SKEW: TimeDelta = TimeDelta::seconds(5);

/// The one source of time: UTC for instants, monotonic for elapsed time.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// The current instant, UTC, in whole microseconds: what Postgres gives back is what was written.
    fn now(&self) -> DateTime<Utc>;

    /// A monotonic reading, for measuring how long something took.
    #[expect(clippy::disallowed_methods, reason = "this is where elapsed time comes from")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    /// What the machine's clock reads, to be compared with the database's; see [`SteadyClock`].
    fn reading(&self) -> DateTime<Utc> {
        self.now()
    }

    /// The machine's clock read `reading` (UTC) at `at`, and agreed with the database's.
    fn agreed(&self, _reading: DateTime<Utc>, _at: Instant) {}
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

/// A clock that does not follow a jump of another before the database confirms it: until then elapsed time is added to the last
/// confirmed reading. A jump is noticed within seconds; a retry or a hidden pack that was dated by it would wait as long as
/// the jump is wide.
#[derive(Debug)]
pub struct SteadyClock {
    clock: SharedClock,
    confirmed: Mutex<Option<(DateTime<Utc>, Instant)>>,
}

impl SteadyClock {
    /// Follows `clock` until its first confirmation.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, confirmed: Mutex::default() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> DateTime<Utc> {
        let (reading, at) = (self.clock.now(), self.clock.monotonic());
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((was, then)) = confirmed else {
            return reading;
        };
        let elapsed = TimeDelta::from_std(at.saturating_duration_since(then)).unwrap_or(TimeDelta::MAX);
        match was.checked_add_signed(elapsed) {
            Some(expected) if (reading - expected).abs() > MAX_SKEW => expected.trunc_subsecs(6),
            _ => reading,
        }
    }

    fn monotonic(&self) -> Instant {
        self.clock.monotonic()
    }

    fn reading(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn agreed(&self, reading: DateTime<Utc>, at: Instant) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some((reading, at));
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
        Self { began: SystemClock.monotonic(), passed: Mutex::default() }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since the epoch that the clock reads, and seconds that have elapsed.
    #[derive(Debug)]
    struct Machine(Instant, Mutex<(i64, u64)>);

    impl Machine {
        fn set(&self, reads: i64, elapsed: u64) {
            *self.1.lock().expect("no panic") = (reads, elapsed);
        }
    }

    impl Clock for Machine {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH + TimeDelta::seconds(self.1.lock().expect("no panic").0)
        }

        fn monotonic(&self) -> Instant {
            self.0 + Duration::from_secs(self.1.lock().expect("no panic").1)
        }
    }

    #[test]
    fn a_jump_is_followed_once_the_database_confirms_it() {
        let machine = Arc::new(Machine(SystemClock.monotonic(), Mutex::default()));
        let steady = SteadyClock::new(Arc::clone(&machine) as SharedClock);
        let now = |reads, elapsed| {
            machine.set(reads, elapsed);
            steady.now().timestamp()
        };
        assert_eq!(now(160, 0), 160, "nothing is confirmed yet");
        machine.set(100, 0);
        steady.agreed(steady.reading(), steady.monotonic());
        for jumped in [170, 50, 86_400] {
            assert_eq!(now(jumped, 10), 110, "{jumped}");
        }
        assert_eq!((now(115, 10), now(116, 10)), (115, 110), "5 s are tolerated");
        machine.set(170, 10);
        steady.agreed(steady.reading(), steady.monotonic());
        assert_eq!((now(172, 12), now(112, 12)), (172, 172));
    }
}
