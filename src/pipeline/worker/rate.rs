//! A cap on how much is sent per second: for a backlog, and for receivers that ask for it.
//!
//! There are two buckets. The one in front of the receive holds a second's worth, so that no more is held here than can be
//! sent soon. The one in front of the lease is small: what was held for long, as in an outage of the database, goes out no
//! faster than anything else.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::SharedClock;

/// A bucket that holds a while's worth of messages, and fills all the time.
#[derive(Debug)]
pub(super) struct Rate {
    /// 0: no cap.
    per_second: u32,
    capacity: f64,
    bucket: Mutex<(f64, Instant)>,
    clock: SharedClock,
}

/// What is used this long after it was taken is taken once more: the bucket has filled up since.
const EXPIRES: Duration = Duration::from_secs(1);

impl Rate {
    /// So many `per_second`, and at once what comes in `burst`, but at least one.
    pub(super) fn new(per_second: u32, burst: Duration, clock: SharedClock) -> Self {
        let capacity = (f64::from(per_second) * burst.as_secs_f64()).max(1.0);
        Self {
            per_second,
            capacity,
            bucket: Mutex::new((capacity, clock.monotonic())),
            clock,
        }
    }

    /// Waits until at least one message may be sent, and takes up to `most`.
    pub(super) async fn take(&self, most: usize) -> usize {
        loop {
            match self.try_take(most, self.clock.monotonic()) {
                Ok(taken) => return taken,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Takes up to `most` of what may be sent at this moment. If that is none: how long until there is one.
    pub(super) fn take_now(&self, most: usize) -> Result<usize, Duration> {
        self.try_take(most, self.clock.monotonic())
    }

    /// Gives back what was not needed.
    pub(super) fn give_back(&self, unused: usize) {
        self.add(unused as f64);
    }

    /// What was taken at `since` is used at this moment. If that is long ago, it is taken once more, so that what waited in
    /// several places, for a database that was away, does not add up.
    pub(super) fn used(&self, n: usize, since: Instant) {
        if self.clock.monotonic().saturating_duration_since(since) > EXPIRES {
            self.add(-(n as f64));
        }
    }

    fn add(&self, n: f64) {
        if self.per_second > 0 {
            let mut bucket = self.filled(self.clock.monotonic());
            bucket.0 = (bucket.0 + n).min(self.capacity);
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
    fn no_more_than_the_cap_passes_in_a_second_after_the_first() {
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
    fn what_is_given_back_can_be_taken_again() {
        let clock = Arc::new(SystemClock);
        let now = clock.monotonic();
        let rate = Rate::new(10, SECOND, clock);
        assert_eq!(rate.try_take(100, now), Ok(10));
        rate.give_back(4);
        assert_eq!(rate.try_take(100, now), Ok(4));
    }

    #[test]
    fn a_small_bucket_lets_hardly_more_than_the_cap_through_in_any_second_and_no_less_in_the_long_run() {
        for (per_second, at_once) in [(1, 1), (5, 1), (100, 10), (10_000, 1000)] {
            let watch = Arc::new(Stopwatch::default());
            let rate = Rate::new(per_second, TENTH, Arc::clone(&watch) as SharedClock);
            // However long it was idle.
            watch.pass(Duration::from_hours(1));
            let mut passed: Vec<usize> = vec![rate.take_now(usize::MAX).unwrap_or(0)];
            assert_eq!(passed[0], at_once);
            for _ in 0..400 {
                watch.pass(TENTH / 4);
                passed.push(rate.take_now(usize::MAX).unwrap_or(0));
            }
            let most = passed
                .windows(40)
                .map(|second| second.iter().sum::<usize>())
                .max();
            assert!(
                most <= Some(per_second as usize + at_once),
                "{per_second}: {most:?}"
            );
            let all: usize = passed.iter().sum();
            assert!(all >= per_second as usize * 10, "{per_second}: {all} in 10 s");
        }
    }

    #[test]
    fn what_waited_for_long_in_several_places_does_not_add_up() {
        let watch = Arc::new(Stopwatch::default());
        let rate = Rate::new(100, TENTH, Arc::clone(&watch) as SharedClock);
        let since = watch.monotonic();
        assert_eq!(rate.take_now(100), Ok(10));
        watch.pass(TENTH);
        assert_eq!(rate.take_now(100), Ok(10));
        // The database was away; now both go out, twice what the bucket holds, and the next one has to wait for that.
        watch.pass(Duration::from_mins(1));
        rate.used(10, since);
        rate.used(10, since);
        let wait = rate.take_now(100).expect_err("it is empty").as_millis();
        assert!((105..=115).contains(&wait), "{wait} ms");
        // Whoever is as quick as usual pays once.
        watch.pass(SECOND);
        let since = watch.monotonic();
        assert_eq!(rate.take_now(6), Ok(6));
        rate.used(6, since);
        assert_eq!(rate.take_now(100), Ok(4));
    }
}
