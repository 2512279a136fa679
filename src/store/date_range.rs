//! Which events belong to local dates.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta, Utc};

/// The UTC day of a local date, extended by this, has every event of that date in any zone (at most 14 h ahead of UTC, 12 h behind).
const BEFORE: TimeDelta = TimeDelta::hours(15);
const AFTER: TimeDelta = TimeDelta::hours(39);

#[derive(Debug, Clone, Copy)]
pub(super) struct DateRange {
    pub(super) due_from: DateTime<Utc>,
    pub(super) due_before: DateTime<Utc>,
    /// Events of deleted users have these two instants, which say only the year. The counts of dates leave such events out.
    pub(super) blurred_due: DateTime<Utc>,
    pub(super) blurred_finished: DateTime<Utc>,
}

impl DateRange {
    /// Returns the range of `from` to `to`, both included: less than a year.
    pub(super) fn new(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            due_from: midnight(from) - BEFORE,
            due_before: midnight(to) + AFTER,
            blurred_due: midnight(new_year(to.year())),
            blurred_finished: midnight(new_year(to.year() + 1)),
        }
    }
}

fn new_year(year: i32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or(NaiveDate::MAX)
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}
