//! Instants as people write them.

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, Utc};
use serde::Serializer;

/// A text that is no instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid instant {0:?}: expected RFC 3339 such as 2026-03-01T09:00:00Z, or a date, which begins at 00:00 UTC"
)]
pub struct InvalidInstant(String);

/// Reads `2026-03-01T09:00:00Z`, with any offset, or `2026-03-01`.
pub fn parse_instant(text: &str) -> Result<DateTime<Utc>, InvalidInstant> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.to_utc());
    }
    let date = (text.len() == 10).then(|| text.parse::<NaiveDate>().ok()).flatten();
    date.map(|date| date.and_time(NaiveTime::MIN).and_utc())
        .ok_or_else(|| InvalidInstant(super::input::shortened(text).to_owned()))
}

/// Writes an instant as chrono's own serializer does, but at once: that one writes letter by letter, a tenth of what a page of
/// users costs.
pub(super) fn written<S: Serializer>(instant: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_begins_at_midnight_utc() {
        let read = |text| parse_instant(text).expect("an instant").to_rfc3339();
        assert_eq!(read("2026-03-01"), "2026-03-01T00:00:00+00:00");
        assert_eq!(read("2026-03-01T09:00:00+02:00"), "2026-03-01T07:00:00+00:00");
        for wrong in ["", "2026-3-1", "2026-02-30", "09:00", "2026-03-01 09:00"] {
            assert!(parse_instant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_what_chrono_writes() {
        for nanoseconds in [0, 1, 1000, 123_000_000, 123_456_000, 999_999_999] {
            let instant = DateTime::from_timestamp(1_773_565_200, nanoseconds).expect("an instant");
            let ours = written(&instant, serde_json::value::Serializer).expect("a text");
            assert_eq!(ours, serde_json::to_value(instant).expect("a text"));
        }
    }
}
