//! What is owed to whom, kept beside the system under test and without a look at it.
//!
//! For each person, kind and year there is one [`Entry`]. Whoever writes a user tells the ledger; the ledger says when a
//! greeting must come, by the [`rules`], and the receiver asks it about each that does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Datelike as _, Utc};
use uuid::Uuid;

use super::cast::{KINDS, Settings, external_id};
use super::oracle::Due;
use super::rules::{self, Rules};
use crate::calendar::AnnualDate;

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing is owed, and nothing may come.
    Nothing,
    /// The first request must be made at that instant, UTC.
    Owed(DateTime<Utc>),
    /// So many requests failed, and the next is to come.
    Trying(u32),
    Sent,
    Dead,
    /// Skipped as too late; whether a request had been begun.
    Late {
        tried: bool,
    },
    /// Skipped because it was learned too late on the day.
    LateJoin,
    /// The user was deleted; whether a request had been begun.
    Cancelled {
        tried: bool,
    },
}

/// One person, kind and year.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) due: Option<Due>,
    pub(super) fate: Fate,
    pub(super) late_join: bool,
    /// How many requests failed.
    pub(super) failures: u32,
}

/// A person as the ledger sees it.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) number: u32,
    pub(super) alive: bool,
    pub(super) settings: Settings,
    pub(super) known_at: [DateTime<Utc>; KINDS.len()],
    pub(super) entries: BTreeMap<(usize, i32), Entry>,
}

/// Something that must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// A greeting that is not owed, or not now, or with the wrong text; or a row that says otherwise.
    Wrong,
    /// A second greeting of a year.
    Twice,
    /// A greeting that did not come.
    Missing,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) rules: Rules,
    pub(super) people: HashMap<Uuid, Person>,
    owed: BTreeSet<(DateTime<Utc>, Uuid, usize, i32)>,
    /// The absence that has just ended: what was owed in it may come at its end.
    absence: Option<(DateTime<Utc>, DateTime<Utc>)>,
    pub(super) violations: Vec<(i32, Violation, String)>,
}

