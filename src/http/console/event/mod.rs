//! `/events/{id}`: an event, its attempts, and what comes next.

mod actions;
mod view;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Console;
use super::command::CommandLine;
use super::layout::{Layout, Section, View};
use super::person_text::full_name;
use super::problem::{ConsoleProblem, Page};
use super::tags::Tag;
use super::time::Moment;
use crate::http::api::fields::parse_id;
use crate::model::{Event, EventState, EventWithAttempts, Reason, User};
use crate::people::explain::{Status, explain_event};
use crate::people::preview::{self, PreviewRequest};
use crate::store::{UserHistory, UserRef};
use view::{AttemptRow, FeedbackRow, MessageView};

#[derive(Template)]
#[template(path = "event.html", config = "src/http/console/askama.toml")]
struct EventPage {
    layout: Layout,
    event: Event,
    /// None: the user is deleted.
    user: Option<User>,
    name: String,
    state: Tag,
    why: String,
    /// When the event is skipped unless it is sent before; none also if `why` says it.
    skipped_from: Option<Moment>,
    retry: Retry,
    attempts: Vec<AttemptRow>,
    feedback: Vec<FeedbackRow>,
    message: MessageView,
}

/// How the event can be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Not,
    Plain,
    /// Its day is over: only with `force`.
    AfterItsDay,
    /// An earlier redrive skipped it: only with `force`.
    Skipped,
}

impl Retry {
    fn of(event: &Event, is_day_over: bool) -> Self {
        let is_skipped_by_redrive = event.reason.as_deref() == Some(Reason::DayOver.as_str());
        match event.state {
            EventState::Dead if is_day_over => Self::AfterItsDay,
            EventState::Dead => Self::Plain,
            EventState::Skipped if is_skipped_by_redrive => Self::Skipped,
            _ => Self::Not,
        }
    }
}

impl EventPage {
    fn is_dead(&self) -> bool {
        matches!(self.retry, Retry::Plain | Retry::AfterItsDay)
    }

    fn is_day_over(&self) -> bool {
        self.retry == Retry::AfterItsDay
    }

    fn is_skipped_by_redrive(&self) -> bool {
        self.retry == Retry::Skipped
    }

    /// What comes next, unless the sentence above says it.
    fn next(&self) -> Option<&'static str> {
        match (self.retry, self.event.state) {
            (Retry::Skipped, _) => {
                Some("Nothing more is sent unless the event is retried although its day is over.")
            }
            (Retry::Plain | Retry::AfterItsDay, _) => {
                Some("Nothing more is sent unless the event is retried.")
            }
            (_, EventState::Pending | EventState::Queued) => None,
            (_, EventState::Delivering) => {
                Some("If this attempt fails, the event is retried later, or dead.")
            }
            _ => Some("Nothing more is sent: a person gets at most one greeting of a kind in a year."),
        }
    }

    fn can_be_cancelled(&self) -> bool {
        matches!(self.event.state, EventState::Pending | EventState::Queued)
    }

    /// Local time and UTC.
    fn moment(&self, at: &DateTime<Utc>) -> Moment {
        match &self.user {
            Some(user) => Moment::in_zone(*at, user.time_zone),
            None => Moment::utc(*at),
        }
    }

    fn retry_command(&self) -> CommandLine {
        self.command("bday event retry").flag("--force", self.retry != Retry::Plain)
    }

    fn command(&self, command: &str) -> CommandLine {
        CommandLine::new(command).word(self.event.id)
    }
}

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/events/{id}", get(show))
        .route("/events/{id}/retry", post(actions::retry))
        .route("/events/{id}/cancel", post(actions::cancel))
}

/// Returns the id of an event in a path.
fn read_id(id: &str) -> Result<Uuid, ConsoleProblem> {
    parse_id(id).map_err(ConsoleProblem::not_found)
}

fn no_such_event(id: Uuid) -> ConsoleProblem {
    ConsoleProblem::not_found(format!(
        "No event has the id {id}. Events are deleted after the retention, and the deletion of a person changes the ids of \
         their events."
    ))
}

async fn show(
    State(console): State<Console>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response, ConsoleProblem> {
    let id = read_id(&id)?;
    let store = &console.api.store;
    let found = store.event_with_attempts(id).await?.ok_or_else(|| no_such_event(id))?;
    let history = store.user_history(UserRef::Id(found.event.user_id)).await?;
    let history = history.ok_or_else(|| no_such_event(id))?;
    let message = message(&console, &found.event, history.user.as_ref()).await?;
    Ok(Page(page(&console, &view, found, history, message)).into_response())
}

async fn message(
    console: &Console,
    event: &Event,
    user: Option<&User>,
) -> Result<MessageView, ConsoleProblem> {
    let Some(user) = user else {
        return Ok(MessageView::without("The person is deleted: there is no data for a message."));
    };
    let settings = &console.api.preview_settings;
    let request = PreviewRequest { kind: Some(event.kind.clone()), ..PreviewRequest::default() };
    let reached_by = match settings.route(&request) {
        Ok((kind, channels)) => console.api.store.reach(user.id, kind, channels).await?,
        Err(error) => return Ok(MessageView::without(error.problem)),
    };
    let preview = preview::preview_event(event, user, reached_by, settings);
    Ok(preview.map_or_else(|error| MessageView::without(error.problem), MessageView::from))
}

fn page(
    console: &Console,
    view: &View,
    found: EventWithAttempts,
    history: UserHistory,
    message: MessageView,
) -> EventPage {
    let (settings, now) = (&console.api.explain_settings, console.api.clock.now());
    let link = |trace_id| console.settings.traces.link_to(trace_id);
    let (status, why) = explain_event(&found, &history, settings, now);
    let EventWithAttempts { event, attempts, feedback } = found;
    let user = history.user;
    let name = user.as_ref().map_or_else(|| "Deleted person".to_owned(), full_name);
    let zone = user.as_ref().map(|user| user.time_zone);
    let is_day_over = zone.is_some_and(|zone| now >= zone.local_day_ends_at(event.local_date));
    let is_waiting = matches!(event.state, EventState::Pending | EventState::Queued);
    let is_said = matches!(status, Status::Paused | Status::Due);
    let skipped_at = event.late_from + TimeDelta::from_std(settings.late_max).unwrap_or(TimeDelta::MAX);
    let skipped_from = (is_waiting && !is_said)
        .then(|| zone.map_or(Moment::utc(skipped_at), |zone| Moment::in_zone(skipped_at, zone)));
    EventPage {
        layout: view.layout(format!("{name}: {} {}", event.kind, event.local_year), Section::Events),
        state: event.state.into(),
        why: view::sentence(&why),
        skipped_from,
        retry: Retry::of(&event, is_day_over),
        attempts: attempts.into_iter().map(|attempt| AttemptRow::new(attempt, link)).collect(),
        feedback: feedback.into_iter().map(FeedbackRow::from).collect(),
        message,
        user,
        name,
        event,
    }
}
