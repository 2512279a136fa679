//! Conversion between instants and the readings of a wall clock.

use std::ops::RangeInclusive;

use chrono::offset::MappedLocalTime;
use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz, TzOffset};

use super::amendments::{Amendment, amendment};

/// The last year for which chrono-tz lists transitions; later years keep the last offset.
const LAST_LISTED_YEAR: i32 = 2099;

/// Listed years that follow the rules (the last exception is Morocco's Ramadan of 2087), in which 1 January falls on each weekday.
const YEARS_BY_RULE: RangeInclusive<i32> = 2088..=LAST_LISTED_YEAR;

/// The instants at which a wall clock shows a local time: two if the clock was set back, none if it was set forward over it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Local {
    Once(DateTime<Utc>),
    Twice(DateTime<Utc>, DateTime<Utc>),
    Never(Gap),
}

impl Local {
    fn instants(self) -> Vec<DateTime<Utc>> {
        match self {
            Self::Once(at) => vec![at],
            Self::Twice(first, second) => vec![first, second],
            Self::Never(_) => Vec::new(),
        }
    }
}

/// The local times `first..until`, which a clock that is set forward at `starts_at` skips.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) starts_at: DateTime<Utc>,
    pub(super) first: NaiveDateTime,
    pub(super) until: NaiveDateTime,
}

pub(super) fn local_time(tz: Tz, at: DateTime<Utc>) -> NaiveDateTime {
    at.naive_utc() + offset(tz, at)
}

pub(super) fn offset(tz: Tz, at: DateTime<Utc>) -> FixedOffset {
    let in_force = amendment(tz).filter(|amendment| amendment.applies(at));
    listed_offset(in_force.map_or(tz, |amendment| amendment.follows), at)
}

pub(super) fn resolve(tz: Tz, local: NaiveDateTime) -> Local {
    match amendment(tz) {
        None => listed(tz, local),
        Some(amendment) => amended(listed(tz, local), listed(amendment.follows, local), amendment),
    }
}

/// Combines the zone's own instants outside the amendment with the other zone's instants within it.
fn amended(own: Local, other: Local, amendment: Amendment) -> Local {
    let mut instants = own.instants();
    instants.retain(|at| !amendment.applies(*at));
    instants.extend(other.instants().into_iter().filter(|at| amendment.applies(*at)));
    instants.sort_unstable();
    match (instants.as_slice(), own, other) {
        ([], _, Local::Never(gap)) if amendment.applies(gap.starts_at) => Local::Never(gap),
        // No instant means a gap. Amendments cause none, so one of the two zones has it.
        ([], own, _) => own,
        ([at], ..) => Local::Once(*at),
        ([first, second, ..], ..) => Local::Twice(*first, *second),
    }
}

fn listed_offset(tz: Tz, at: DateTime<Utc>) -> FixedOffset {
    let utc = at.naive_utc();
    tz.offset_from_utc_datetime(&(utc - beyond_listed_years(utc.date()))).fix()
}

fn listed(tz: Tz, local: NaiveDateTime) -> Local {
    let shift = beyond_listed_years(local.date());
    let listed = local - shift;
    let at = |offset: TzOffset| (local - offset.fix()).and_utc();
    match tz.offset_from_local_datetime(&listed) {
        MappedLocalTime::Single(offset) => Local::Once(at(offset)),
        MappedLocalTime::Ambiguous(before, after) => Local::Twice(at(before), at(after)),
        MappedLocalTime::None => match GapInfo::new(&listed, &tz).and_then(|gap| gap.begin) {
            Some((first, before)) => {
                let starts_at = (first - before.fix()).and_utc();
                Local::Never(Gap {
                    starts_at: starts_at + shift,
                    first: first + shift,
                    until: starts_at.naive_utc() + listed_offset(tz, starts_at) + shift,
                })
            }
            // The first transition of a zone is no gap, so every gap has a beginning.
            None => Local::Once(local.and_utc()),
        },
    }
}

/// Returns the time back to a listed year in which this part of the year falls on the same weekdays: zero up to 2099.
///
/// Later, every zone follows rules such as "last Sunday in March" (the TZ string of RFC 9636, section 3.3), so the years agree.
fn beyond_listed_years(date: NaiveDate) -> TimeDelta {
    if date.year() <= LAST_LISTED_YEAR {
        return TimeDelta::zero();
    }
    // 29 February shifts the weekdays from 1 March on.
    let month = if date.month() < 3 { 1 } else { 3 };
    let anchor = |year| NaiveDate::from_ymd_opt(year, month, 1);
    anchor(date.year())
        .and_then(|wanted| {
            YEARS_BY_RULE
                .filter_map(anchor)
                .find(|listed| listed.weekday() == wanted.weekday())
                .map(|listed| wanted - listed)
        })
        .unwrap_or_default()
}
