use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, Utc};

use crate::calendar::InvalidText;

/// Parses `2026-03-01T09:00:00Z`, with any offset, or `2026-03-01`.
pub fn parse_instant(text: &str) -> Result<DateTime<Utc>, InvalidText> {
    const EXPECTED: &str =
        "expected RFC 3339 such as 2026-03-01T09:00:00Z, or a date such as 2026-03-01 (00:00 UTC)";
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.to_utc());
    }
    let date = text.parse::<NaiveDate>().ok().filter(|_| text.len() == 10);
    date.map(|date| date.and_time(NaiveTime::MIN).and_utc())
        .ok_or_else(|| InvalidText::new("invalid instant", text, EXPECTED))
}

/// Parses `2026-03-01`, in the years 1 to 9999.
pub fn parse_date(text: &str) -> Result<NaiveDate, InvalidText> {
    let date = text.parse::<NaiveDate>().ok().filter(|_| text.len() == 10);
    date.filter(|date| (1..=9999).contains(&date.year()))
        .ok_or_else(|| InvalidText::new("invalid date", text, "expected a date such as 2026-03-01"))
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
    fn a_date_has_ten_characters_and_a_year_from_1_to_9999() {
        assert_eq!(parse_date("2024-02-29").map(|date| date.to_string()).as_deref(), Ok("2024-02-29"));
        for wrong in ["", "2026-3-1", "2026-02-30", "0000-01-01", "+99999-1-1", "2026-03-01T09:00:00Z"] {
            assert!(parse_date(wrong).is_err(), "{wrong}");
        }
    }
}
