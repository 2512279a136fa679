//! The rules of planning: from an occasion to the event of a local year.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{BIRTHDAY, EventState, Occasion, Reason, User};
use crate::calendar::text::expected;
use crate::calendar::{self, InvalidText, LeapDay, Occurrence, Rule, SendAt};

/// What to do with a date that is learned on the day itself, after the send time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateJoin {
    #[default]
    Send,
    Skip,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The default send time of each kind. Other kinds are not planned.
    pub kinds: BTreeMap<String, SendAt>,
    pub leap_day: LeapDay,
    pub late_join: LateJoin,
}

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
    /// Lateness of a due event counts from `now` at the earliest, when its user is written.
    #[must_use]
    pub fn learned_at(self, now: DateTime<Utc>) -> Self {
        if self.occurrence.due_at >= now {
            return self;
        }
        Self { late_from: self.late_from.max(now), ..self }
    }
}

impl Schedule {
    pub fn other_kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str).filter(|kind| *kind != BIRTHDAY)
    }

    /// Returns `kind` if it is configured, and none for none. The error names the configured kinds.
    pub fn check_kind<'a>(&self, kind: Option<&'a str>) -> Result<Option<&'a str>, InvalidText> {
        match kind {
            Some(unknown) if !self.kinds.contains_key(unknown) => {
                let known: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
                Err(InvalidText::new("unknown kind", unknown, expected(&known)))
            }
            kind => Ok(kind),
        }
    }

    /// Returns the rules that decide when events are due, except zone data, as stored in the database. [`LateJoin`] is left out: it
    /// changes no existing event.
    #[must_use]
    pub fn rules(&self) -> String {
        let kinds: Vec<String> =
            self.kinds.iter().map(|(name, send_at)| format!("{name} {send_at}")).collect();
        format!("{}; 29 February {}", kinds.join(", "), self.leap_day)
    }

    /// Returns the local time at which `occasion` is due; none if its kind is not configured.
    #[must_use]
    pub fn send_at(&self, occasion: &Occasion) -> Option<SendAt> {
        let default = self.kinds.get(&occasion.kind)?;
        Some(occasion.send_at.unwrap_or(*default))
    }

    /// Returns none if the kind is not configured, or the date does not occur in `local_year`.
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

    /// Returns the event of `occasion` in `local_year`; none before the [`first_year`], without an occurrence, and if the date was
    /// learned after the local day.
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

    /// Returns the events to write with `occasion` at `now`, if all other users are planned through the nominal date `through`: from
    /// yesterday on, since a zone can move a date by one day.
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

    /// Returns the occurrences of `user` from `now` on and before `until`, in order.
    #[must_use]
    pub fn occurrences(
        &self,
        user: &User,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Vec<(Occasion, Occurrence)> {
        // A date that moved over New Year belongs to the year before.
        let local_years = (now.year() - 1)..=(until.year() + 1);
        let mut occurrences = Vec::new();
        for occasion in user.yearly_dates(|_| DateTime::UNIX_EPOCH) {
            let first = first_year(&occasion.kind, occasion.date).unwrap_or(i32::MIN);
            for year in local_years.clone().filter(|year| *year >= first) {
                if let Some(found) = self.occurrence(&occasion, year)
                    && (now..until).contains(&found.due_at)
                {
                    occurrences.push((occasion.clone(), found));
                }
            }
        }
        occurrences.sort_by(|(a, at), (b, bt)| (at.due_at, &a.kind).cmp(&(bt.due_at, &b.kind)));
        occurrences
    }

    /// Returns the occurrences of `user` in the next `years` years, in order.
    #[must_use]
    pub fn upcoming(&self, user: &User, now: DateTime<Utc>, years: u32) -> Vec<Upcoming> {
        let until =
            now.checked_add_months(Months::new(years.saturating_mul(12))).unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.occurrences(user, now, until).iter().map(Upcoming::from).collect()
    }
}

impl User {
    /// Removes the dates of kinds that are not configured; they stay in the database.
    #[must_use]
    pub fn with_configured_kinds(mut self, schedule: &Schedule) -> Self {
        self.occasions.retain(|kind, _| schedule.kinds.contains_key(kind));
        self
    }
}

/// A future occurrence by the current calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upcoming {
    /// `birthday`, or another kind of the configuration.
    pub kind: String,
    pub local_date: NaiveDate,
    /// When it is due (UTC).
    pub due_at: DateTime<Utc>,
    /// Local time minus UTC.
    #[schema(example = "-05:00")]
    pub offset: String,
    /// The rule that moved it: `leap_day`, `gap`, `overlap` or `missing_date`.
    #[schema(value_type = Option<String>)]
    pub rule: Option<Rule>,
    /// The age, or the years since the date, if its year is known.
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

/// Returns the first year in which `date` is greeted, if its own year is known: that year for a birthday, the next year for another
/// kind, which has no anniversary of 0 years.
#[must_use]
pub fn first_year(kind: &str, date: calendar::AnnualDate) -> Option<i32> {
    let year = date.year()?;
    Some(if kind == BIRTHDAY { year } else { year + 1 })
}

/// Returns the date under which `date` is planned in `year`: its own, or 28 February for 29 February in a common year.
#[must_use]
pub fn nominal_date(date: calendar::AnnualDate, year: i32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, date.month(), date.day())
        .or_else(|| NaiveDate::from_ymd_opt(year, 2, 28))
        .unwrap_or(NaiveDate::MIN)
}

#[cfg(test)]
impl Schedule {
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
