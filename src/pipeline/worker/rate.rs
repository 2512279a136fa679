//! The cap on requests per second: for a backlog, and for receivers that ask for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::SharedClock;

/// A token bucket.
#[derive(Debug)]
pub(super) struct Rate {
    /// 0: no cap.
    per_second: u32,
    capacity: f64,
    bucket: Mutex<(f64, Instant)>,
    clock: SharedClock,
}

impl Rate {
    /// Admits `per_second`, and at once what fills the bucket in `burst`, but at least one. 0 is no limit.
    pub(super) fn new(per_second: u32, burst: Duration, clock: SharedClock) -> Self {
        let capacity = (f64::from(per_second) * burst.as_secs_f64()).max(1.0);
        Self { per_second, capacity, bucket: Mutex::new((capacity, clock.monotonic())), clock }
    }

    /// Waits until at least one request is admitted, and takes up to `most`.
    pub(super) async fn take(&self, most: usize) -> usize {
        loop {
            match self.try_take(most, self.clock.monotonic()) {
                Ok(taken) => return taken,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// The bucket as it is now.
    fn filled(&self, now: Instant) -> MutexGuard<'_, (f64, Instant)> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.1).as_secs_f64();
        let filled = bucket.0 + passed * f64::from(self.per_second);
        *bucket = (filled.min(self.capacity), now.max(bucket.1));
        bucket
    }

    fn try_take(&self, most: usize, now: Instant) -> Result<usize, Duration> {
        if self.per_second == 0 {
            return Ok(most);
        }
        let rate = f64::from(self.per_second);
        let mut bucket = self.filled(now);
        if bucket.0 < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.0) / rate));
        }
        let taken = (bucket.0 as usize).min(most);
        bucket.0 -= taken as f64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock as _, Stopwatch, SystemClock};

    const SECOND: Duration = Duration::from_secs(1);
    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn a_full_bucket_admits_a_burst_and_then_the_cap() {
        let clock = Arc::new(SystemClock);
        let began = clock.monotonic();
        let rate = Rate::new(100, SECOND, clock);
        let mut taken = 0;
        for ms in 0..3000 {
            taken += rate.try_take(10, began + Duration::from_millis(ms)).unwrap_or(0);
        }
        // A second's worth at once, and then what flows in.
        assert!((398..=400).contains(&taken), "{taken}");
    }

    #[test]
    fn without_a_cap_everything_passes() {
        let clock = Arc::new(SystemClock);
        let now = clock.monotonic();
        assert_eq!(Rate::new(0, TENTH, clock).try_take(10_000, now), Ok(10_000));
    }

    #[test]
    fn any_second_admits_hardly_more_than_the_cap() {
        for (per_second, at_once) in [(1, 1), (5, 1), (100, 10), (10_000, 1000)] {
            let watch = Arc::new(Stopwatch::default());
            let rate = Rate::new(per_second, TENTH, Arc::clone(&watch) as SharedClock);
            // However long it was idle.
            watch.pass(Duration::from_hours(1));
            let mut passed: Vec<usize> = vec![rate.try_take(usize::MAX, watch.monotonic()).unwrap_or(0)];
            assert_eq!(passed[0], at_once);
            for _ in 0..400 {
                watch.pass(TENTH / 4);
                passed.push(rate.try_take(usize::MAX, watch.monotonic()).unwrap_or(0));
            }
            let most = passed.windows(40).map(|second| second.iter().sum::<usize>()).max();
            assert!(most <= Some(per_second as usize + at_once), "{per_second}: {most:?}");
            let all: usize = passed.iter().sum();
            assert!(all >= per_second as usize * 10, "{per_second}: {all} in 10 s");
        }
    }
}
