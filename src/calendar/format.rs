//! How instants, durations and counts are shown to users.

use std::fmt::Display;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// RFC 3339 in UTC, to the second: `2026-03-01T09:00:00Z`.
#[must_use]
pub fn format_instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The absolute value in at most two units: `2 d 4 h`, `3 h 5 min`, `40 s`, `4.1 s`, `17 ms`.
#[must_use]
pub fn format_duration(duration: TimeDelta) -> String {
    let ms = duration.num_milliseconds().unsigned_abs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match ms {
        1..1000 => format!("{ms} ms"),
        1000..10_000 if !ms.is_multiple_of(1000) => format!("{:.1} s", ms as f64 / 1000.0),
        0..60_000 => format!("{} s", ms / 1000),
        60_000..3_600_000 => two(ms / 60_000, "min", ms / 1000 % 60, "s"),
        3_600_000..86_400_000 => two(ms / 3_600_000, "h", ms / 60_000 % 60, "min"),
        _ => two(ms / 86_400_000, "d", ms / 3_600_000 % 24, "h"),
    }
}

/// The count with the noun in its number, or with noun and verb: `1 zone is`, `2 zones are`.
#[must_use]
pub fn format_count<N: Copy + Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_count_of_one_is_singular() {
        let shown = [0_u64, 1, 2].map(|n| format_count(n, "zone is", "zones are"));
        assert_eq!(shown, ["0 zones are", "1 zone is", "2 zones are"]);
    }

    #[test]
    fn a_duration_has_two_units_at_most() {
        let shown = [0, 17, 4_400, 40_000, 60_000, 185_000, 11_100_000, -187_200_000, 172_800_000];
        let shown = shown.map(|ms| format_duration(TimeDelta::milliseconds(ms)));
        let expected = ["0 s", "17 ms", "4.4 s", "40 s", "1 min", "3 min 5 s", "3 h 5 min", "2 d 4 h", "2 d"];
        assert_eq!(shown, expected);
    }
}
