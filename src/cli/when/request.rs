//! What is asked, and the occasions that answer it.

use chrono::{DateTime, NaiveDate, Utc};

use crate::calendar::{AnnualDate, LeapDay, Occurrence, SendAt, Zone, occurrences_from};

/// The Gregorian calendar repeats after 400 years: looking further shows nothing new.
pub(super) const MAX_YEARS: u16 = 400;

/// What applies where the question does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) send_at: SendAt,
    pub(super) leap_day: LeapDay,
    /// `None`: today in the zone asked about.
    pub(super) from: Option<NaiveDate>,
    pub(super) years: u16,
    /// The instant that makes it today, UTC.
    pub(super) now: DateTime<Utc>,
}

/// One question, complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) date: AnnualDate,
    pub(super) zone: Zone,
    pub(super) send_at: SendAt,
    pub(super) leap_day: LeapDay,
    pub(super) from: NaiveDate,
    pub(super) years: u16,
}

impl Request {
    pub(super) fn new(date: AnnualDate, zone: Zone, defaults: &Defaults) -> Self {
        let &Defaults { send_at, leap_day, from, years, now } = defaults;
        let from = from.unwrap_or_else(|| zone.local_date(now));
        Self { date, zone, send_at, leap_day, from, years }
    }

    /// One occasion a year; fewer where 29 February counts in leap years only.
    pub(super) fn occurrences(&self) -> impl Iterator<Item = Occurrence> + use<> {
        let &Self { date, zone, send_at, leap_day, from, years } = self;
        // A year without its 29 February is one of the years asked for all the same.
        let counted = if leap_day == LeapDay::LeapYearsOnly { LeapDay::Feb28 } else { leap_day };
        let first_year =
            occurrences_from(date, from, send_at, zone, counted).map(|first| first.local_year).next();
        let end = first_year.unwrap_or(i32::MAX).saturating_add(i32::from(years));
        occurrences_from(date, from, send_at, zone, leap_day).take_while(move |next| next.local_year < end)
    }
}

/// A full date `YYYY-MM-DD`: stricter than chrono, which takes `2026-1-1` and `+2026-01-01` too.
pub(super) fn day(text: &str) -> Result<NaiveDate, InvalidDay> {
    text.parse::<AnnualDate>().ok().and_then(AnnualDate::first).ok_or(InvalidDay)
}

/// A text that is no full date.
#[derive(Debug, thiserror::Error)]
#[error("expected a date that exists, as YYYY-MM-DD")]
pub(super) struct InvalidDay;
