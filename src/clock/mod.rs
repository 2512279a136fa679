//! The only source of time: a lint rejects other uses of the clock.

pub mod heartbeat;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

/// Maximum difference between the local clock and the database's, in either direction.
pub const MAX_SKEW: TimeDelta = TimeDelta::seconds(5);

/// UTC for instants, monotonic for elapsed time.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the current instant in UTC, in whole microseconds, the precision of PostgreSQL.
    fn now(&self) -> DateTime<Utc>;

    /// Returns a monotonic reading, to measure elapsed time.
    #[expect(clippy::disallowed_methods, reason = "this is the source of elapsed time")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    /// Returns the uncorrected reading, to be compared with the database's clock; see [`SteadyClock`].
    fn reading(&self) -> DateTime<Utc> {
        self.now()
    }

    /// Reports that `reading` (UTC), taken at `at`, agreed with the database's clock.
    fn confirm(&self, _reading: DateTime<Utc>, _at: Instant) {}
}

pub type SharedClock = Arc<dyn Clock>;

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the source of time")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}

/// A clock that ignores a jump of another clock until the database confirms it: until then it adds the elapsed time to the
/// last confirmed reading. Otherwise an unconfirmed jump, which lasts seconds, could date a retry hours ahead.
#[derive(Debug)]
pub struct SteadyClock {
    clock: SharedClock,
    confirmed: Mutex<Option<(DateTime<Utc>, Instant)>>,
}

impl SteadyClock {
    /// Follows `clock` until the first confirmation.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, confirmed: Mutex::default() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> DateTime<Utc> {
        let (reading, at) = (self.clock.now(), self.clock.monotonic());
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((confirmed, confirmed_at)) = confirmed else {
            return reading;
        };
        let elapsed = at.saturating_duration_since(confirmed_at);
        let elapsed = TimeDelta::from_std(elapsed).unwrap_or(TimeDelta::MAX);
        match confirmed.checked_add_signed(elapsed) {
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

    fn confirm(&self, reading: DateTime<Utc>, at: Instant) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some((reading, at));
    }
}

/// A clock that stands still until it is set, for tests and simulations.
#[derive(Debug)]
pub struct SettableClock(Mutex<DateTime<Utc>>);

impl SettableClock {
    #[must_use]
    pub fn new(now: DateTime<Utc>) -> Self {
        Self(Mutex::new(now))
    }

    pub fn set(&self, now: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves by `by`, which may be negative.
    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for SettableClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of the operating system with a settable elapsed time, for tests of timeouts.
#[derive(Debug)]
pub struct Stopwatch {
    began: Instant,
    passed: Mutex<Duration>,
}

impl Stopwatch {
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

    /// A clock with a settable reading (seconds since the epoch) and elapsed time (seconds).
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
    fn a_jump_takes_effect_once_the_database_confirms_it() {
        let machine = Arc::new(Machine(SystemClock.monotonic(), Mutex::default()));
        let steady = SteadyClock::new(Arc::clone(&machine) as SharedClock);
        let now = |reads, elapsed| {
            machine.set(reads, elapsed);
            steady.now().timestamp()
        };
        assert_eq!(now(160, 0), 160, "nothing is confirmed yet");
        machine.set(100, 0);
        steady.confirm(steady.reading(), steady.monotonic());
        for jumped in [170, 50, 86_400] {
            assert_eq!(now(jumped, 10), 110, "{jumped}");
        }
        assert_eq!((now(115, 10), now(116, 10)), (115, 110), "5 s are tolerated");
        machine.set(170, 10);
        steady.confirm(steady.reading(), steady.monotonic());
        assert_eq!((now(172, 12), now(112, 12)), (172, 172));
    }
}
