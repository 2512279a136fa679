//! Who was to be greeted, and what arrived.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Cast, Person};
use crate::calendar::Occurrence;
use crate::dev::inbox::{Arrival, Greeting};

/// Somebody whose greeting is to arrive.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Who it is.
    pub person: Person,
    /// When the greeting is due.
    pub due: Occurrence,
    /// Whether bday was there at that instant. Who was due before can only be greeted late.
    pub on_time: bool,
    /// How often a greeting was accepted: once, in the end.
    accepted: u32,
}

/// What is expected, and what of it arrived.
#[derive(Debug)]
pub struct Account {
    started_at: DateTime<Utc>,
    /// By user id.
    guests: HashMap<String, Guest>,
    /// Milliseconds from due to arrival, of those who could be greeted in time.
    lateness_ms: Vec<i64>,
    /// Milliseconds from the start to the arrival of the last greeting that was due before it.
    caught_up_ms: Option<i64>,
    /// Greetings for nobody here, or with another due instant.
    wrong: u32,
}

/// How it went, as figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoResult {
    /// Greetings that were to arrive.
    pub expected: usize,
    /// Guests of whom at least one greeting was accepted.
    pub accepted: usize,
    /// Greetings beyond the first of each guest.
    pub repeated: u32,
    /// Greetings for nobody here, or with another due instant than the calendar's.
    pub wrong: u32,
    /// How many could be greeted in time, and were.
    pub on_time: usize,
    /// Median and 99th percentile of the lateness of those, in milliseconds.
    pub lateness_ms: Option<(i64, i64)>,
    /// How many were due before the start, and were greeted.
    pub caught_up: usize,
    /// How long after the start the last of these arrived, in milliseconds.
    pub caught_up_ms: Option<i64>,
}

impl DemoResult {
    /// Whether everybody was greeted, once, for the right instant.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.accepted == self.expected && self.repeated == 0 && self.wrong == 0
    }
}

impl Account {
    /// Expects a greeting for each of `cast` that has its birthday. `ids` are their user ids, by external id;
    /// `started_at` is the instant from which bday can greet.
    #[must_use]
    pub fn new(cast: &Cast, ids: &HashMap<String, Uuid>, started_at: DateTime<Utc>) -> Self {
        let guests = cast.celebrating().filter_map(|(person, due)| {
            let id = ids.get(&person.external_id)?;
            let on_time = due.due_at > started_at;
            let guest = Guest { person: person.clone(), due, on_time, accepted: 0 };
            Some((id.to_string(), guest))
        });
        Self { started_at, guests: guests.collect(), lateness_ms: Vec::new(), caught_up_ms: None, wrong: 0 }
    }

    /// Whose greeting this is.
    #[must_use]
    pub fn guest(&self, greeting: &Greeting) -> Option<&Guest> {
        self.guests.get(&greeting.user_id)
    }

    /// Takes note of an arrival.
    pub fn note(&mut self, arrival: &Arrival) {
        if !arrival.accepted() {
            return;
        }
        let guest = arrival.content.greeting().and_then(|greeting| {
            let guest = self.guests.get_mut(&greeting.user_id)?;
            (guest.due.due_at == greeting.timestamp).then_some(guest)
        });
        let Some(guest) = guest else {
            self.wrong += 1;
            return;
        };
        guest.accepted += 1;
        if guest.accepted > 1 {
            return;
        }
        if guest.on_time {
            self.lateness_ms.push((arrival.arrived_at - guest.due.due_at).num_milliseconds());
        } else {
            let after = (arrival.arrived_at - self.started_at).num_milliseconds();
            self.caught_up_ms = self.caught_up_ms.max(Some(after));
        }
    }

    /// Whose greeting has not arrived, in the order in which they are due.
    #[must_use]
    pub fn missing(&self) -> Vec<&Guest> {
        let mut missing: Vec<_> = self.guests.values().filter(|guest| guest.accepted == 0).collect();
        missing.sort_by_key(|guest| (guest.due.due_at, &guest.person.external_id));
        missing
    }

