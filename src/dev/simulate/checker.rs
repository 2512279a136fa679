//! Derives the expected deliveries without access to the system under test, and checks each greeting against them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Datelike as _, Utc};
use uuid::Uuid;

use super::config::{self, KINDS};
use super::expected::{
    DeliveryState, ExpectedDelivery, KindAndYear, SimulatedUser, Violation, ViolationKind,
};
use super::rules::{Rules, Write, expected_delivery};
use super::users::{UserSettings, external_id};
use crate::calendar::AnnualDate;

#[derive(Debug)]
pub(super) struct DeliveryChecker {
    pub(super) rules: Rules,
    pub(super) users: HashMap<Uuid, SimulatedUser>,
    /// May hold deliveries whose state has changed since.
    due: BTreeSet<(DateTime<Utc>, Uuid, KindAndYear)>,
    /// The outage that this tick ends: greetings due in it are sent now.
    outage: Option<(DateTime<Utc>, DateTime<Utc>)>,
    pub(super) violations: Vec<Violation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpectedAttempt {
    pub(super) user: Uuid,
    pub(super) user_number: u32,
    pub(super) kind: usize,
    pub(super) year: i32,
    pub(super) attempt: u32,
}

impl DeliveryChecker {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, users: HashMap::new(), due: BTreeSet::new(), outage: None, violations: Vec::new() }
    }

    /// A user was added, or added again after a deletion.
    pub(super) fn add(&mut self, id: Uuid, number: u32, settings: UserSettings, now: DateTime<Utc>) {
        let known_at = [now; KINDS.len()];
        let deliveries = self.users.remove(&id).map_or_else(BTreeMap::new, |user| user.deliveries);
        self.users.insert(id, SimulatedUser { number, settings, known_at, deliveries });
        self.update(id, now, Write::Add);
    }

    /// A user was edited. Returns the number of due deliveries that moved.
    pub(super) fn edit(&mut self, id: Uuid, settings: UserSettings, now: DateTime<Utc>) -> u32 {
        let Some(user) = self.users.get_mut(&id) else {
            return 0;
        };
        let old = std::mem::replace(&mut user.settings, settings);
        for (kind, known_at) in user.known_at.iter_mut().enumerate() {
            let day = |settings: &UserSettings| settings.dates[kind].map(|date| (date.month(), date.day()));
            let leap_day_changed = user.settings.dates[kind].is_some_and(AnnualDate::is_leap_day)
                && old.leap_day != user.settings.leap_day;
            if day(&old) != day(&user.settings) || leap_day_changed {
                *known_at = now;
            }
        }
        self.update(id, now, Write::Edit)
    }

    pub(super) fn delete(&mut self, id: Uuid) {
        for delivery in self.users.get_mut(&id).into_iter().flat_map(|user| user.deliveries.values_mut()) {
            if matches!(delivery.state, DeliveryState::Due(_) | DeliveryState::Retrying) {
                delivery.state = DeliveryState::Cancelled;
            }
        }
    }

    /// Applies the rules to all deliveries of a user. Returns the number of due deliveries that moved.
    fn update(&mut self, id: Uuid, now: DateTime<Utc>, write: Write) -> u32 {
        let Some(user) = self.users.get_mut(&id) else {
            return 0;
        };
        let years = self.rules.years.clone();
        let keys = (0..KINDS.len()).flat_map(|kind| years.clone().map(move |year| (kind, year)));
        let mut moved = 0;
        for key in keys {
            let new = expected_delivery(&self.rules, user, key, now, write);
            let old = user.deliveries.insert(key, new).unwrap_or_default();
            if let DeliveryState::Due(at) = new.state {
                self.due.insert((at, id, key));
                let was_due = matches!(old.state, DeliveryState::Due(_));
                moved += u32::from(was_due && old.due.map(|due| due.at) != new.due.map(|due| due.at));
            }
        }
        moved
    }

    fn delivery(&mut self, id: Uuid, key: KindAndYear) -> Option<&mut ExpectedDelivery> {
        self.users.get_mut(&id)?.deliveries.get_mut(&key)
    }

    pub(super) fn next_due_at(&mut self) -> Option<DateTime<Utc>> {
        while let Some((at, id, key)) = self.due.first().copied() {
            if self.delivery(id, key).is_some_and(|delivery| delivery.state == DeliveryState::Due(at)) {
                return Some(at);
            }
            self.due.pop_first();
        }
        None
    }

    /// A tick begins, after an outage that began at `outage_since` if there was one: what is too late must be skipped.
    pub(super) fn begin_tick(&mut self, now: DateTime<Utc>, outage_since: Option<DateTime<Utc>>) {
        self.outage = outage_since.map(|since| (since, now));
        if outage_since.is_none() {
            return;
        }
        let late_before = now - self.rules.late_max;
        for delivery in self.users.values_mut().flat_map(|user| user.deliveries.values_mut()) {
            let open = matches!(delivery.state, DeliveryState::Due(_) | DeliveryState::Retrying);
            if open && delivery.due.is_some_and(|due| due.at < late_before) {
                delivery.state = DeliveryState::SkippedLate;
            }
        }
    }

    /// A tick has ended: a delivery that is still due now or earlier is missing.
    pub(super) fn end_tick(&mut self, now: DateTime<Utc>) {
        while let Some(at) = self.next_due_at().filter(|at| *at <= now) {
            let Some((_, id, key)) = self.due.pop_first() else {
                return;
            };
            if let Some(delivery) = self.delivery(id, key) {
                delivery.state = DeliveryState::NotExpected;
            }
            let (kind, year) = key;
            let text = format!("the {} of {year}, due at {at}, was not sent at {now}", KINDS[kind]);
            self.report(id, year, ViolationKind::Missing, &text);
        }
    }

    /// Checks a request received at `now` for an occasion due at `due_at`. Returns it if it is expected, though perhaps not
    /// now; otherwise only reports a violation.
    pub(super) fn begin_attempt(
        &mut self,
        user: Uuid,
        kind: usize,
        due_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<ExpectedAttempt> {
        let name = KINDS[kind];
        let Some(simulated) = self.users.get(&user) else {
            self.report(user, now.year(), ViolationKind::Wrong, "was greeted, but never added");
            return None;
        };
        let user_number = simulated.number;
        let found = simulated
            .deliveries
            .iter()
            .find(|((of, _), delivery)| *of == kind && delivery.due.is_some_and(|due| due.at == due_at));
        let Some((year, delivery)) = found.map(|((_, year), delivery)| (*year, *delivery)) else {
            let text = format!("unexpected {name} due at {due_at}, sent at {now}");
            self.report(user, due_at.year(), ViolationKind::Wrong, &text);
            return None;
        };
        let attempt = delivery.failed_attempts + 1;
        let expected = Some(ExpectedAttempt { user, user_number, kind, year, attempt });
        let after_outage = |at| self.outage.is_some_and(|(from, to)| from <= at && at <= to && now == to);
        let (violation, text) = match delivery.state {
            DeliveryState::Due(at) if at == now || after_outage(at) => return expected,
            DeliveryState::Retrying => return expected,
            DeliveryState::Due(at) => {
                (ViolationKind::Wrong, format!("is due at {at}, but was sent at {now}"))
            }
            DeliveryState::Delivered => (ViolationKind::Twice, format!("was sent again at {now}")),
            state => (ViolationKind::Wrong, format!("was sent at {now} in the state {state:?}")),
        };
        self.report(user, year, violation, &format!("the {name} of {year} {text}"));
        expected.filter(|_| matches!(delivery.state, DeliveryState::Due(_)))
    }

    /// Checks the text, which shows the local date and the completed years.
    pub(super) fn check_message(&mut self, attempt: &ExpectedAttempt, message: &str) {
        let ExpectedAttempt { user, user_number, kind, year, .. } = *attempt;
        let expected = self.users.get(&user).and_then(|simulated| {
            let local_date = simulated.deliveries.get(&(kind, year))?.due?.local_date;
            let years = simulated.settings.dates[kind]?.years_by(local_date.year());
            Some(config::message(user_number, KINDS[kind], local_date, years))
        });
        if expected.as_deref() != Some(message) {
            let text = format!("the text is {message:?}, not {expected:?}");
            self.report(user, year, ViolationKind::Wrong, &text);
        }
    }

    pub(super) fn end_attempt(&mut self, attempt: &ExpectedAttempt, state: DeliveryState) {
        if let Some(delivery) = self.delivery(attempt.user, (attempt.kind, attempt.year)) {
            delivery.failed_attempts += u32::from(state == DeliveryState::Retrying);
            delivery.state = state;
        }
    }

    /// Reports a violation about a user, by the external id: unlike the id, it is the same in each run of a seed.
    pub(super) fn report(&mut self, id: Uuid, year: i32, kind: ViolationKind, text: &str) {
        let name = self.users.get(&id).map_or_else(|| id.to_string(), |user| external_id(user.number));
        self.violations.push(Violation { year, kind, text: format!("{name}: {text}") });
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

    /// Has a user born on 2 May, added on 1 May.
    fn checker() -> DeliveryChecker {
        let mut checker = DeliveryChecker::new(Rules {
            send_at: [SendAt::default(); KINDS.len()],
            leap_day: LeapDay::Feb28,
            late_join: LateJoin::Send,
            late_max: TimeDelta::hours(48),
            max_attempts: 5,
            years: 2026..=2026,
        });
        let dates = [Some("1990-05-02".parse().unwrap()), None];
        let settings = UserSettings { zone: Zone::UTC, send_at: None, leap_day: None, dates };
        checker.add(ID, 7, settings, instant("2026-05-01T09:00:30Z"));
        checker
    }

    fn violations(checker: &DeliveryChecker) -> Vec<ViolationKind> {
        checker.violations.iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn a_greeting_at_its_time_is_right_and_a_second_is_twice() {
        let (mut checker, due) = (checker(), instant("2026-05-02T09:00:00Z"));
        assert_eq!(checker.next_due_at(), Some(due));
        let attempt = checker.begin_attempt(ID, 0, due, due).unwrap();
        let expected = ExpectedAttempt { user: ID, user_number: 7, kind: 0, year: 2026, attempt: 1 };
        assert_eq!(attempt, expected);
        checker.end_attempt(&attempt, DeliveryState::Delivered);
        checker.end_tick(due);
        assert_eq!(violations(&checker), []);
        assert_eq!(checker.begin_attempt(ID, 0, due, due), None);
        assert_eq!(violations(&checker), [ViolationKind::Twice]);
    }

    #[test]
    fn a_greeting_that_is_not_sent_is_missing() {
        let mut checker = checker();
        checker.end_tick(instant("2026-05-02T08:59:00Z"));
        assert_eq!(violations(&checker), []);
        checker.end_tick(instant("2026-05-02T09:00:00Z"));
        assert_eq!(violations(&checker), [ViolationKind::Missing]);
    }

    #[test]
    fn a_greeting_at_another_time_to_an_unknown_or_deleted_user_is_wrong() {
        let (due, early) = (instant("2026-05-02T09:00:00Z"), instant("2026-05-02T08:59:00Z"));
        let mut checker = checker();
        checker.begin_attempt(ID, 0, due, early);
        checker.begin_attempt(ID, 0, early, early);
        checker.begin_attempt(Uuid::from_u128(2), 0, due, due);
        checker.delete(ID);
        checker.begin_attempt(ID, 0, due, due);
        assert_eq!(violations(&checker), [ViolationKind::Wrong; 4]);
    }
}
