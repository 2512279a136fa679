//! An explanation for the page: sentences, and rows of tables.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::http::console::person_text::{kind_in_words, kind_with_years};
use crate::http::console::tags::Tag;
use crate::http::console::time::Moment;
use crate::model::Event;
use crate::people::explain::{Explanation, Next, Status, ThisYear};

pub(super) struct ThisYearView {
    pub(super) class: &'static str,
    /// `The birthday greeting of 2026 was delivered: accepted 4 s after it was due, at attempt 1.`
    pub(super) sentence: String,
    pub(super) due: Option<Moment>,
    pub(super) rule: Option<String>,
    pub(super) event: Option<String>,
}

pub(super) struct NextRow {
    pub(super) date: String,
    pub(super) occasion: String,
    pub(super) due: Moment,
    pub(super) rule: Option<String>,
    /// The path of its event.
    pub(super) event: Option<String>,
    /// When its event is planned.
    pub(super) planned: String,
}

pub(super) struct EventRow {
    pub(super) path: String,
    pub(super) date: String,
    pub(super) kind: String,
    pub(super) state: Tag,
    pub(super) reason: String,
    pub(super) attempts: i16,
    pub(super) finished_at: Option<Moment>,
}

impl ThisYearView {
    pub(super) fn of(this: &ThisYear, moment: impl Fn(DateTime<Utc>) -> Moment) -> Self {
        let event = this.event.as_ref().map(|found| &found.event).filter(|event| !event.is_blurred());
        let due_at = event.map(|event| event.due_at).or(this.occurrence.as_ref().map(|due| due.due_at));
        Self {
            class: class(this.status),
            sentence: format!(
                "The {} greeting of {} {}: {}.",
                kind_in_words(&this.kind),
                this.local_year,
                verb(this.status),
                this.why
            ),
            due: due_at.map(moment),
            rule: this.rule_in_words.clone(),
            event: this.event.as_ref().map(|found| event_path(found.event.id)),
        }
    }
}

fn class(status: Status) -> &'static str {
    match status {
        Status::Delivered => "good",
        status if status.is_loss() => "bad",
        Status::NotDue
        | Status::NotPlanned
        | Status::NoOccurrence
        | Status::BeforeFirstYear
        | Status::Due
        | Status::Queued
        | Status::Delivering => "info",
        _ => "warn",
    }
}

/// Returns the predicate of the sentence.
fn verb(status: Status) -> &'static str {
    match status {
        Status::Delivered => "was delivered",
        Status::NotDue => "is not due yet",
        Status::NotPlanned => "is not planned yet",
        Status::Due => "is due now",
        Status::Queued => "is queued",
        Status::Delivering => "is being delivered",
        Status::Retrying => "is being retried",
        Status::Paused => "is waiting",
        Status::Dead => "failed",
        Status::Cancelled => "was cancelled",
        Status::SkippedLate | Status::SkippedLateJoin | Status::SkippedDayOver | Status::SkippedNoContact => {
            "was skipped"
        }
        Status::NoOccurrence => "does not take place",
        Status::BeforeFirstYear => "is too early",
        Status::LearnedTooLate => "was not sent",
        Status::KindNotConfigured => "is not sent",
        Status::NeverPlanned => "was never planned",
        Status::NoRecord => "is unknown",
    }
}

impl NextRow {
    pub(super) fn of(next: &Next, now: DateTime<Utc>, moment: impl Fn(DateTime<Utc>) -> Moment) -> Self {
        let due = &next.occurrence;
        Self {
            date: due.local_date.to_string(),
            occasion: kind_with_years(&due.kind, due.years),
            due: moment(due.due_at),
            rule: next.rule_in_words.clone(),
            event: next.event_id.map(event_path),
            planned: match next.planned_from {
                Some(from) if from > now => format!("planned from {} on", from.date_naive()),
                _ => "not planned yet".to_owned(),
            },
        }
    }
}

/// Returns the events of this year and of other years.
pub(super) fn events(
    explanation: &Explanation,
    moment: impl Fn(DateTime<Utc>) -> Moment + Copy,
) -> Vec<EventRow> {
    let this_year = explanation.this_year.iter().filter_map(|this| Some(&this.event.as_ref()?.event));
    this_year.chain(&explanation.other_years).map(|event| EventRow::of(event, moment)).collect()
}

impl EventRow {
    fn of(event: &Event, moment: impl Fn(DateTime<Utc>) -> Moment) -> Self {
        let is_blurred = event.is_blurred();
        Self {
            path: event_path(event.id),
            date: if is_blurred { event.local_year.to_string() } else { event.local_date.to_string() },
            kind: kind_in_words(&event.kind),
            state: event.state.into(),
            reason: event.reason.as_deref().unwrap_or_default().replace('_', " "),
            attempts: event.attempts,
            finished_at: event.finished_at.filter(|_| !is_blurred).map(moment),
        }
    }
}

fn event_path(id: Uuid) -> String {
    format!("/events/{id}")
}
