//! The times that events waited, and their percentiles.

use chrono::{DateTime, Utc};

use super::arrivals::Arrival;

/// Returns the sorted times from `first` to each arrival, in ms.
pub(crate) fn waits<'a>(arrivals: impl Iterator<Item = &'a Arrival>, first: DateTime<Utc>) -> Vec<f64> {
    let wait = |arrival: &Arrival| (arrival.accepted_us - first.timestamp_micros()) as f64 / 1e3;
    let mut waits: Vec<f64> = arrivals.map(wait).collect();
    waits.sort_unstable_by(f64::total_cmp);
    waits
}

pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}
