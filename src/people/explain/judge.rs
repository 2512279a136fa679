//! Where one occasion of one year stands, and why.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Terms;
use super::words::{instant, span};
use crate::model::{EventState, EventWithAttempts, Occasion, first_year, nominal_date};
use crate::store::Facts;

/// Where an occasion of a year stands: a closed list, for programs. The sentence beside it is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The receiver has accepted it.
    Delivered,
    /// It is planned, and its time has not come.
    NotDue,
    /// It will be planned when the horizon reaches it.
    NotPlanned,
    /// It is due, and is claimed with the next tick.
    Due,
    /// It is on the queue.
    Queued,
    /// A request is under way.
    Delivering,
    /// An attempt failed, and the next one is scheduled.
    Retrying,
    /// It is due, and sending is paused.
    Paused,
    /// Given up.
    Dead,
    /// It was cancelled before it was sent: the user was deleted, or somebody said so.
    Cancelled,
    /// It was still unsent `late.max_secs` after it was due.
    SkippedLate,
    /// The date was learned on the day, after the send time, and `plan.late_join` is `skip`.
    SkippedLateJoin,
    /// It was dead, and its local day was over when it was redriven.
    SkippedDayOver,
    /// The date does not take place that year: 29 February under `leap_years_only`.
    NoOccurrence,
    /// The first greeting is in a later year.
    BeforeFirstYear,
    /// The day was over when bday learned of the date.
    LearnedTooLate,
    /// The configuration does not name the kind.
    KindNotConfigured,
    /// Its day was planned without it, or was never planned.
    NeverPlanned,
    /// The user is deleted, and no event of that year is on record.
    NoRecord,
}

/// Judges the occasion of `kind` in `local_year`, of which `event` is the event.
pub(super) fn judge(
    facts: &Facts,
    terms: &Terms,
    now: DateTime<Utc>,
    kind: &str,
    local_year: i32,
    event: Option<&EventWithAttempts>,
) -> (Status, String) {
    if let Some(found) = event.filter(|found| found.event.is_blurred()) {
        return of_blurred(found);
    }
    if let Some(found) = event {
        let (status, mut why) = of_event(found, facts, terms, now);
        if let Some(at) = found.event.redriven_at {
            why = format!("{why}; it was dead before, and was redriven at {}", instant(at));
        }
        return (status, why);
    }
    let known_at = |kind: &str| facts.known_at.get(kind).copied().unwrap_or(DateTime::UNIX_EPOCH);
    let mut dates = facts.user.iter().flat_map(|user| user.yearly_dates(known_at));
    match dates.find(|occasion| occasion.kind == kind) {
        Some(occasion) => without_event(facts, terms, now, &occasion, local_year),
        None => (
            Status::NoRecord,
            format!("no event of {local_year} is on record, and nobody knows the date any more"),
        ),
    }
}

/// The outcome of an event whose dates were deleted together with its user.
fn of_blurred(found: &EventWithAttempts) -> (Status, String) {
    let reason = found.event.reason.as_deref().unwrap_or("unknown");
    let status = match (found.event.state, reason) {
        (EventState::Delivered, _) => return (Status::Delivered, "delivered".to_owned()),
        (EventState::Dead, _) => return (Status::Dead, dead(found)),
        (EventState::Skipped, "late_join") => Status::SkippedLateJoin,
        (EventState::Skipped, "day_over") => Status::SkippedDayOver,
        (EventState::Skipped, _) => Status::SkippedLate,
        _ => Status::Cancelled,
    };
    (status, format!("{} ({reason}){}", found.event.state, maybe_twice(found)))
}

