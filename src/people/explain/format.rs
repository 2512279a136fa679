use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

pub(super) fn format_instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Formats a duration without its sign, in its two largest units: `2 d 4 h`, `3 h 05 min`, `40 s`, `0.4 s`.
#[must_use]
pub fn format_duration(duration: TimeDelta) -> String {
    let ms = duration.num_milliseconds().unsigned_abs();
    let (minutes, hours, days) = (ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match ms {
        1..1000 => format!("{ms} ms"),
        1000..10_000 if !ms.is_multiple_of(1000) => format!("{:.1} s", ms as f64 / 1000.0),
        0..60_000 => format!("{} s", ms / 1000),
        60_000..3_600_000 => format!("{minutes} min"),
        3_600_000..86_400_000 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_at_most_two_units() {
        let shown = [0, 17, 4_400, 40_000, 185_000, 11_100_000, -187_200_000];
        let shown = shown.map(|ms| format_duration(TimeDelta::milliseconds(ms)));
        assert_eq!(shown, ["0 s", "17 ms", "4.4 s", "40 s", "3 min", "3 h 05 min", "2 d 4 h"]);
    }
}
