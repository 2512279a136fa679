//! A line a minute about what was delivered, for those who live by logs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Shared;

const INTERVAL: Duration = Duration::from_mins(1);
/// The error rate looks back over so many lines: one failed retry in a quiet minute must not stand for all the rest,
/// or an alarm on the rate would cry wolf after each crowd.
const RATE_MINUTES: usize = 5;
/// Eight buckets for each doubling: a percentile is off by 9 % at the most.
const PER_DOUBLING: u32 = 8;
const BUCKETS: usize = (PER_DOUBLING * 40) as usize;

/// What happened since the last line.
#[derive(Debug)]
struct Minute {
    delivered: u64,
    failed: u64,
    dead: u64,
    longest: Duration,
    /// How many were delivered with a lateness in each bucket, exponentially wide.
    lateness: Box<[u64; BUCKETS]>,
}

impl Default for Minute {
    fn default() -> Self {
        Self { delivered: 0, failed: 0, dead: 0, longest: Duration::ZERO, lateness: Box::new([0; BUCKETS]) }
    }
}

impl Minute {
    fn add(&mut self, lateness: Duration) {
        self.delivered += 1;
        self.longest = self.longest.max(lateness);
        let ms = lateness.as_millis().max(1) as f64;
        let bucket = (ms.log2() * f64::from(PER_DOUBLING)) as usize;
        if let Some(count) = self.lateness.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
    }

    /// In milliseconds: the upper edge of the bucket in which the `share` lies, but never over the longest.
    fn percentile(&self, share: f64) -> u64 {
        let rank = (self.delivered as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.lateness.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                let edge = ((bucket + 1) as f64 / f64::from(PER_DOUBLING)).exp2();
                return (edge as u64).min(self.longest.as_millis() as u64);
            }
        }
        0
    }
}

/// The running minute, and the attempts of those before it: delivered, failed.
#[derive(Debug, Default)]
struct Figures {
    minute: Minute,
    recent: VecDeque<(u64, u64)>,
}

impl Figures {
    /// Ends the minute. Tells its figures, and which share of the attempts of the last five failed, in percent.
    fn turn(&mut self) -> (Minute, f64) {
        let minute = std::mem::take(&mut self.minute);
        self.recent.push_back((minute.delivered, minute.failed));
        if self.recent.len() > RATE_MINUTES {
            self.recent.pop_front();
        }
        let (delivered, failed) =
            self.recent.iter().fold((0, 0), |sum, minute| (sum.0 + minute.0, sum.1 + minute.1));
        let attempts = (delivered + failed).max(1);
        (minute, failed as f64 * 100.0 / attempts as f64)
    }
}

/// The counts, and the lateness from when it could be sent to 2xx.
#[derive(Debug, Default)]
pub(super) struct Report(Mutex<Figures>);

impl Report {
    pub(super) fn delivered(&self, lateness: Duration) {
        self.with(|figures| figures.minute.add(lateness));
    }

    pub(super) fn failed(&self) {
        self.with(|figures| figures.minute.failed += 1);
    }

    pub(super) fn dead(&self) {
        self.with(|figures| figures.minute.dead += 1);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Figures) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes the line each minute in which something happened.
pub(super) async fn run(shared: &Shared) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        log(shared);
    }
}

/// Writes the line now, if something happened since the last.
pub(super) fn log(shared: &Shared) {
    let (minute, error_rate_percent) = shared.report.with(Figures::turn);
    if minute.delivered + minute.failed == 0 {
        return;
    }
    tracing::info!(
        delivered = minute.delivered,
        failed = minute.failed,
        dead = minute.dead,
        error_rate_percent,
        lateness_p50_ms = minute.percentile(0.50),
        lateness_p99_ms = minute.percentile(0.99),
        lateness_max_ms = minute.longest.as_millis() as u64,
        "deliveries"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_close_to_the_exact_one() {
        let mut minute = Minute::default();
        for ms in 1..=1000 {
            minute.add(Duration::from_millis(ms));
        }
        for (share, exact) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = minute.percentile(share) as f64;
            assert!((found / exact - 1.0).abs() < 0.1, "{share}: {found}");
        }
        assert_eq!(minute.percentile(1.0), 1000);
    }

    #[test]
    fn the_error_rate_looks_back_over_five_minutes() {
        let mut figures = Figures::default();
        let per_mille = |figures: &mut Figures| (figures.turn().1 * 10.0).round() as u64;
        figures.minute.delivered = 999;
        assert_eq!(per_mille(&mut figures), 0);
        figures.minute.failed = 1;
        assert_eq!(per_mille(&mut figures), 1, "one failed retry after a crowd");
        for _ in 0..3 {
            assert_eq!(per_mille(&mut figures), 1);
        }
        assert_eq!(per_mille(&mut figures), 1000, "the crowd is over five minutes ago");
        assert_eq!(per_mille(&mut figures), 0, "and so is the failure");
    }

    #[test]
    fn an_empty_minute_has_no_lateness() {
        assert_eq!(Minute::default().percentile(0.99), 0);
    }
}