    /// The last instant at which somebody is due.
    #[must_use]
    pub fn last_due_at(&self) -> Option<DateTime<Utc>> {
        self.guests.values().map(|guest| guest.due.due_at).max()
    }

    /// How it went so far.
    #[must_use]
    pub fn verdict(&self) -> DemoResult {
        let accepted = self.guests.values().filter(|guest| guest.accepted > 0);
        let mut lateness = self.lateness_ms.clone();
        lateness.sort_unstable();
        // The nearest rank.
        let percentile =
            |percent: usize| lateness.get((lateness.len() * percent).div_ceil(100).saturating_sub(1));
        let accepted = accepted.count();
        DemoResult {
            expected: self.guests.len(),
            accepted,
            repeated: self.guests.values().map(|guest| guest.accepted.saturating_sub(1)).sum(),
            wrong: self.wrong,
            on_time: lateness.len(),
            lateness_ms: percentile(50).copied().zip(percentile(99).copied()),
            caught_up: accepted - lateness.len(),
            caught_up_ms: self.caught_up_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::inbox::Content;
    use crate::model::{BIRTHDAY, Schedule};

    const NOW: &str = "2026-11-24T08:12:30Z";

    fn now() -> DateTime<Utc> {
        NOW.parse().expect("an instant")
    }

    /// Four of these were due, and four are due in 30 s.
    fn account() -> Account {
        let cast = Cast::new(now(), 9, 1, &Schedule::of_kinds(&[BIRTHDAY]));
        let ids = cast.people.iter().map(|person| (person.external_id.clone(), Uuid::now_v7())).collect();
        Account::new(&cast, &ids, now())
    }

    /// The answer to a greeting, so long after it was due and after the start.
    fn arrival(user_id: &str, due_at: DateTime<Utc>, status: u16, after_ms: i64) -> Arrival {
        Arrival {
            id: 1,
            arrived_at: due_at.max(now()) + chrono::TimeDelta::milliseconds(after_ms),
            path: "/".to_owned(),
            webhook_id: None,
            attempt: 1,
            duplicate: false,
            sample: false,
            status: Some(status),
            lateness_ms: None,
            content: Content::Greeting(Greeting {
                message: String::new(),
                user_id: user_id.to_owned(),
                event_id: String::new(),
                timestamp: due_at,
            }),
        }
    }

    fn all(account: &Account) -> Vec<(String, DateTime<Utc>)> {
        let guests = account.guests.iter();
        guests.map(|(id, guest)| (id.clone(), guest.due.due_at)).collect()
    }

    #[test]
    fn it_holds_when_everybody_was_greeted_once() {
        let mut account = account();
        for (n, (id, due_at)) in all(&account).into_iter().enumerate() {
            assert_eq!(account.missing().len(), 8 - n);
            assert!(!account.verdict().holds());
            account.note(&arrival(&id, due_at, 503, 0));
            account.note(&arrival(&id, due_at, 200, 40));
        }
        let verdict = account.verdict();
        assert!(verdict.holds(), "{verdict:?}");
        assert_eq!((verdict.on_time, verdict.lateness_ms), (4, Some((40, 40))));
        assert_eq!((verdict.caught_up, verdict.caught_up_ms), (4, Some(40)));
    }

    #[test]
    fn a_second_greeting_or_one_for_another_instant_or_for_a_stranger_does_not_hold() {
        let mut account = account();
        for (id, due_at) in all(&account) {
            account.note(&arrival(&id, due_at, 200, 0));
        }
        let (id, due_at) = all(&account).remove(0);
        account.note(&arrival(&id, due_at, 200, 9));
        account.note(&arrival(&id, now(), 200, 9));
        account.note(&arrival("somebody", due_at, 200, 9));
        let verdict = account.verdict();
        assert_eq!((verdict.accepted, verdict.repeated, verdict.wrong), (8, 1, 2));
        assert!(!verdict.holds());
    }
}
