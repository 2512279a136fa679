//! The rules of who is owed a greeting when, those of the design's table, said once more:
//!
//! - due at the send time on the day, where the person lives;
//! - learned on the day after that: at once, or skipped, as `plan.late_join` says; learned after the day: not that year;
//! - moved before it was sent: at the new instant, or at once if that is past;
//! - nothing more once a request has been begun, whatever is edited: one a year;
//! - deleted: nothing more; back again: as new, but for what was sent.

use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::cast::KINDS;
use super::ledger::{Entry, Fate, Person};
use super::oracle;
use crate::calendar::{AnnualDate, LeapDay, SendAt};
use crate::model::LateJoin;

/// What the configuration of the simulated daemon says.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) send_at: [SendAt; KINDS.len()],
    pub(super) leap_day: LeapDay,
    pub(super) late_join: LateJoin,
    pub(super) late_max: TimeDelta,
    pub(super) max_attempts: u32,
    /// The years in which entries are kept.
    pub(super) years: RangeInclusive<i32>,
}

/// What brings an edit about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Edit,
    /// Somebody who was deleted comes back.
    Return,
}

/// The whole table of rules.
pub(super) fn judge(
    rules: &Rules,
    person: &Person,
    kind: usize,
    year: i32,
    old: Option<Entry>,
    now: DateTime<Utc>,
    cause: Cause,
) -> Entry {
    let fate = old.map_or(Fate::Nothing, |old| old.fate);
    let keep = old.unwrap_or(Entry { due: None, fate: Fate::Nothing, late_join: false, failures: 0 });
    let removed = person.settings.dates[kind].is_none();
    match fate {
        // The next request finds that the date is gone.
        Fate::Trying(_) if removed => {
            return Entry { fate: Fate::Cancelled { tried: true }, ..keep };
        }
        Fate::Sent
        | Fate::Dead
        | Fate::Trying(_)
        | Fate::Late { tried: true }
        | Fate::Cancelled { tried: true } => return keep,
        Fate::Late { tried: false } | Fate::LateJoin if cause == Cause::Return => return keep,
        _ => {}
    }
    let skipped = matches!(fate, Fate::Late { .. } | Fate::LateJoin);
    let nothing = |due| {
        // A row that is cancelled stays where it is.
        let fate = if matches!(fate, Fate::Cancelled { .. }) { fate } else { Fate::Nothing };
        if skipped { keep } else { Entry { due, fate, ..keep } }
    };
    let settings = &person.settings;
    let Some(date) = settings.dates[kind] else {
        return nothing(None);
    };
    // The day of birth is the first birthday; an anniversary of 0 years is none.
    if date.year().is_some_and(|since| since + i32::from(kind > 0) > year) {
        return nothing(None);
    }
    let send_at = settings.send_at.unwrap_or(rules.send_at[kind]);
    let leap_day = settings.leap_day.unwrap_or(rules.leap_day);
    let Some(due) = oracle::due(date, year, send_at, settings.zone, leap_day) else {
        return nothing(None);
    };
    if due.at > now && due.at >= person.known_at[kind] {
        return Entry { due: Some(due), fate: Fate::Owed(due.at), late_join: false, ..keep };
    }
    if skipped {
        return keep;
    }
    // It is past: what was open is owed at once; what was not is no older than yesterday.
    let open = matches!(fate, Fate::Owed(_));
    let yesterday = settings.zone.local(now).date().pred_opt().unwrap_or(NaiveDate::MIN);
    if !open && nominal(date, year) < yesterday {
        return nothing(Some(due));
    }
    let known_at = person.known_at[kind];
    let late_join = due.at < known_at;
    if late_join && known_at >= oracle::day_over(settings.zone, due.local_date) {
        return nothing(Some(due));
    }
    let fate = if late_join && rules.late_join == LateJoin::Skip {
        Fate::LateJoin
    } else {
        Fate::Owed(next_tick(now).max(due.at))
    };
    Entry { due: Some(due), fate, late_join, ..keep }
}

/// The date under which it is planned.
fn nominal(date: AnnualDate, year: i32) -> NaiveDate {
    let in_year = NaiveDate::from_ymd_opt(year, date.month(), date.day());
    in_year.or_else(|| NaiveDate::from_ymd_opt(year, 2, 28)).unwrap_or(NaiveDate::MIN)
}

/// The first whole minute at or after `now`.
pub(super) fn next_tick(now: DateTime<Utc>) -> DateTime<Utc> {
    let secs = now.timestamp();
    DateTime::from_timestamp((secs + 59).div_euclid(60) * 60, 0).unwrap_or(now)
}
