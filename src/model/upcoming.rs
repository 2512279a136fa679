//! What lies ahead of a user.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{BIRTHDAY, Occasion, Schedule, User, first_year};
use crate::calendar::{Occurrence, Rule};

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

impl User {
    /// Every yearly date of this user, as planning sees it; `known_at` says since when bday knows each of them, UTC.
    pub fn yearly_dates(&self, known_at: impl Fn(&str) -> DateTime<Utc>) -> impl Iterator<Item = Occasion> {
        let birthday = std::iter::once((BIRTHDAY, self.birth_date));
        let others = self.occasions.iter().map(|(kind, date)| (kind.as_str(), *date));
        birthday.chain(others).map(move |(kind, date)| Occasion {
            user_id: self.id,
            kind: kind.to_owned(),
            date,
            time_zone: self.time_zone,
            send_at: self.send_at,
            leap_day: self.leap_day,
            known_at: known_at(kind),
        })
    }
}

impl Schedule {
    /// What is due for `user` from `now` on and before `until`, in order. Kinds that are not configured have nothing
    /// ahead.
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

impl From<&(Occasion, Occurrence)> for Upcoming {
    fn from((occasion, found): &(Occasion, Occurrence)) -> Self {
        Self {
            kind: occasion.kind.clone(),
            local_date: found.local_date,
            due_at: found.due_at,
            offset: found.offset().to_string(),
            rule: found.rule,
            years: occasion.date.years_by(found.local_year),
        }
    }
}
