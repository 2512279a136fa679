//! What lies ahead of a user.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{BIRTHDAY, Occasion, Schedule, User, first_year};
use crate::calendar::Rule;

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

impl Schedule {
    /// What is due for `user` after `now`, within the next `years` years, in order. Kinds that are not configured have
    /// nothing ahead.
    #[must_use]
    pub fn upcoming(&self, user: &User, now: DateTime<Utc>, years: u32) -> Vec<Upcoming> {
        let until = now
            .checked_add_months(Months::new(years.saturating_mul(12)))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        // A date that was pushed over New Year belongs to the year before it.
        let local_years = (now.year() - 1)..=(until.year() + 1);
        let mut upcoming = Vec::new();
        let birthday = std::iter::once((BIRTHDAY, user.birth_date));
        let others = user.occasions.iter().map(|(kind, date)| (kind.as_str(), *date));
        for (kind, date) in birthday.chain(others) {
            let occasion = Occasion {
                user_id: user.id,
                kind: kind.to_owned(),
                date,
                time_zone: user.time_zone,
                send_at: user.send_at,
                leap_day: user.leap_day,
                known_at: DateTime::UNIX_EPOCH,
            };
            for year in local_years.clone() {
                if first_year(kind, date).is_some_and(|first| first > year) {
                    continue;
                }
                if let Some(found) = self.occurrence(&occasion, year)
                    && (now..until).contains(&found.due_at)
                {
                    upcoming.push(Upcoming {
                        kind: kind.to_owned(),
                        local_date: found.local_date,
                        due_at: found.due_at,
                        offset: found.offset().to_string(),
                        rule: found.rule,
                        years: date.years_by(year),
                    });
                }
            }
        }
        upcoming.sort_by(|a, b| (a.due_at, &a.kind).cmp(&(b.due_at, &b.kind)));
        upcoming
    }
}
