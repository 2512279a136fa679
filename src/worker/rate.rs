//! A cap on how much is sent per second: for a backlog, and for receivers that ask for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::SharedClock;

/// A bucket that holds one second's worth of messages, and fills all the time.
#[derive(Debug)]
pub(super) struct Rate {
    /// 0: no cap.
    per_second: u32,
    bucket: Mutex<(f64, Instant)>,
    clock: SharedClock,
}

impl Rate {
    pub(super) fn new(per_second: u32, clock: SharedClock) -> Self {
        let bucket = Mutex::new((f64::from(per_second), clock.monotonic()));
        Self {
            per_second,
            bucket,
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

    /// Gives back what was not needed.
    pub(super) fn give_back(&self, unused: usize) {
        if self.per_second > 0 && unused > 0 {
            self.bucket.lock().unwrap_or_else(PoisonError::into_inner).0 += unused as f64;
        }
    }

    fn try_take(&self, most: usize, now: Instant) -> Result<usize, Duration> {
        if self.per_second == 0 {
            return Ok(most);
        }
        let rate = f64::from(self.per_second);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = bucket.0 + now.saturating_duration_since(bucket.1).as_secs_f64() * rate;
        *bucket = (filled.min(rate), now);
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
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn no_more_than_the_cap_passes_in_a_second_after_the_first() {
        let clock = Arc::new(SystemClock);
        let began = clock.monotonic();
        let rate = Rate::new(100, clock);
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
        assert_eq!(Rate::new(0, clock).try_take(10_000, now), Ok(10_000));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let clock = Arc::new(SystemClock);
        let now = clock.monotonic();
        let rate = Rate::new(10, clock);
        assert_eq!(rate.try_take(100, now), Ok(10));
        rate.give_back(4);
        assert_eq!(rate.try_take(100, now), Ok(4));
    }
}
