//! `/events`: the list of events.

use std::collections::HashMap;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use chrono::NaiveDate;
use uuid::Uuid;

use super::Console;
use super::command::CommandLine;
use super::fields::{Fields, Query};
use super::filters::{FilterField, Filters};
use super::layout::{Layout, Section, View};
use super::problem::{ConsoleProblem, Page};
use super::tags::Tag;
use super::time::Moment;
use crate::http::api::fields::parse_id;
use crate::http::api::page::{Page as ListPage, TimeCursorText};
use crate::model::{Event, EventState, parse_date, parse_instant};
use crate::store::{EventFilter, EventOrder, Result as StoreResult, Store, TimeCursor};

const PAGE_SIZE: u32 = 50;
pub(super) const CURSOR: &str = "cursor";
pub(super) const INSTANT_EXAMPLE: &str = "2026-03-01T09:00:00Z";

#[derive(Template)]
#[template(path = "events.html", config = "src/http/console/askama.toml")]
struct EventsPage {
    layout: Layout,
    filters: Filters,
    states: [(&'static str, bool); EventState::ALL.len()],
    is_ascending: bool,
    is_filtered: bool,
    rows: Vec<EventRow>,
    /// The path of the first page, on the others.
    first: Option<String>,
    next: Option<String>,
    command: CommandLine,
}

/// An event in a list.
#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) id: Uuid,
    pub(super) due: Moment,
    pub(super) local_date: NaiveDate,
    pub(super) kind: String,
    pub(super) user_id: Uuid,
    /// None: the user is deleted.
    pub(super) name: Option<String>,
    pub(super) state: Tag,
    pub(super) reason: String,
    pub(super) channel: String,
    pub(super) attempts: i16,
    pub(super) finished: Option<Moment>,
}

impl EventRow {
    fn new(event: Event, names: &HashMap<Uuid, String>) -> Self {
        let finished_at = event.finished_at.filter(|_| !event.is_blurred());
        Self {
            id: event.id,
            due: Moment::utc(event.due_at),
            local_date: event.local_date,
            name: names.get(&event.user_id).cloned(),
            user_id: event.user_id,
            state: event.state.into(),
            reason: event.reason.unwrap_or_default(),
            channel: event.channel.unwrap_or_default(),
            attempts: event.attempts,
            finished: finished_at.map(Moment::utc),
            kind: event.kind,
        }
    }
}

/// Returns the rows of `events`, with the names of their users.
pub(super) async fn rows(store: &Store, events: Vec<Event>) -> StoreResult<Vec<EventRow>> {
    let users: Vec<Uuid> = events.iter().map(|event| event.user_id).collect();
    let names = store.user_names(&users).await?;
    Ok(events.into_iter().map(|event| EventRow::new(event, &names)).collect())
}

/// What is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct EventQuery {
    filter: EventFilter,
    order: EventOrder,
    cursor: Option<TimeCursor>,
}

impl EventQuery {
    fn read(given: &Fields, filters: &mut Filters) -> Self {
        let user_id = filters.read(given, FilterField::text("user", "User id", ""), parse_id);
        let local_date = filters.read(given, FilterField::date("date", "Local date"), parse_date);
        let from = FilterField::text("from", "Due at or after", INSTANT_EXAMPLE);
        let from = filters.read(given, from, parse_instant);
        let to = filters.read(given, FilterField::text("to", "Due before", INSTANT_EXAMPLE), parse_instant);
        let states = given.all("state").filter(|state| !state.is_empty());
        let states = states.filter_map(|state| filters.check("State", state.parse())).collect();
        let order = match given.text("order") {
            "asc" => EventOrder::Ascending,
            "" | "desc" => EventOrder::Descending,
            other => {
                filters.problems.push(format!("Order: unknown order {other:?}: expected asc or desc"));
                EventOrder::Descending
            }
        };
        let cursor = given.get(CURSOR).map(|text| TimeCursorText::try_from(text.to_owned()));
        let cursor = cursor.and_then(|cursor| filters.check("Page", cursor));
        let filter = EventFilter { states, from, to, user_id, local_date };
        Self { filter, order, cursor: cursor.map(|TimeCursorText(cursor)| cursor) }
    }

    fn is_ascending(&self) -> bool {
        self.order == EventOrder::Ascending
    }

    fn command(&self) -> CommandLine {
        let states = self.filter.states.iter();
        let command = states.fold(CommandLine::new("bday event list"), |command, state| {
            command.option("--state", Some(state))
        });
        command
            .option("--user", self.filter.user_id)
            .option("--date", self.filter.local_date)
            .option("--from", self.filter.from.map(|at| at.to_rfc3339()))
            .option("--to", self.filter.to.map(|at| at.to_rfc3339()))
            .flag("--ascending", self.is_ascending())
    }
}

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/events", get(list))
}

async fn list(
    State(console): State<Console>,
    view: View,
    Query(given): Query,
) -> Result<Response, ConsoleProblem> {
    let mut filters = Filters::default();
    let query = EventQuery::read(&given, &mut filters);
    let store = &console.api.store;
    let (mut events, mut next, mut status) = (Vec::new(), None, StatusCode::BAD_REQUEST);
    if filters.is_valid() {
        let found = store.list_events(&query.filter, query.order, query.cursor, PAGE_SIZE + 1).await?;
        ListPage { items: events, next } =
            ListPage::by_time(found, PAGE_SIZE, |event| TimeCursor::from(event));
        status = StatusCode::OK;
    }
    let page = EventsPage {
        layout: view.layout("Events", Section::Events),
        states: EventState::ALL.map(|state| (state.as_str(), query.filter.states.contains(&state))),
        is_ascending: query.is_ascending(),
        is_filtered: filters.is_used() || !query.filter.states.is_empty(),
        rows: rows(store, events).await?,
        first: query.cursor.map(|_| format!("/events?{}", given.without(CURSOR))),
        next: next.map(|cursor| format!("/events?{}", given.with(CURSOR, &cursor))),
        command: query.command(),
        filters,
    };
    Ok((status, Page(page)).into_response())
}
