//! Why somebody was, will be, or was not greeted.
//!
//! Pure: from what is on record ([`Facts`]), the calendar and the configuration ([`Terms`]) to an [`Explanation`]. So
//! the command and the API say the same, and every answer can be tested without a database.
//!
//! Guaranteed: each occasion of the current local year has exactly one [`Status`], and a sentence that names the
//! instants and settings which decided. Not guaranteed: the future. What is ahead is the calendar of today; an edit, a
//! change of the configuration or of the zone data moves it.

mod judge;
mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::calendar::{Occurrence, utc_offset};
use crate::config::Config;
use crate::model::{Event, EventWithAttempts, Occasion, Schedule, Upcoming, User, nominal_date};
use crate::store::Facts;
pub use judge::Status;
pub use words::span;

/// Of the occurrences ahead, as many are shown.
const NEXT: usize = 5;
/// How far they are looked for: five of a 29 February in leap years only, over a year like 2100 that is none.
const YEARS_AHEAD: u32 = 25;
/// Of the events of other years, as many are shown.
const EARLIER: usize = 10;

/// What the configuration says, as far as it decides who is greeted when.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Kinds, send times, and the rule for 29 February.
    pub schedule: Schedule,
    /// `plan.horizon_secs`
    pub horizon: Duration,
    /// `late.max_secs`
    pub late_max: Duration,
}

/// All that can be said of one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The id, also of a deleted user.
    pub user_id: Uuid,
    /// Null: deleted.
    pub user: Option<User>,
    /// When the user was deleted, UTC; known for 400 days.
    pub deleted_at: Option<DateTime<Utc>>,
    /// The moment at which all this is so, UTC.
    pub now: DateTime<Utc>,
    /// What a clock shows where the user lives.
    #[schema(example = "2026-12-10T09:00:00+00:00")]
    pub local_now: Option<String>,
    /// The occasions of the current local year, by kind.
    pub this_year: Vec<ThisYear>,
    /// The next occurrences, in order.
    pub next: Vec<Next>,
    /// The latest events of other years.
    pub other_years: Vec<Event>,
}

/// One occasion of the current local year, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThisYear {
    /// `birthday`, or another that the configuration names.
    pub kind: String,
    /// The year in the user's zone; UTC's for somebody who was deleted.
    pub local_year: i32,
    /// Where it stands.
    pub status: Status,
    /// The same as a sentence, with the reason.
    pub why: String,
    /// When it is due by the calendar of today; null if it does not take place or nobody knows the date any more.
    pub occurrence: Option<Upcoming>,
    /// The rule that decided when, if one had to.
    pub rule_in_words: Option<String>,
    /// The event with every attempt, if there is one.
    pub event: Option<EventWithAttempts>,
}

/// An occurrence to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    /// When and by which rule.
    #[serde(flatten)]
    pub occurrence: Upcoming,
    /// That rule as a sentence, if one had to decide.
    pub rule_in_words: Option<String>,
    /// Its event, if it has been planned.
    pub event_id: Option<Uuid>,
    /// From when on its event is planned, UTC.
    pub planned_from: Option<DateTime<Utc>>,
}

impl Terms {
    /// As `config` says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { schedule: config.schedule(), horizon: config.plan.horizon, late_max: config.late.max }
    }

    /// From when on the planner reaches the nominal date `day`, UTC: the horizon and a day ahead of its midnight, since
    /// some zone is a day ahead of UTC.
    #[must_use]
    pub fn planned_from(&self, day: NaiveDate) -> Option<DateTime<Utc>> {
        let reached = day.checked_sub_days(Days::new(1))?.and_time(NaiveTime::MIN).and_utc();
        reached.checked_sub_signed(TimeDelta::from_std(self.horizon).ok()?)
    }

    fn words(&self, (occasion, occurrence): &(Occasion, Occurrence)) -> Option<String> {
        let leap_day = occasion.leap_day.unwrap_or(self.schedule.leap_day);
        occurrence.in_words(occasion.date, self.schedule.send_at(occasion)?, leap_day)
    }
}

/// Explains `facts` at `now` under `terms`.
#[must_use]
pub fn explain(facts: Facts, terms: &Terms, now: DateTime<Utc>) -> Explanation {
    let zone = facts.user.as_ref().map(|user| user.time_zone);
    let local = zone.map(|zone| zone.local(now));
    let local_year = local.map_or_else(|| now.year(), |local| local.year());
    let this_year = kinds(&facts, local_year)
        .into_iter()
        .map(|kind| this_year(&facts, terms, now, kind, local_year))
        .collect();
    let next = facts.user.as_ref().map(|user| next(user, &facts, terms, now)).unwrap_or_default();
    let others = facts.events.into_iter().map(|found| found.event);
    Explanation {
        user_id: facts.user_id,
        deleted_at: facts.deleted_at,
        now,
        local_now: local
            .map(|local| format!("{}{}", local.format("%Y-%m-%dT%H:%M:%S"), utc_offset(local, now))),
        this_year,
        next,
        other_years: others.filter(|event| i32::from(event.local_year) != local_year).take(EARLIER).collect(),
        user: facts.user,
    }
}

/// The kinds there is something to say of: those the user has, and those with an event in that year.
fn kinds(facts: &Facts, local_year: i32) -> BTreeSet<String> {
    let dated = facts.user.iter().flat_map(|user| user.yearly_dates(|_| DateTime::UNIX_EPOCH));
    let recorded = facts.events.iter().filter(|found| i32::from(found.event.local_year) == local_year);
    dated.map(|occasion| occasion.kind).chain(recorded.map(|found| found.event.kind.clone())).collect()
}

fn this_year(facts: &Facts, terms: &Terms, now: DateTime<Utc>, kind: String, local_year: i32) -> ThisYear {
    let of_that_year = |found: &&EventWithAttempts| {
        found.event.kind == kind && i32::from(found.event.local_year) == local_year
    };
    let event = facts.events.iter().find(of_that_year).cloned();
    let known_at = |kind: &str| facts.known_at.get(kind).copied().unwrap_or(DateTime::UNIX_EPOCH);
    let mut dates = facts.user.iter().flat_map(|user| user.yearly_dates(known_at));
    let occasion = dates.find(|occasion| occasion.kind == kind);
    let found = occasion.and_then(|occasion| {
        let occurrence = terms.schedule.occurrence(&occasion, local_year);
        Some((occasion, occurrence?))
    });
    let (status, why) = judge::judge(facts, terms, now, &kind, local_year, event.as_ref());
    ThisYear {
        kind,
        local_year,
        status,
        why,
        rule_in_words: found.as_ref().and_then(|found| terms.words(found)),
        occurrence: found.as_ref().map(Upcoming::from),
        event,
    }
}

fn next(user: &User, facts: &Facts, terms: &Terms, now: DateTime<Utc>) -> Vec<Next> {
    let until = now.checked_add_months(Months::new(12 * YEARS_AHEAD)).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let ahead = terms.schedule.ahead(user, now, until);
    let next = |found: &(Occasion, Occurrence)| {
        let (occasion, occurrence) = found;
        let event = facts.events.iter().find(|known| {
            known.event.kind == occasion.kind && i32::from(known.event.local_year) == occurrence.local_year
        });
        Next {
            occurrence: found.into(),
            rule_in_words: terms.words(found),
            event_id: event.map(|known| known.event.id),
            planned_from: terms.planned_from(nominal_date(occasion.date, occurrence.local_year)),
        }
    };
    ahead.iter().take(NEXT).map(next).collect()
}
