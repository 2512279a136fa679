use chrono::{DateTime, TimeDelta, Utc};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Allowed at once.
    pub(super) burst: u32,
    /// Time until one more is allowed.
    pub(super) interval: TimeDelta,
}

/// A token bucket on the wall clock.
#[derive(Debug)]
pub(super) struct RateLimit {
    rate: Rate,
    left: u32,
    /// The instant (UTC) of the last addition.
    refilled_at: DateTime<Utc>,
}

impl RateLimit {
    pub(super) fn new(rate: Rate, now: DateTime<Utc>) -> Self {
        Self { rate, left: rate.burst, refilled_at: now }
    }

    pub(super) fn take(&mut self, now: DateTime<Utc>) -> bool {
        let is_allowed = self.is_open(now);
        self.left = self.left.saturating_sub(1);
        is_allowed
    }

    /// Whether the next [`take`](Self::take) is allowed.
    pub(super) fn is_open(&mut self, now: DateTime<Utc>) -> bool {
        let added =
            (now - self.refilled_at).num_milliseconds().max(0) / self.rate.interval.num_milliseconds();
        if added > 0 || now < self.refilled_at {
            let added = u32::try_from(added).unwrap_or(self.rate.burst);
            self.left = self.left.saturating_add(added).min(self.rate.burst);
            self.refilled_at = now;
        }
        self.left > 0
    }

    /// Whether nothing has been taken that is not allowed again.
    pub(super) fn is_full(&mut self, now: DateTime<Utc>) -> bool {
        self.is_open(now) && self.left == self.rate.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 100, interval: TimeDelta::seconds(6) };

    #[test]
    fn requests_are_allowed_up_to_a_rate() {
        let at = |ms| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms);
        let mut limit = RateLimit::new(RATE, at(0));
        let mut allowed = |from: i64, to: i64| (from..to).filter(|ms| limit.take(at(*ms))).count();
        assert_eq!(allowed(0, 5000), 100, "a burst");
        assert_eq!(allowed(5000, 65_000), 10, "a minute with many more");
        assert_eq!(allowed(10_000_000, 10_001_000), 100, "after hours without any");
    }

    #[test]
    fn a_clock_that_jumps_does_not_raise_the_limit() {
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let mut limit = RateLimit { rate: RATE, left: 0, refilled_at: at(1000) };
        assert!(!limit.take(at(0)));
        assert!(!limit.take(at(5)));
        assert!(limit.take(at(6)));
    }
}
