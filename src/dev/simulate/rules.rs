//! The rules by which a greeting is expected, those of the documentation implemented independently:
//!
//! - due at the send time on the day in the user's zone;
//! - a date written on the day after the send time: at once, or skipped by `plan.late_join`; after the day: not that year;
//! - moved before it was sent: at the new instant, or at once if that is past;
//! - unchanged once an attempt was made: one greeting a year;
//! - user deleted: cancelled; user written again: as a new user, except for what was sent.

use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::config::{KINDS, SEND_AT};
use super::expected::DeliveryState::{
    Cancelled, Dead, Delivered, Due, NotExpected, Retrying, SkippedLate, SkippedLateJoin,
};
use super::expected::{DeliveryState, ExpectedDelivery, KindAndYear, SimulatedUser};
use super::reference_calendar;
use crate::calendar::{AnnualDate, LeapDay, SendAt};
use crate::config::Config;
use crate::model::LateJoin;

#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) send_at: [SendAt; KINDS.len()],
    pub(super) leap_day: LeapDay,
    pub(super) late_join: LateJoin,
    pub(super) late_max: TimeDelta,
    pub(super) max_attempts: u32,
    pub(super) years: RangeInclusive<i32>,
}

impl Rules {
    pub(super) fn new(config: &Config, late_join: LateJoin, years: RangeInclusive<i32>) -> Self {
        Self {
            send_at: SEND_AT.map(|text| text.parse().unwrap_or_default()),
            leap_day: config.plan.leap_day,
            late_join,
            late_max: TimeDelta::from_std(config.late.max).unwrap_or(TimeDelta::MAX),
            max_attempts: config.retry.max_attempts,
            years,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// A new user, or one who was deleted before.
    Add,
    Edit,
}

/// Returns the delivery that is expected after `user` was written at `now`.
pub(super) fn expected_delivery(
    rules: &Rules,
    user: &SimulatedUser,
    key: KindAndYear,
    now: DateTime<Utc>,
    write: Write,
) -> ExpectedDelivery {
    let (kind, year) = key;
    let old = user.deliveries.get(&key).copied().unwrap_or_default();
    let attempted = old.failed_attempts > 0;
    match old.state {
        // The next attempt finds that the date was removed.
        Retrying if user.settings.dates[kind].is_none() => {
            return ExpectedDelivery { state: Cancelled, ..old };
        }
        Delivered | Dead | Retrying => return old,
        SkippedLate | Cancelled if attempted => return old,
        SkippedLate | SkippedLateJoin if write == Write::Add => return old,
        _ => {}
    }
    let due = due_in_year(rules, user, kind, year);
    let upcoming = due.filter(|due| due.at > now && due.at >= user.known_at[kind]);
    if upcoming.is_none() && matches!(old.state, SkippedLate | SkippedLateJoin) {
        return old;
    }
    let state = match (upcoming, due) {
        (Some(due), _) => Due(due.at),
        (None, Some(due)) => past_state(rules, user, key, due, old.state, now),
        (None, None) => NotExpected,
    };
    // A cancelled row stays cancelled.
    let state = if state == NotExpected && old.state == Cancelled { Cancelled } else { state };
    let late_join = due.is_some_and(|due| due.at < user.known_at[kind]);
    ExpectedDelivery { due, state, late_join, ..old }
}

fn due_in_year(
    rules: &Rules,
    user: &SimulatedUser,
    kind: usize,
    year: i32,
) -> Option<reference_calendar::Due> {
    let settings = &user.settings;
    let date = settings.dates[kind]?;
    // The day of birth is the first birthday, but an anniversary of 0 years is not greeted.
    if date.year().is_some_and(|since| since + i32::from(kind > 0) > year) {
        return None;
    }
    let send_at = settings.send_at.unwrap_or(rules.send_at[kind]);
    let leap_day = settings.leap_day.unwrap_or(rules.leap_day);
    reference_calendar::due(date, year, send_at, settings.zone, leap_day)
}

/// Returns the state of an occasion whose due instant is past when the user is written.
fn past_state(
    rules: &Rules,
    user: &SimulatedUser,
    (kind, year): KindAndYear,
    due: reference_calendar::Due,
    old: DeliveryState,
    now: DateTime<Utc>,
) -> DeliveryState {
    let (zone, known_at) = (user.settings.zone, user.known_at[kind]);
    // An occasion that was due before the write is sent at once; others only if they are not older than yesterday.
    let yesterday = zone.local(now).date().pred_opt().unwrap_or(NaiveDate::MIN);
    let planned_for = user.settings.dates[kind].map_or(NaiveDate::MIN, |date| nominal(date, year));
    if !matches!(old, Due(_)) && planned_for < yesterday {
        return NotExpected;
    }
    if known_at >= reference_calendar::day_ends_at(zone, due.local_date) && due.at < known_at {
        NotExpected
    } else if due.at < known_at && rules.late_join == LateJoin::Skip {
        SkippedLateJoin
    } else {
        Due(next_tick(now).max(due.at))
    }
}

/// The date under which an occasion is planned.
fn nominal(date: AnnualDate, year: i32) -> NaiveDate {
    let in_year = NaiveDate::from_ymd_opt(year, date.month(), date.day());
    in_year.or_else(|| NaiveDate::from_ymd_opt(year, 2, 28)).unwrap_or(NaiveDate::MIN)
}

pub(super) fn next_tick(now: DateTime<Utc>) -> DateTime<Utc> {
    let secs = now.timestamp();
    DateTime::from_timestamp((secs + 59).div_euclid(60) * 60, 0).unwrap_or(now)
}
