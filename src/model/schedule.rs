//! From an occasion to the event of a local year: the rules of planning, without a database.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{BIRTHDAY, EventState, Occasion, Reason, User};
use crate::calendar::{self, LeapDay, Occurrence, Rule, SendAt};

/// What to do with an occasion of which bday learns on the day itself, after the send time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateJoin {
    /// Send it at once, as long as the local day lasts.
    #[default]
    Send,
    /// Record a skipped event.
    Skip,
}

/// The rules of planning: the same for the planner and for writes of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The default send time of each kind. An occasion of another kind is not planned.
    pub kinds: BTreeMap<String, SendAt>,
    /// The default rule for 29 February.
    pub leap_day: LeapDay,
    /// For dates learned on the day.
    pub late_join: LateJoin,
}

/// An event to be written: pending, or skipped with a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub user_id: Uuid,
    pub kind: String,
    pub occurrence: Occurrence,
    pub late_from: DateTime<Utc>,
    pub state: EventState,
    pub reason: Option<Reason>,
}

impl NewEvent {
    /// The same event for a user that is written at `now`: lateness does not count from before that.
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

    /// The rules that decide when events are due, besides zone data, as the database records them. [`LateJoin`] is not
    /// among them: it changes no existing event.
    #[must_use]
    pub fn rules(&self) -> String {
        let kinds: Vec<String> =
            self.kinds.iter().map(|(name, send_at)| format!("{name} {send_at}")).collect();
        format!("{}; 29 February {}", kinds.join(", "), self.leap_day)
    }

    /// The wall time at which `occasion` is due; none if its kind is not configured.
    #[must_use]
    pub fn send_at(&self, occasion: &Occasion) -> Option<SendAt> {
        let of_kind = self.kinds.get(&occasion.kind)?;
        Some(occasion.send_at.unwrap_or(*of_kind))
    }

    /// When `occasion` takes place in `local_year`; none if its kind is not configured, or it does not take place.
    #[must_use]
    pub fn occurrence(&self, occasion: &Occasion, local_year: i32) -> Option<Occurrence> {
        calendar::occurrence(
            occasion.date,
            local_year,
            self.send_at(occasion)?,
            occasion.time_zone,
            occasion.leap_day.unwrap_or(self.leap_day),
        )
    }

    /// Returns the event of `occasion` in `local_year`; `None` before the [`first_year`], without an occurrence, and if the
    /// local day was over when bday learned of the date.
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

    /// The events to write with `occasion` at `now`, if all other users are planned through the nominal date `through`:
    /// those from yesterday on, since a zone can move a date by one day.
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

    /// What is due for `user` from `now` on and before `until`, in order.
    #[must_use]
    pub fn ahead(
        &self,
        user: &User,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Vec<(Occasion, Occurrence)> {
        // A date that was pushed over New Year belongs to the year before it.
        let local_years = (now.year() - 1)..=(until.year() + 1);
        let mut ahead = Vec::new();
        for occasion in user.yearly_dates(|_| DateTime::UNIX_EPOCH) {
            let first = first_year(&occasion.kind, occasion.date).unwrap_or(i32::MIN);
            for year in local_years.clone().filter(|year| *year >= first) {
                if let Some(found) = self.occurrence(&occasion, year)
                    && (now..until).contains(&found.due_at)
                {
                    ahead.push((occasion.clone(), found));
                }
            }
        }
        ahead.sort_by(|(a, at), (b, bt)| (at.due_at, &a.kind).cmp(&(bt.due_at, &b.kind)));
        ahead
    }

    /// What is due for `user` from `now` on, within the next `years` years, in order.
    #[must_use]
    pub fn upcoming(&self, user: &User, now: DateTime<Utc>, years: u32) -> Vec<Upcoming> {
        let until =
            now.checked_add_months(Months::new(years.saturating_mul(12))).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let ahead = self.ahead(user, now, until);
        ahead.iter().map(Upcoming::from).collect()
    }
}

impl User {
    /// The user without the dates of kinds that are not configured; those stay in the database, unused.
    #[must_use]
    pub fn known_to(mut self, schedule: &Schedule) -> Self {
        self.occasions.retain(|kind, _| schedule.kinds.contains_key(kind));
        self
    }
}

/// An occasion to come, as the calendar has it today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upcoming {
    /// `birthday`, or another that the configuration names.
    pub kind: String,
    /// The date in the user's zone.
    pub local_date: NaiveDate,
    /// When it is due, UTC.
    pub due_at: DateTime<Utc>,
    /// Local time minus UTC at that instant.
    #[schema(example = "-05:00")]
    pub offset: String,
    /// The rule that decided, if one had to: `leap_day`, `gap`, `overlap` or `missing_date`.
    #[schema(value_type = Option<String>)]
    pub rule: Option<Rule>,
    /// The age, or the years since the occasion's own, where that year is known.
    pub years: Option<u32>,
}

impl From<&(Occasion, Occurrence)> for Upcoming {
    fn from((occasion, found): &(Occasion, Occurrence)) -> Self {
        Self {
            kind: occasion.kind.clone(),
            local_date: found.local_date,
            due_at: found.due_at,
            offset: found.offset.to_string(),
            rule: found.rule,
            years: occasion.date.years_by(found.local_year),
        }
    }
}

/// The first year in which `date` is greeted, if its own year is known: for a birthday that year, since the day of birth
/// is the first birthday; for another kind the year after, since there is no anniversary of 0 years.
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
impl Schedule {
    /// The default rules for these kinds.
    pub(crate) fn of_kinds(kinds: &[&str]) -> Self {
        Self {
            kinds: kinds.iter().map(|kind| ((*kind).to_owned(), SendAt::default())).collect(),
            leap_day: LeapDay::default(),
            late_join: LateJoin::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_begin_with_the_first_year_that_is_greeted() {
        let schedule = Schedule::of_kinds(&[BIRTHDAY, "work_anniversary"]);
        for (kind, date, year, greeted) in [
            (BIRTHDAY, "2025-03-01", 2024, false),
            (BIRTHDAY, "2025-03-01", 2025, true),
            ("work_anniversary", "2025-03-01", 2025, false),
            ("work_anniversary", "2025-03-01", 2026, true),
            ("work_anniversary", "--03-01", 2025, true),
            // This kind is not configured.
            ("name_day", "--03-01", 2025, false),
        ] {
            let occasion = Occasion {
                user_id: Uuid::nil(),
                kind: kind.to_owned(),
                date: date.parse().expect("a date"),
                time_zone: calendar::Zone::UTC,
                send_at: None,
                leap_day: None,
                known_at: DateTime::UNIX_EPOCH,
            };
            assert_eq!(schedule.event(&occasion, year).is_some(), greeted, "{kind} {date} in {year}");
        }
    }
}