impl Ledger {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, people: HashMap::new(), owed: BTreeSet::new(), absence: None, violations: Vec::new() }
    }

    /// Somebody new, or who was deleted and is back.
    pub(super) fn add(&mut self, id: Uuid, number: u32, settings: Settings, now: DateTime<Utc>) {
        let person = self.people.entry(id).or_insert_with(|| Person {
            number,
            alive: false,
            settings: settings.clone(),
            known_at: [now; KINDS.len()],
            entries: BTreeMap::new(),
        });
        person.alive = true;
        person.settings = settings;
        person.known_at = [now; KINDS.len()];
        self.judge(id, now, rules::Cause::Return);
    }

    /// Somebody changed. Gives how many open entries moved.
    pub(super) fn edit(&mut self, id: Uuid, settings: Settings, now: DateTime<Utc>) -> u32 {
        let Some(person) = self.people.get_mut(&id) else {
            return 0;
        };
        let old = std::mem::replace(&mut person.settings, settings);
        for (kind, known_at) in person.known_at.iter_mut().enumerate() {
            let day = |settings: &Settings| settings.dates[kind].map(|date| (date.month(), date.day()));
            let leap_rule = person.settings.dates[kind].is_some_and(AnnualDate::is_leap_day)
                && old.leap_day != person.settings.leap_day;
            if day(&old) != day(&person.settings) || leap_rule {
                *known_at = now;
            }
        }
        self.judge(id, now, rules::Cause::Edit)
    }

    /// Somebody is gone.
    pub(super) fn delete(&mut self, id: Uuid) {
        let Some(person) = self.people.get_mut(&id) else {
            return;
        };
        person.alive = false;
        for entry in person.entries.values_mut() {
            match entry.fate {
                Fate::Owed(_) => entry.fate = Fate::Cancelled { tried: false },
                Fate::Trying(_) => entry.fate = Fate::Cancelled { tried: true },
                _ => {}
            }
        }
    }

    /// Judges all entries of a person again; gives how many that were open are now open at another instant.
    fn judge(&mut self, id: Uuid, now: DateTime<Utc>, cause: rules::Cause) -> u32 {
        let Some(person) = self.people.get_mut(&id) else {
            return 0;
        };
        let mut moved = 0;
        for kind in 0..KINDS.len() {
            for year in self.rules.years.clone() {
                let old = person.entries.get(&(kind, year)).copied();
                let new = rules::judge(&self.rules, person, kind, year, old, now, cause);
                if let Fate::Owed(at) = new.fate {
                    self.owed.insert((at, id, kind, year));
                    let was = old.and_then(|old| old.due).map(|due| due.at);
                    let was_owed = matches!(old, Some(Entry { fate: Fate::Owed(_), .. }));
                    moved += u32::from(was_owed && was != new.due.map(|due| due.at));
                }
                person.entries.insert((kind, year), new);
            }
        }
        moved
    }

    /// The next instant at which a first request must be made.
    pub(super) fn next_owed(&mut self) -> Option<DateTime<Utc>> {
        while let Some(first) = self.owed.first().copied() {
            let (at, id, kind, year) = first;
            if self.fate(id, kind, year) == Some(Fate::Owed(at)) {
                return Some(at);
            }
            self.owed.pop_first();
        }
        None
    }

    fn fate(&self, id: Uuid, kind: usize, year: i32) -> Option<Fate> {
        Some(self.people.get(&id)?.entries.get(&(kind, year))?.fate)
    }

    /// A tick is about to be made at `now`, after an absence that began at `since` if there was one. What is too late
    /// by now must be skipped.
    pub(super) fn begin_tick(&mut self, now: DateTime<Utc>, since: Option<DateTime<Utc>>) {
        self.absence = since.map(|since| (since, now));
        if since.is_none() {
            return;
        }
        let late_before = now - self.rules.late_max;
        for person in self.people.values_mut() {
            for entry in person.entries.values_mut() {
                let late = entry.due.is_some_and(|due| due.at < late_before);
                match entry.fate {
                    Fate::Owed(_) if late => entry.fate = Fate::Late { tried: false },
                    Fate::Trying(_) if late => entry.fate = Fate::Late { tried: true },
                    _ => {}
                }
            }
        }
    }

    /// All that was due at `now` has been worked off: what is owed since then or earlier did not come.
    pub(super) fn end_tick(&mut self, now: DateTime<Utc>) {
        while let Some(at) = self.next_owed().filter(|at| *at <= now) {
            let Some((_, id, kind, year)) = self.owed.pop_first() else {
                return;
            };
            let Some(entry) =
                self.people.get_mut(&id).and_then(|person| person.entries.get_mut(&(kind, year)))
            else {
                continue;
            };
            entry.fate = Fate::Nothing;
            let what = format!("the {} of {year}, owed at {at}, had not come at {now}", KINDS[kind]);
            self.complain_of(id, year, Violation::Missing, &what);
        }
    }

    /// A request for what is due at `due_at` came at `now`. Gives the number of the person, the year, and the number of
    /// the attempt, if it is owed; else complains.
    pub(super) fn attempt(
        &mut self,
        id: Uuid,
        kind: usize,
        due_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<(u32, i32, u32)> {
        let name = KINDS[kind];
        let Some(person) = self.people.get(&id) else {
            self.complain_of(id, now.year(), Violation::Wrong, "is greeted, and was never there");
            return None;
        };
        let number = person.number;
        let of_that_instant = |((of, _), entry): &(&(usize, i32), &Entry)| {
            *of == kind && entry.due.is_some_and(|due| due.at == due_at)
        };
        let found = person.entries.iter().find(of_that_instant);
        let Some((year, fate)) = found.map(|((_, year), entry)| (*year, entry.fate)) else {
            let what = format!("a {name} due at {due_at} came at {now}, when none is due");
            self.complain_of(id, due_at.year(), Violation::Wrong, &what);
            return None;
        };
        let on_return = |at| self.absence.is_some_and(|(from, to)| from <= at && at <= to && now == to);
        let (violation, what) = match fate {
            Fate::Owed(at) if at == now || on_return(at) => return Some((number, year, 1)),
            Fate::Trying(failed) => return Some((number, year, failed + 1)),
            Fate::Owed(at) => (Violation::Wrong, format!("is owed at {at} and came at {now}")),
            Fate::Sent => (Violation::Twice, format!("came again at {now}")),
            _ => (Violation::Wrong, format!("came at {now}, but its fate is {fate:?}")),
        };
        self.complain_of(id, year, violation, &format!("the {name} of {year} {what}"));
        matches!(fate, Fate::Owed(_)).then_some((number, year, 1))
    }

    /// How that attempt ended.
    pub(super) fn settle(&mut self, id: Uuid, kind: usize, year: i32, fate: Fate) {
        let Some(entry) = self.people.get_mut(&id).and_then(|person| person.entries.get_mut(&(kind, year)))
        else {
            return;
        };
        if let Fate::Trying(failures) = fate {
            entry.failures = failures;
        }
        entry.fate = fate;
    }

    /// The years that the person has completed, and the date, which the text must name.
    pub(super) fn expected_text(&self, id: Uuid, kind: usize, year: i32) -> Option<String> {
        let person = self.people.get(&id)?;
        let due = person.entries.get(&(kind, year))?.due?;
        let years = person.settings.dates[kind]?.years_by(due.local_date.year());
        let years = years.map_or_else(|| "-".to_owned(), |years| years.to_string());
        Some(super::receiver::text(person.number, KINDS[kind], due.local_date, &years))
    }

    /// Something is wrong with a person's greeting.
    pub(super) fn complain_of(&mut self, id: Uuid, year: i32, violation: Violation, what: &str) {
        // The external id is the same when the seed is run again; the id is not.
        let name = self.people.get(&id).map(|person| external_id(person.number));
        let name = name.unwrap_or_else(|| id.to_string());
        self.complain(year, violation, format!("{name}: {what}"));
    }

    pub(super) fn complain(&mut self, year: i32, violation: Violation, text: String) {
        self.violations.push((year, violation, text));
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::calendar::{LeapDay, SendAt, Zone};
    use crate::model::LateJoin;

    const ID: Uuid = Uuid::from_u128(1);

    fn instant(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    /// Somebody born on 2 May is there since the day before.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(Rules {
            send_at: [SendAt::default(); KINDS.len()],
            leap_day: LeapDay::Feb28,
            late_join: LateJoin::Send,
            late_max: TimeDelta::hours(48),
            max_attempts: 5,
            years: 2026..=2026,
        });
        let dates = [Some("1990-05-02".parse().unwrap()), None];
        let settings = Settings { zone: Zone::UTC, send_at: None, leap_day: None, dates };
        ledger.add(ID, 7, settings, instant("2026-05-01T09:00:30Z"));
        ledger
    }

    fn found(ledger: &Ledger) -> Vec<Violation> {
        ledger.violations.iter().map(|(_, violation, _)| *violation).collect()
    }

    #[test]
    fn a_greeting_at_its_time_is_right_and_a_second_is_twice() {
        let (mut ledger, due) = (ledger(), instant("2026-05-02T09:00:00Z"));
        assert_eq!(ledger.next_owed(), Some(due));
        assert_eq!(ledger.attempt(ID, 0, due, due), Some((7, 2026, 1)));
        ledger.settle(ID, 0, 2026, Fate::Sent);
        ledger.end_tick(due);
        assert_eq!(found(&ledger), []);
        assert_eq!(ledger.attempt(ID, 0, due, due), None);
        assert_eq!(found(&ledger), [Violation::Twice]);
    }

    #[test]
    fn a_greeting_that_does_not_come_is_missing() {
        let mut ledger = ledger();
        ledger.end_tick(instant("2026-05-02T08:59:00Z"));
        assert_eq!(found(&ledger), []);
        ledger.end_tick(instant("2026-05-02T09:00:00Z"));
        assert_eq!(found(&ledger), [Violation::Missing]);
    }

    #[test]
    fn a_greeting_at_another_time_to_somebody_else_or_after_a_deletion_is_wrong() {
        let (due, early) = (instant("2026-05-02T09:00:00Z"), instant("2026-05-02T08:59:00Z"));
        let mut ledger = ledger();
        ledger.attempt(ID, 0, due, early);
        ledger.attempt(ID, 0, early, early);
        ledger.attempt(Uuid::from_u128(2), 0, due, due);
        ledger.delete(ID);
        ledger.attempt(ID, 0, due, due);
        assert_eq!(found(&ledger), [Violation::Wrong; 4]);
    }
}
