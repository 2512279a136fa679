//! The status of an occasion that has no event.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::settings::ExplainSettings;
use super::status::Status;
use crate::calendar::Occurrence;
use crate::calendar::{format_duration, format_instant};
use crate::model::{Occasion, first_year, nominal_date};
use crate::store::UserHistory;

pub(super) fn status_without_event(
    history: &UserHistory,
    settings: &ExplainSettings,
    now: DateTime<Utc>,
    occasion: &Occasion,
    year: i32,
) -> (Status, String) {
    let Occasion { kind, date, time_zone, known_at, .. } = occasion;
    if !settings.schedule.kinds.contains_key(kind) {
        return (Status::KindNotConfigured, format!("kinds.{kind} is not configured"));
    }
    if let Some(first) = first_year(kind, *date).filter(|first| *first > year) {
        return (Status::BeforeFirstYear, format!("the first greeting is in {first}"));
    }
    let Some(occurrence) = settings.schedule.occurrence(occasion, year) else {
        let rule = if occasion.leap_day.is_some() { "the user's rule" } else { "plan.leap_day" };
        let text = format!("{year} has no 29 February, and {rule} is leap_years_only");
        return (Status::NoOccurrence, text);
    };
    if occurrence.due_at < *known_at && *known_at >= time_zone.local_day_ends_at(occurrence.local_date) {
        return learned_too_late(history, occasion, &occurrence);
    }
    not_planned(history, settings, now, nominal_date(*date, year), occurrence.due_at)
}

fn learned_too_late(history: &UserHistory, occasion: &Occasion, occurrence: &Occurrence) -> (Status, String) {
    let created = history.user.as_ref().map(|user| user.created_at);
    let cause = if created.is_some_and(|at| at >= occasion.known_at) {
        "the user was created"
    } else {
        "the date was set or last changed"
    };
    let (known, day) = (format_instant(occasion.known_at), occurrence.local_date);
    let text = format!("{cause} at {known}, when {day} was over in {}", occasion.time_zone);
    (Status::LearnedTooLate, text)
}

fn not_planned(
    history: &UserHistory,
    settings: &ExplainSettings,
    now: DateTime<Utc>,
    nominal: NaiveDate,
    due_at: DateTime<Utc>,
) -> (Status, String) {
    let due = format_instant(due_at);
    if history.being_planned.contains(&nominal) && history.planned_through.is_some_and(|day| nominal <= day) {
        return (Status::NotPlanned, format!("due at {due}; a planner is planning its day"));
    }
    if history.planned_through.is_some_and(|through| nominal <= through) {
        let text = format!(
            "its day, {nominal}, was planned before the date, its kind or its rule changed, or no scheduler ran for over a \
             year"
        );
        return (Status::NeverPlanned, text);
    }
    let from = settings.planned_from(nominal);
    let since = from.map(format_instant).unwrap_or_default();
    if from.is_some_and(|from| from <= now) {
        let text =
            format!("due at {due}; its day could be planned since {since}: check that a scheduler runs");
        return (Status::NotPlanned, text);
    }
    let horizon = format_duration(TimeDelta::from_std(settings.horizon).unwrap_or_default());
    (
        Status::NotPlanned,
        format!("due at {due}; planned from {since} on, {horizon} ahead (plan.horizon_secs)"),
    )
}
