//! What a wall clock shows, and when: the two directions between an instant and a local reading.

use std::ops::RangeInclusive;

use chrono::offset::MappedLocalTime;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use super::amendments::{Amendment, amendment};

/// The last year for which chrono-tz lists transitions; after it, it would stand still on the last offset.
const LAST_LISTED_YEAR: i32 = 2099;

/// Listed years without a one-off: the last one known is Morocco's Ramadan of 2087. In any eleven years running
/// each weekday comes up.
const YEARS_BY_RULE: RangeInclusive<i32> = 2088..=LAST_LISTED_YEAR;

/// When a wall clock shows a given reading.
#[derive(Debug, Clone, Copy)]
pub(super) enum Local {
    /// At one instant: the usual case.
    Once(DateTime<Utc>),
    /// At two, the clock having been set back in between.
    Twice(DateTime<Utc>, DateTime<Utc>),
    /// At none: the clock was set forward over it.
    Never(Gap),
}

impl Local {
    fn instants(self) -> impl Iterator<Item = DateTime<Utc>> {
        let (first, second) = match self {
            Self::Once(at) => (Some(at), None),
            Self::Twice(first, second) => (Some(first), Some(second)),
            Self::Never(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// The readings that a clock set forward leaves out: `first..until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    /// The instant of the change.
    pub(super) starts_at: DateTime<Utc>,
    /// The first reading left out.
    pub(super) first: NaiveDateTime,
    /// The first reading after the change.
    pub(super) until: NaiveDateTime,
}

/// The reading of a wall clock in `tz` at that instant.
pub(super) fn reading(tz: Tz, at: DateTime<Utc>) -> NaiveDateTime {
    at.naive_utc() + TimeDelta::seconds(i64::from(offset_secs(tz, at)))
}

/// Local time minus UTC at that instant, in seconds.
pub(super) fn offset_secs(tz: Tz, at: DateTime<Utc>) -> i32 {
    listed_offset_secs(
        amendment(tz).filter(|amendment| amendment.holds(at)).map_or(tz, |amendment| amendment.like),
        at,
    )
}

/// The instants at which a wall clock in `tz` shows `local`.
pub(super) fn resolve(tz: Tz, local: NaiveDateTime) -> Local {
    match amendment(tz) {
        None => listed(tz, local),
        Some(amendment) => amended(listed(tz, local), listed(amendment.like, local), amendment),
    }
}

/// Of what the zone's own list says, that which the amendment leaves in force; of the other zone's, what it covers.
fn amended(own: Local, other: Local, amendment: Amendment) -> Local {
    let mut instants: Vec<DateTime<Utc>> = own
        .instants()
        .filter(|at| !amendment.holds(*at))
        .chain(other.instants().filter(|at| amendment.holds(*at)))
        .collect();
    instants.sort_unstable();
    match (instants.as_slice(), own, other) {
        ([], _, Local::Never(gap)) if amendment.holds(gap.starts_at) => Local::Never(gap),
        // Without an instant there is a gap, and amendments make none: it is one of the two lists'.
        ([], own, _) => own,
        ([at], ..) => Local::Once(*at),
        ([first, second, ..], ..) => Local::Twice(*first, *second),
    }
}

fn listed_offset_secs(tz: Tz, at: DateTime<Utc>) -> i32 {
    let utc = at.naive_utc();
    tz.offset_from_utc_datetime(&(utc - past_the_list(utc.date()))).fix().local_minus_utc()
}

fn listed(tz: Tz, local: NaiveDateTime) -> Local {
    let shift = past_the_list(local.date());
    let listed = local - shift;
    let minus = |offset: chrono_tz::TzOffset| to_utc(local, offset.fix().local_minus_utc());
    match tz.offset_from_local_datetime(&listed) {
        MappedLocalTime::Single(offset) => Local::Once(minus(offset)),
        MappedLocalTime::Ambiguous(before, after) => Local::Twice(minus(before), minus(after)),
        MappedLocalTime::None => match GapInfo::new(&listed, &tz).and_then(|gap| gap.begin) {
            Some((first, before)) => {
                let starts_at = to_utc(first, before.fix().local_minus_utc());
                let after = TimeDelta::seconds(i64::from(listed_offset_secs(tz, starts_at)));
                Local::Never(Gap {
                    starts_at: starts_at + shift,
                    first: first + shift,
                    until: starts_at.naive_utc() + after + shift,
                })
            }
            // A zone's list begins with an open end, so every gap has a beginning.
            None => Local::Once(local.and_utc()),
        },
    }
}

fn to_utc(local: NaiveDateTime, offset_secs: i32) -> DateTime<Utc> {
    (local - TimeDelta::seconds(i64::from(offset_secs))).and_utc()
}

/// How far to go back to a listed year in which this part of the year falls on the same weekdays: zero up to 2099.
///
/// Beyond the list every zone follows rules of the kind "last Sunday in March" (what RFC 9636 section 3.3 puts in
/// the TZ string at a file's end), so the two agree.
fn past_the_list(date: NaiveDate) -> TimeDelta {
    if date.year() <= LAST_LISTED_YEAR {
        return TimeDelta::zero();
    }
    // From 1 March on, the weekday of that day decides; before it, that of 1 January.
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
