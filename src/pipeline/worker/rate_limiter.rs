//! The rate limit for requests: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::SharedClock;

/// The part of a second's requests that may be sent at once; at least one may.
const BURST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct RateLimiter {
    per_second: u32,
    capacity: f64,
    bucket: Mutex<(f64, Instant)>,
    clock: SharedClock,
}

impl RateLimiter {
    /// `per_second` 0 is no limit.
    pub(super) fn new(per_second: u32, clock: SharedClock) -> Self {
        let capacity = (f64::from(per_second) * BURST.as_secs_f64()).max(1.0);
        Self { per_second, capacity, bucket: Mutex::new((capacity, clock.monotonic())), clock }
    }

    /// Waits until at least one request may be sent; returns how many may, up to `max`.
    pub(super) async fn acquire(&self, max: usize) -> usize {
        loop {
            match self.try_acquire(max, self.clock.monotonic()) {
                Ok(acquired) => return acquired,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// The error is how long to wait.
    fn try_acquire(&self, max: usize, now: Instant) -> Result<usize, Duration> {
        if self.per_second == 0 {
            return Ok(max);
        }
        let rate = f64::from(self.per_second);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, filled_at) = *bucket;
        let passed = now.saturating_duration_since(filled_at).as_secs_f64();
        let tokens = (tokens + passed * rate).min(self.capacity);
        let acquired = (tokens as usize).min(max);
        *bucket = (tokens - acquired as f64, now.max(filled_at));
        if tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - tokens) / rate));
        }
        Ok(acquired)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock as _, Stopwatch, SystemClock};

    #[test]
    fn without_a_limit_all_requests_are_admitted() {
        let clock = Arc::new(SystemClock);
        let now = clock.monotonic();
        assert_eq!(RateLimiter::new(0, clock).try_acquire(10_000, now), Ok(10_000));
    }

    #[test]
    fn any_second_admits_no_more_than_the_limit_and_a_burst() {
        for (per_second, at_once) in [(1, 1), (5, 1), (100, 10), (10_000, 1000)] {
            let watch = Arc::new(Stopwatch::default());
            let limiter = RateLimiter::new(per_second, Arc::clone(&watch) as SharedClock);
            watch.pass(Duration::from_hours(1));
            let mut passed: Vec<usize> =
                vec![limiter.try_acquire(usize::MAX, watch.monotonic()).unwrap_or(0)];
            assert_eq!(passed[0], at_once);
            for _ in 0..400 {
                watch.pass(BURST / 4);
                passed.push(limiter.try_acquire(usize::MAX, watch.monotonic()).unwrap_or(0));
            }
            let most = passed.windows(40).map(|second| second.iter().sum::<usize>()).max();
            assert!(most <= Some(per_second as usize + at_once), "{per_second}: {most:?}");
            let all: usize = passed.iter().sum();
            assert!(all >= per_second as usize * 10, "{per_second}: {all} in 10 s");
        }
    }
}
