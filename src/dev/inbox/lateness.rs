//! How late greetings arrive: quantiles over all of them, in a few kilobytes.
//!
//! Values up to 128 ms are counted exactly. Above, each power of two is cut into 64 steps, so that a quantile is
//! at most 1.6 % too high, and never too low.

use serde::Serialize;

const STEP_BITS: u32 = 6;
const STEPS: u64 = 1 << STEP_BITS;

/// Quantiles of lateness, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Half arrived within this.
    pub p50: u64,
    /// All but one in a hundred arrived within this.
    pub p99: u64,
    /// The latest of all.
    pub max: u64,
}

/// A histogram that grows with the logarithm of its largest value.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Lateness {
    /// Counts one arrival; one that came early counts as not late.
    pub(super) fn record(&mut self, lateness_ms: i64) {
        let value = u64::try_from(lateness_ms).unwrap_or(0);
        let bucket = bucket(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// The quantiles, once there is anything to tell.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        (self.total > 0).then(|| Quantiles {
            p50: self.percentile(50),
            p99: self.percentile(99),
            max: self.max,
        })
    }

    /// The nearest-rank percentile: the smallest value that so many in a hundred do not exceed.
    fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(bucket).min(self.max);
            }
        }
        self.max
    }
}

/// The power of two above the exact range says which group, the next six bits which step in it.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

/// The largest value that falls into a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let step = bucket - shift * STEPS;
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = i64>) -> Quantiles {
        let mut lateness = Lateness::default();
        values.into_iter().for_each(|value| lateness.record(value));
        lateness.quantiles().expect("something was recorded")
    }

    #[test]
    fn nothing_recorded_has_no_quantiles() {
        assert_eq!(Lateness::default().quantiles(), None);
    }

    #[test]
    fn small_values_are_exact() {
        assert_eq!(of(1..=100), Quantiles { p50: 50, p99: 99, max: 100 });
        assert_eq!(of([7]), Quantiles { p50: 7, p99: 7, max: 7 });
    }

    #[test]
    fn early_arrivals_count_as_not_late() {
        assert_eq!(of([-5000, i64::MIN]), Quantiles { p50: 0, p99: 0, max: 0 });
    }

    #[test]
    fn large_values_are_never_understated_and_at_most_1_6_percent_overstated() {
        for value in (0..200_000_000_u64).step_by(9973).chain([127, 128, 129, i64::MAX as u64]) {
            let bound = upper_bound(bucket(value));
            assert!(bound >= value, "{value} became {bound}");
            assert!((bound - value) as f64 <= value as f64 * 0.016, "{value} became {bound}");
            assert!(bucket(value) < 4096, "the histogram stays small");
        }
    }
}
