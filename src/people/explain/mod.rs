//! Explains why a user was, will be, or was not greeted.
//!
//! Pure: computes an [`Explanation`] from the [`UserHistory`], the calendar and the [`ExplainSettings`]. Each occasion of the current
//! local year has one [`Status`], and a sentence that names the instants and settings that decided. Future occurrences are those of
//! the current calendar: an edit, and a change of the configuration or of the zone data move them.

mod settings;
mod status;
mod with_event;
mod without_event;

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, Months, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::calendar::{Occurrence, format_instant, utc_offset};
use crate::model::{Event, EventWithAttempts, Occasion, Upcoming, User, nominal_date};
use crate::store::UserHistory;
use with_event::{blurred_status, event_status};
use without_event::status_without_event;

pub use settings::ExplainSettings;
pub use status::Status;

const MAX_NEXT: usize = 5;
/// Enough for five leap years around 2100, which is not a leap year.
const YEARS_AHEAD: u32 = 25;
const MAX_OTHER_YEARS: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub user_id: Uuid,
    /// Null: the user was deleted.
    pub user: Option<User>,
    /// When the user was deleted (UTC); stored for 400 days.
    pub deleted_at: Option<DateTime<Utc>>,
    /// The instant of the explanation (UTC).
    pub now: DateTime<Utc>,
    #[schema(example = "2026-12-10T09:00:00+00:00")]
    pub local_now: Option<String>,
    pub this_year: Vec<ThisYear>,
    pub next: Vec<Next>,
    pub other_years: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThisYear {
    /// `birthday`, or another kind of the configuration.
    pub kind: String,
    /// The year in the user's zone; in UTC for a deleted user.
    pub local_year: i32,
    pub status: Status,
    /// The reason for the status, as a sentence.
    pub why: String,
    /// When it is due by the current calendar; null if it does not occur, or the date was deleted.
    pub occurrence: Option<Upcoming>,
    /// The rule that moved it, as a sentence.
    pub rule_in_words: Option<String>,
    /// The event with its attempts, if it is planned.
    pub event: Option<EventWithAttempts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    #[serde(flatten)]
    pub occurrence: Upcoming,
    /// The rule that moved it, as a sentence.
    pub rule_in_words: Option<String>,
    pub event_id: Option<Uuid>,
    /// When its event is planned (UTC).
    pub planned_from: Option<DateTime<Utc>>,
}

#[must_use]
pub fn explain(history: UserHistory, settings: &ExplainSettings, now: DateTime<Utc>) -> Explanation {
    let zone = history.user.as_ref().map(|user| user.time_zone);
    let local = zone.map(|zone| zone.local(now));
    let local_year = local.map_or_else(|| now.year(), |local| local.year());
    let this_year = kinds(&history, local_year)
        .into_iter()
        .map(|kind| this_year(&history, settings, now, kind, local_year))
        .collect();
    let next = history.user.as_ref().map(|user| next(user, &history, settings, now)).unwrap_or_default();
    let others = history.events.into_iter().map(|found| found.event);
    Explanation {
        user_id: history.user_id,
        deleted_at: history.deleted_at,
        now,
        local_now: local
            .map(|local| format!("{}{}", local.format("%Y-%m-%dT%H:%M:%S"), utc_offset(local, now))),
        this_year,
        next,
        other_years: others
            .filter(|event| i32::from(event.local_year) != local_year)
            .take(MAX_OTHER_YEARS)
            .collect(),
        user: history.user,
    }
}

fn kinds(history: &UserHistory, local_year: i32) -> BTreeSet<String> {
    let dated = history.user.iter().flat_map(|user| user.yearly_dates(|_| DateTime::UNIX_EPOCH));
    let recorded = history.events.iter().filter(|found| i32::from(found.event.local_year) == local_year);
    dated.map(|occasion| occasion.kind).chain(recorded.map(|found| found.event.kind.clone())).collect()
}

fn this_year(
    history: &UserHistory,
    settings: &ExplainSettings,
    now: DateTime<Utc>,
    kind: String,
    local_year: i32,
) -> ThisYear {
    let of_that_year = |found: &&EventWithAttempts| {
        found.event.kind == kind && i32::from(found.event.local_year) == local_year
    };
    let event = history.events.iter().find(of_that_year).cloned();
    let known_at = |kind: &str| history.known_at.get(kind).copied().unwrap_or(DateTime::UNIX_EPOCH);
    let mut dates = history.user.iter().flat_map(|user| user.yearly_dates(known_at));
    let occasion = dates.find(|occasion| occasion.kind == kind);
    let found = occasion.and_then(|occasion| {
        let occurrence = settings.schedule.occurrence(&occasion, local_year);
        Some((occasion, occurrence?))
    });
    let (status, why) = status(history, settings, now, &kind, local_year, event.as_ref());
    ThisYear {
        kind,
        local_year,
        status,
        why,
        rule_in_words: found.as_ref().and_then(|found| settings.describe_rule(found)),
        occurrence: found.as_ref().map(Upcoming::from),
        event,
    }
}

/// Returns the status of an event in the history of its user, with the reason as a sentence.
#[must_use]
pub fn explain_event(
    found: &EventWithAttempts,
    history: &UserHistory,
    settings: &ExplainSettings,
    now: DateTime<Utc>,
) -> (Status, String) {
    if found.event.is_blurred() {
        return blurred_status(found);
    }
    let (status, mut why) = event_status(found, history, settings, now);
    if let Some(at) = found.event.redriven_at {
        why = format!("{why}; it was dead before and was redriven at {}", format_instant(at));
    }
    (status, why)
}

/// Returns the status of the occasion of `kind` in `local_year`, with its reason as a sentence.
fn status(
    history: &UserHistory,
    settings: &ExplainSettings,
    now: DateTime<Utc>,
    kind: &str,
    local_year: i32,
    event: Option<&EventWithAttempts>,
) -> (Status, String) {
    if let Some(found) = event {
        return explain_event(found, history, settings, now);
    }
    let known_at = |kind: &str| history.known_at.get(kind).copied().unwrap_or(DateTime::UNIX_EPOCH);
    let mut dates = history.user.iter().flat_map(|user| user.yearly_dates(known_at));
    match dates.find(|occasion| occasion.kind == kind) {
        Some(occasion) => status_without_event(history, settings, now, &occasion, local_year),
        None => {
            (Status::NoRecord, format!("no event of {local_year} is on record, and the date was deleted"))
        }
    }
}

fn next(user: &User, history: &UserHistory, settings: &ExplainSettings, now: DateTime<Utc>) -> Vec<Next> {
    let until = now.checked_add_months(Months::new(12 * YEARS_AHEAD)).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let ahead = settings.schedule.occurrences(user, now, until);
    let next = |found: &(Occasion, Occurrence)| {
        let (occasion, occurrence) = found;
        let event = history.events.iter().find(|known| {
            known.event.kind == occasion.kind && i32::from(known.event.local_year) == occurrence.local_year
        });
        Next {
            occurrence: found.into(),
            rule_in_words: settings.describe_rule(found),
            event_id: event.map(|known| known.event.id),
            planned_from: settings.planned_from(nominal_date(occasion.date, occurrence.local_year)),
        }
    };
    ahead.iter().take(MAX_NEXT).map(next).collect()
}
