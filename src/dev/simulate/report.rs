//! What a simulation found: a row a year.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ledger::{Entry, Fate, Ledger, Violation};
use crate::calendar::Rule;

/// Of what went wrong, as much is told in full.
const TOLD: usize = 20;

/// A local year: what was owed, and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Year {
    /// People at its end.
    pub users: u64,
    /// Occasions that were due, whatever became of them.
    pub due: u64,
    /// Accepted by the receiver.
    pub sent: u64,
    /// Of these, after an attempt that failed.
    pub retried: u64,
    /// Of these, learned on the day after the send time.
    pub late_joins: u64,
    /// Of these, for 29 February in a common year.
    pub leap: u64,
    /// Of these, with a send time that the clock skipped.
    pub gap: u64,
    /// Of these, with a send time that came twice.
    pub overlap: u64,
    /// Of these, for a date that the zone skipped.
    pub missing_date: u64,
    /// Skipped: unsent for too long.
    pub skipped_late: u64,
    /// Skipped: learned on the day, where `plan.late_join` is `skip`.
    pub skipped_late_join: u64,
    /// Given up: refused for good, or failed five times.
    pub dead: u64,
    /// Cancelled after a request had been begun.
    pub cancelled: u64,
    /// People who moved to another zone.
    pub moves: u64,
    /// People of whom a date, a send time or a rule was changed.
    pub edits: u64,
    /// Open occasions that a move or an edit brought to another instant.
    pub moved: u64,
    /// People who were deleted.
    pub deleted: u64,
    /// People who were deleted and came back.
    pub returned: u64,
    /// Greetings at a wrong time, with a wrong text or to nobody; rows that say otherwise than the receiver.
    pub wrong: u64,
    /// Second greetings of a year.
    pub twice: u64,
    /// Greetings that did not come.
    pub missing: u64,
}

/// See [`super::run`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimulationReport {
    /// With this seed everything happens again.
    pub seed: u64,
    /// By local year.
    pub years: BTreeMap<i32, Year>,
    /// Passes of the scheduler.
    pub ticks: u64,
    /// How long it took.
    pub elapsed_secs: f64,
    /// The first things that went wrong, in words.
    pub violations: Vec<String>,
}

impl SimulationReport {
    /// Whether every greeting came once, at the right time.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.violations.is_empty()
            && self.years.values().all(|year| year.wrong + year.twice + year.missing == 0)
    }

    /// All years together; its people are those of the last.
    #[must_use]
    pub fn total(&self) -> Year {
        let mut total = Year::default();
        for year in self.years.values() {
            total.add(*year);
        }
        total
    }
}

impl Year {
    fn add(&mut self, other: Self) {
        self.users = other.users;
        for (sum, part) in self.counts().into_iter().zip({ other }.counts()) {
            *sum += *part;
        }
    }

    /// Every count but that of people.
    fn counts(&mut self) -> [&mut u64; 20] {
        let Self {
            users: _,
            due,
            sent,
            retried,
            late_joins,
            leap,
            gap,
            overlap,
            missing_date,
            skipped_late,
            skipped_late_join,
            dead,
            cancelled,
            moves,
            edits,
            moved,
            deleted,
            returned,
            wrong,
            twice,
            missing,
        } = self;
        [
            due,
            sent,
            retried,
            late_joins,
            leap,
            gap,
            overlap,
            missing_date,
            skipped_late,
            skipped_late_join,
            dead,
            cancelled,
            moves,
            edits,
            moved,
            deleted,
            returned,
            wrong,
            twice,
            missing,
        ]
    }

    fn count(&mut self, entry: &Entry) {
        match entry.fate {
            Fate::Nothing | Fate::Owed(_) | Fate::Cancelled { tried: false } => return,
            Fate::Trying(_) => {}
            Fate::Sent => self.sent += 1,
            Fate::Dead => self.dead += 1,
            Fate::Late { .. } => self.skipped_late += 1,
            Fate::LateJoin => self.skipped_late_join += 1,
            Fate::Cancelled { tried: true } => self.cancelled += 1,
        }
        self.due += 1;
        if entry.fate != Fate::Sent {
            return;
        }
        self.retried += u64::from(entry.failures > 0);
        self.late_joins += u64::from(entry.late_join);
        match entry.due.and_then(|due| due.rule) {
            None => {}
            Some(Rule::LeapDay) => self.leap += 1,
            Some(Rule::Gap) => self.gap += 1,
            Some(Rule::Overlap) => self.overlap += 1,
            Some(Rule::MissingDate) => self.missing_date += 1,
        }
    }
}

/// Adds what `ledger` knows to `years`, which has what was counted on the way, and tells what went wrong.
pub(super) fn finish(years: &mut BTreeMap<i32, Year>, ledger: &Ledger) -> Vec<String> {
    for ((_, year), entry) in ledger.people.values().flat_map(|person| &person.entries) {
        if let Some(row) = years.get_mut(year) {
            row.count(entry);
        }
    }
    let (first, last) = (years.keys().next().copied(), years.keys().next_back().copied());
    let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
    for (year, wrong, _) in &ledger.violations {
        let row = years.entry((*year).clamp(first, last)).or_default();
        match wrong {
            Violation::Wrong => row.wrong += 1,
            Violation::Twice => row.twice += 1,
            Violation::Missing => row.missing += 1,
        }
    }
    let told = ledger.violations.iter().take(TOLD);
    told.map(|(_, wrong, text)| format!("{}: {text}", format!("{wrong:?}").to_lowercase())).collect()
}