fn of_event(found: &EventWithAttempts, facts: &Facts, terms: &Terms, now: DateTime<Utc>) -> (Status, String) {
    let event = &found.event;
    let since_due = |at: DateTime<Utc>| span(at - event.due_at);
    let ended = event.finished_at.unwrap_or(now);
    let late_max = TimeDelta::from_std(terms.late_max).unwrap_or(TimeDelta::MAX);
    let until = event.late_from + late_max;
    let paused = facts.pause.as_ref().filter(|_| event.due_at <= now);
    match event.state {
        EventState::Pending | EventState::Queued if paused.is_some() => {
            let pause = paused.map(|pause| format!("since {} ({})", instant(pause.since), pause.reason));
            let (pause, until) = (pause.unwrap_or_default(), instant(until));
            let text = format!("sending is paused {pause}; it is skipped if it is still unsent at {until}");
            (Status::Paused, text)
        }
        EventState::Pending
            if event.attempts > 0 && event.redriven_at.is_none_or(|at| at != event.late_from) =>
        {
            let error = event.last_error.as_deref().unwrap_or("its outcome is unknown");
            let next = event.next_attempt_at.map(instant).unwrap_or_default();
            let text = format!("attempt {} failed ({error}); the next one is at {next}", event.attempts);
            (Status::Retrying, text)
        }
        EventState::Pending if event.due_at > now => {
            let (left, due) = (span(event.due_at - now), instant(event.due_at));
            (Status::NotDue, format!("due in {left}, at {due}"))
        }
        EventState::Pending => {
            let (late, until) = (since_due(now), instant(until));
            let text = format!(
                "due since {late}; the next tick claims it, unless none comes before {until} (late.max_secs)"
            );
            (Status::Due, text)
        }
        EventState::Queued => {
            let since = event.queued_at.map_or_else(String::new, |at| format!(" since {}", span(now - at)));
            let text = format!("on the queue{since}, for the next worker that has room");
            (Status::Queued, text)
        }
        EventState::Delivering => (Status::Delivering, format!("attempt {} is under way", event.attempts)),
        EventState::Delivered => {
            let text =
                format!("accepted {} after it was due, at attempt {}", since_due(ended), event.attempts);
            (Status::Delivered, text + maybe_twice(found))
        }
        EventState::Dead => (Status::Dead, dead(found)),
        EventState::Cancelled => {
            let when = if ended < event.due_at {
                format!("{} before it was due", since_due(ended))
            } else {
                format!("{} after it was due and before it was accepted", since_due(ended))
            };
            let who = if event.reason.as_deref() == Some("operator") {
                "an operator cancelled it"
            } else {
                "the user was deleted, or this date of theirs,"
            };
            (Status::Cancelled, format!("{who} {when}") + maybe_twice(found))
        }
        EventState::Skipped if event.reason.as_deref() == Some("late_join") => {
            let text = format!(
                "bday learned of the date {} after it was due that day, and plan.late_join is skip",
                since_due(ended)
            );
            (Status::SkippedLateJoin, text)
        }
        EventState::Skipped if event.reason.as_deref() == Some("day_over") => {
            let text = format!(
                "it was dead, and when it was redriven, {} after it was due, its local day was over",
                since_due(ended)
            );
            (Status::SkippedDayOver, text + maybe_twice(found))
        }
        EventState::Skipped => {
            let text = format!(
                "still unsent {} after it was due, more than the {} of late.max_secs",
                since_due(ended),
                span(late_max)
            );
            (Status::SkippedLate, text + maybe_twice(found))
        }
    }
}

fn dead(found: &EventWithAttempts) -> String {
    let event = &found.event;
    let why = match event.reason.as_deref() {
        Some("gone") => "the receiver said 410 Gone: it never wants this again",
        Some("template") => "its text could not be made",
        Some("worker_lost") => "the worker died during the last attempt",
        _ => "the last attempt failed",
    };
    let error = event.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    let reason = event.reason.as_deref().unwrap_or("unknown");
    let attempts = match event.attempts {
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    };
    format!("given up after {attempts} (reason {reason}): {why}{error}{}", maybe_twice(found))
}

/// What an attempt of unknown outcome means.
fn maybe_twice(found: &EventWithAttempts) -> &'static str {
    if found.attempts.iter().any(|attempt| attempt.outcome == "unknown") {
        "; the receiver may have accepted an attempt whose outcome is unknown"
    } else {
        ""
    }
}

fn without_event(
    facts: &Facts,
    terms: &Terms,
    now: DateTime<Utc>,
    occasion: &Occasion,
    year: i32,
) -> (Status, String) {
    let Occasion { kind, date, time_zone, known_at, .. } = occasion;
    if !terms.schedule.kinds.contains_key(kind) {
        return (Status::KindNotConfigured, format!("the configuration has no kinds.{kind}"));
    }
    if let Some(first) = first_year(kind, *date).filter(|first| *first > year) {
        return (Status::BeforeFirstYear, format!("the first one is in {first}"));
    }
    let Some(found) = terms.schedule.occurrence(occasion, year) else {
        let whose = if occasion.leap_day.is_some() { "the user's rule" } else { "plan.leap_day" };
        let text = format!("{year} has no 29 February, and {whose} is leap_years_only");
        return (Status::NoOccurrence, text);
    };
    let (known, due) = (instant(*known_at), instant(found.due_at));
    if found.due_at < *known_at && *known_at >= time_zone.local_day_ends_at(found.local_date) {
        let created = facts.user.as_ref().map(|user| user.created_at);
        let how = if created.is_some_and(|at| at >= *known_at) {
            "the user was created"
        } else {
            "the date was set, or last changed,"
        };
        let text = format!("{how} at {known}, when {} was already over in {time_zone}", found.local_date);
        return (Status::LearnedTooLate, text);
    }
    let nominal = nominal_date(*date, year);
    if facts.planned_through.is_none_or(|through| nominal > through) {
        let from = terms.planned_from(nominal);
        if from.is_some_and(|from| from <= now) {
            let text =
                format!("due at {due}, and its day is not planned yet: no tick since it could have been");
            return (Status::NotPlanned, text);
        }
        let from = from.map(instant).unwrap_or_default();
        let text = format!(
            "due at {due}; it is planned from {from} on, {} ahead (plan.horizon_secs)",
            span(TimeDelta::from_std(terms.horizon).unwrap_or_default())
        );
        return (Status::NotPlanned, text);
    }
    if facts.being_planned.contains(&nominal) {
        return (Status::NotPlanned, format!("due at {due}; a planner is at its day just now"));
    }
    let text = format!(
        "its day, {nominal}, was planned before the date, its kind or its rule was as it is now, or after an absence of over a year"
    );
    (Status::NeverPlanned, text)
}

impl Status {
    /// Whether a greeting that should have been sent was not, and will not be.
    #[must_use]
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Dead | Self::SkippedLate | Self::SkippedDayOver | Self::NeverPlanned)
    }
}
