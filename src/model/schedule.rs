//! From an occasion to the event of a local year: the rules of planning, without a database.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BIRTHDAY, EventState, Occasion, Reason};
use crate::calendar::{self, LeapDay, Occurrence, SendAt};

/// What to do with an occasion of which bday learns on the day itself, after the send time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateJoin {
    /// Send it at once, as long as the local day lasts.
    #[default]
    Send,
    /// Leave it, and say so in a skipped event.
    Skip,
}

/// What the configuration says of one kind of occasion, as far as planning goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The send time of users who have none of their own.
    pub send_at: SendAt,
}

/// The rules of planning: the same for the planner and for whoever writes a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// By name. An occasion of a kind that is not here is not planned.
    pub kinds: BTreeMap<String, Kind>,
    /// The rule of users who have none of their own.
    pub leap_day: LeapDay,
    /// For dates learned on the day.
    pub late_join: LateJoin,
}

/// An event to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Whose it is.
    pub user_id: Uuid,
    /// Which occasion.
    pub kind: String,
    /// When and under which rule.
    pub occurrence: Occurrence,
    /// The instant from which lateness counts (UTC): when it is due, or was learned after that.
    pub late_from: DateTime<Utc>,
    /// Pending, or skipped with a reason.
    pub state: EventState,
    /// For a skipped one.
    pub reason: Option<Reason>,
}

impl NewEvent {
    /// The same event where a user is written at `now`: lateness does not count from before that.
    #[must_use]
    pub fn learned_at(self, now: DateTime<Utc>) -> Self {
        if self.occurrence.due_at >= now {
            return self;
        }
        Self { late_from: self.late_from.max(now), ..self }
    }
}

impl Schedule {
    /// The kinds beside the birthday.
    pub fn other_kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str).filter(|kind| *kind != BIRTHDAY)
    }

    /// What decides when events are due, besides zone data, as it is noted in the database. What is not in it
    /// ([`LateJoin`]) changes no event that is there.
    #[must_use]
    pub fn rules(&self) -> String {
        let kinds: Vec<String> =
            self.kinds.iter().map(|(name, kind)| format!("{name} {}", kind.send_at)).collect();
        format!("{}; 29 February {}", kinds.join(", "), self.leap_day)
    }

    /// At which wall time `occasion` is due; none where its kind is not configured.
    #[must_use]
    pub fn send_at(&self, occasion: &Occasion) -> Option<SendAt> {
        let kind = self.kinds.get(&occasion.kind)?;
        Some(occasion.send_at.unwrap_or(kind.send_at))
    }

    /// When `occasion` takes place in `local_year`, if its kind is known and it takes place at all.
    #[must_use]
    pub fn occurrence(&self, occasion: &Occasion, local_year: i32) -> Option<Occurrence> {
        calendar::occurrence(
            occasion.date,
            local_year,
            self.send_at(occasion)?,
            occasion.time_zone,
            self.rule(occasion.leap_day),
        )
    }

    /// The rule for 29 February of a user whose own is `own`.
    #[must_use]
    pub fn rule(&self, own: Option<LeapDay>) -> LeapDay {
        own.unwrap_or(self.leap_day)
    }

    /// The event of `occasion` in `local_year`, unless there is none: the kind is unknown, the date does not take
    /// place that year, or that day was over when bday learned of it.
    ///
    /// Nor has a year before the first: see [`first_year`].
    #[must_use]
    pub fn event(&self, occasion: &Occasion, local_year: i32) -> Option<NewEvent> {
        if first_year(&occasion.kind, occasion.date).is_some_and(|first| first > local_year) {
            return None;
        }
        let occurrence = self.occurrence(occasion, local_year)?;
        let in_time = occurrence.due_at >= occasion.known_at;
        let day_lasts = || occasion.known_at < occasion.time_zone.local_day_ends_at(occurrence.local_date);
        let (state, reason) = if in_time {
            (EventState::Pending, None)
        } else if !day_lasts() {
            return None;
        } else if self.late_join == LateJoin::Send {
            (EventState::Pending, None)
        } else {
            (EventState::Skipped, Some(Reason::LateJoin))
        };
        Some(NewEvent {
            user_id: occasion.user_id,
            kind: occasion.kind.clone(),
            late_from: occurrence.due_at.max(occasion.known_at),
            occurrence,
            state,
            reason,
        })
    }

    /// The events that whoever writes `occasion` at `now` must write with it, when everybody else has been planned
    /// through the nominal date `through`: those from yesterday on, since a zone can move a date by one day.
    pub fn events_through(
        &self,
        occasion: &Occasion,
        now: DateTime<Utc>,
        through: NaiveDate,
    ) -> impl Iterator<Item = NewEvent> {
        let from = occasion.time_zone.local_date(now).pred_opt().unwrap_or(NaiveDate::MIN);
        (from.year()..=through.year())
            .filter(move |&year| (from..=through).contains(&nominal_date(occasion.date, year)))
            .filter_map(|year| self.event(occasion, year))
    }
}

/// The first year in which `date` is greeted, where its own year is known: for a birthday that year itself, since the
/// day of birth is the first birthday; for any other kind the year after, since an anniversary of 0 years is none.
#[must_use]
pub fn first_year(kind: &str, date: calendar::AnnualDate) -> Option<i32> {
    let year = date.year()?;
    Some(if kind == BIRTHDAY { year } else { year + 1 })
}

/// The date under which `date` is planned in `year`: its own, and 28 February for a 29th that the year lacks.
#[must_use]
pub fn nominal_date(date: calendar::AnnualDate, year: i32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, date.month(), date.day())
        .or_else(|| NaiveDate::from_ymd_opt(year, 2, 28))
        .unwrap_or(NaiveDate::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, date: &str, year: i32) -> Option<NewEvent> {
        let named = |name: &str| {
            let send_at = SendAt::default();
            (name.to_owned(), Kind { send_at })
        };
        let schedule = Schedule {
            kinds: [named(BIRTHDAY), named("work_anniversary")].into(),
            leap_day: LeapDay::default(),
            late_join: LateJoin::default(),
        };
        let occasion = Occasion {
            user_id: Uuid::nil(),
            kind: kind.to_owned(),
            date: date.parse().expect("a date"),
            time_zone: calendar::Zone::UTC,
            send_at: None,
            leap_day: None,
            known_at: DateTime::UNIX_EPOCH,
        };
        schedule.event(&occasion, year)
    }

    #[test]
    fn the_day_of_birth_is_the_first_birthday() {
        assert!(event(BIRTHDAY, "2025-03-01", 2024).is_none());
        assert!(event(BIRTHDAY, "2025-03-01", 2025).is_some());
    }

    #[test]
    fn an_anniversary_of_0_years_is_none() {
        assert!(event("work_anniversary", "2025-03-01", 2025).is_none());
        assert!(event("work_anniversary", "2025-03-01", 2026).is_some());
    }

    #[test]
    fn a_date_without_its_year_is_greeted_every_year() {
        assert!(event("work_anniversary", "--03-01", 2025).is_some());
    }

    #[test]
    fn a_kind_that_is_not_configured_has_no_events() {
        assert!(event("name_day", "--03-01", 2025).is_none());
    }
}
