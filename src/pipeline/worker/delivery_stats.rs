//! Delivery statistics: a log line for each minute.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Shared;

const INTERVAL: Duration = Duration::from_mins(1);
/// The error rate covers several minutes: one failed retry in a quiet minute must not raise an alarm.
const RATE_MINUTES: usize = 5;

#[derive(Debug, Default)]
struct Minute {
    delivered: u64,
    failed: u64,
    dead: u64,
    longest_ms: u64,
    /// Deliveries by lateness in milliseconds, rounded up.
    lateness: BTreeMap<u64, u64>,
}

impl Minute {
    fn add(&mut self, lateness: Duration) {
        let ms = lateness.as_millis().max(1) as u64;
        self.delivered += 1;
        self.longest_ms = self.longest_ms.max(ms);
        *self.lateness.entry(round_up(ms)).or_default() += 1;
    }

    fn percentile(&self, fraction: f64) -> u64 {
        let rank = (self.delivered as f64 * fraction).ceil() as u64;
        let mut seen = 0;
        let found = self.lateness.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        found.map_or(0, |(ms, _)| *ms).min(self.longest_ms)
    }
}

/// Keeps five significant bits: few distinct values, at most 7 % too large.
fn round_up(ms: u64) -> u64 {
    ms.next_multiple_of(1 << ms.ilog2().saturating_sub(4))
}

#[derive(Debug, Default)]
struct Window {
    minute: Minute,
    /// Delivered and failed attempts of each recent minute.
    recent: VecDeque<(u64, u64)>,
}

impl Window {
    /// Returns the minute, and the percentage of failed attempts in the last five minutes.
    fn end_minute(&mut self) -> (Minute, f64) {
        let minute = std::mem::take(&mut self.minute);
        self.recent.push_back((minute.delivered, minute.failed));
        if self.recent.len() > RATE_MINUTES {
            self.recent.pop_front();
        }
        let failed: u64 = self.recent.iter().map(|(_, failed)| failed).sum();
        let attempts: u64 = self.recent.iter().map(|(delivered, failed)| delivered + failed).sum();
        (minute, failed as f64 * 100.0 / attempts.max(1) as f64)
    }
}

#[derive(Debug, Default)]
pub(super) struct DeliveryStats(Mutex<Window>);

impl DeliveryStats {
    /// `lateness` is from when the event could be sent to the receiver's 2xx.
    pub(super) fn delivered(&self, lateness: Duration) {
        self.with(|window| window.minute.add(lateness));
    }

    pub(super) fn failed(&self, dead: bool) {
        self.with(|window| {
            window.minute.failed += 1;
            window.minute.dead += u64::from(dead);
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Window) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) async fn run(shared: &Shared) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        log(shared);
    }
}

pub(super) fn log(shared: &Shared) {
    let (minute, error_rate_percent) = shared.delivery_stats.with(Window::end_minute);
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
        lateness_max_ms = minute.longest_ms,
        "deliveries"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_7_percent_too_large() {
        let mut minute = Minute::default();
        assert_eq!(minute.percentile(0.99), 0);
        for ms in 1..=1000 {
            minute.add(Duration::from_millis(ms));
        }
        for (fraction, exact) in [(0.01, 10), (0.5, 500), (0.99, 990)] {
            let found = minute.percentile(fraction);
            assert!((exact..=exact * 107 / 100).contains(&found), "{fraction}: {found}");
        }
        assert_eq!(minute.percentile(1.0), 1000);
    }

    #[test]
    fn the_error_rate_covers_five_minutes() {
        let mut window = Window::default();
        let mut per_mille = |delivered, failed| {
            (window.minute.delivered, window.minute.failed) = (delivered, failed);
            (window.end_minute().1 * 10.0).round() as u64
        };
        assert_eq!(per_mille(999, 0), 0);
        assert_eq!(per_mille(0, 1), 1, "one failed retry after many deliveries");
        for _ in 0..3 {
            assert_eq!(per_mille(0, 0), 1);
        }
        assert_eq!(per_mille(0, 0), 1000, "the deliveries are more than five minutes old");
        assert_eq!(per_mille(0, 0), 0, "the failure is more than five minutes old");
    }
}
