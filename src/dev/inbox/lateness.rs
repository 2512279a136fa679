//! A histogram of lateness in a few kilobytes, and its quantiles.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

#[derive(Debug, Default)]
pub(super) struct LatenessHistogram {
    counts: BTreeMap<u64, u64>,
    total: u64,
    max: u64,
}

impl LatenessHistogram {
    /// Counts one request; an early one counts as 0 ms late.
    pub(super) fn record(&mut self, lateness_ms: i64) {
        let value = u64::try_from(lateness_ms).unwrap_or(0);
        *self.counts.entry(rounded_up(value)).or_default() += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let (p50, p99) = (self.percentile(50)?, self.percentile(99)?);
        Some(Quantiles { p50, p99, max: self.max })
    }

    fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.total * percent).div_ceil(100);
        let mut counted = 0;
        let at_rank = self.counts.iter().find(|(_, count)| {
            counted += **count;
            counted >= rank
        });
        at_rank.map(|(value, _)| (*value).min(self.max))
    }
}

/// Rounds up to three significant digits: at most 1 % too high, never too low.
fn rounded_up(value: u64) -> u64 {
    let digits_after_first = value.checked_ilog10().unwrap_or(0);
    value.next_multiple_of(10_u64.pow(digits_after_first.saturating_sub(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(values: impl IntoIterator<Item = i64>) -> Quantiles {
        let mut histogram = LatenessHistogram::default();
        values.into_iter().for_each(|value| histogram.record(value));
        histogram.quantiles().expect("values were recorded")
    }

    #[test]
    fn an_empty_histogram_has_no_quantiles() {
        assert_eq!(LatenessHistogram::default().quantiles(), None);
    }

    #[test]
    fn small_values_are_exact() {
        assert_eq!(quantiles(1..=100), Quantiles { p50: 50, p99: 99, max: 100 });
        assert_eq!(quantiles([7]), Quantiles { p50: 7, p99: 7, max: 7 });
    }

    #[test]
    fn early_requests_count_as_not_late() {
        assert_eq!(quantiles([-5000, i64::MIN]), Quantiles { p50: 0, p99: 0, max: 0 });
    }

    #[test]
    fn large_values_are_never_understated_and_at_most_1_percent_overstated() {
        for value in (0..200_000_000_u64).step_by(9973).chain([999, 1000, 1001, i64::MAX as u64]) {
            let rounded = rounded_up(value);
            assert!(rounded >= value, "{value} became {rounded}");
            assert!((rounded - value) as f64 <= value as f64 * 0.01, "{value} became {rounded}");
        }
        let buckets: std::collections::HashSet<u64> = (0..100_000).map(rounded_up).collect();
        assert!(buckets.len() < 3000, "{} buckets", buckets.len());
    }
}
