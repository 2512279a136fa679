//! A second implementation of the calendar's rules, on jiff and its copy of the IANA database.
//!
//! It uses neither chrono-tz nor the code under test. jiff only lists the possible offsets of a local time; the rules that
//! choose between them are implemented below.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

/// The expected occurrence, in plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) due_at: i64,
    pub(crate) offset_secs: i32,
    pub(crate) local_date: (i16, i8, i8),
    pub(crate) rule: Option<&'static str>,
}

/// Returns a zone of jiff's bundled database, not of the system's. `None` if the name is unknown.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// Returns the occurrence due for `date` at `time`, by the rules for gaps, overlaps and missing dates.
pub(crate) fn expected(zone: &TimeZone, date: Date, time: Time) -> Expected {
    let local = date.to_datetime(time);
    match offsets(zone, local) {
        AmbiguousOffset::Unambiguous { offset } => at(local, offset, offset, None),
        AmbiguousOffset::Fold { before, .. } => at(local, before, before, Some("overlap")),
        AmbiguousOffset::Gap { before, after } => {
            if exists(zone, date) {
                return at(local, before, after, Some("gap"));
            }
            let mut next = date;
            while !exists(zone, next) {
                next = next.tomorrow().expect("a date after a missing one");
            }
            Expected { rule: Some("missing_date"), ..expected(zone, next, time) }
        }
    }
}

/// Returns the possible offsets of `local`. It is ambiguous only if the clock shows it at both instants: jiff 1.0.1 also
/// reports an overlap where standard time changes and the clock does not (America/Nuuk, 2023-10-28 23:00).
fn offsets(zone: &TimeZone, local: DateTime) -> AmbiguousOffset {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Fold { before, after } if !shows(zone, local, before) => {
            AmbiguousOffset::Unambiguous { offset: after }
        }
        other => other,
    }
}

fn shows(zone: &TimeZone, local: DateTime, offset: Offset) -> bool {
    offset.to_timestamp(local).is_ok_and(|at| zone.to_offset(at) == offset)
}

/// Whether `date` occurs in `zone`. It is skipped if both its first and its last second are in a gap.
fn exists(zone: &TimeZone, date: Date) -> bool {
    let skipped = |time: Time| matches!(offsets(zone, date.to_datetime(time)), AmbiguousOffset::Gap { .. });
    !(skipped(Time::midnight()) && skipped(Time::constant(23, 59, 59, 0)))
}

/// Converts `local` to an instant with the offset `read`, and back to a local date with the offset `shown`.
fn at(local: DateTime, read: Offset, shown: Offset, rule: Option<&'static str>) -> Expected {
    let due_at: Timestamp = read.to_timestamp(local).expect("a date within jiff's range");
    let date = shown.to_datetime(due_at).date();
    Expected {
        due_at: due_at.as_second(),
        offset_secs: shown.seconds(),
        local_date: (date.year(), date.month(), date.day()),
        rule,
    }
}
