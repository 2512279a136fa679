//! The failures that match a filter, to be selected.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use super::query::{FailureQuery, given};
use crate::calendar::text::shortened;
use crate::http::api::page::Page as ListPage;
use crate::http::console::Console;
use crate::http::console::events::CURSOR;
use crate::http::console::fields::Fields;
use crate::http::console::filters::Filters;
use crate::http::console::layout::{Layout, Section, View};
use crate::http::console::problem::{ConsoleProblem, Page};
use crate::http::console::time::Moment;
use crate::model::DeadEvent;
use crate::store::TimeCursor;

const PAGE_SIZE: u32 = 50;

#[derive(Template)]
#[template(path = "failures_list.html", config = "src/http/console/askama.toml")]
struct ListView {
    layout: Layout,
    filters: Filters,
    rows: Vec<FailureRow>,
    /// The path of the first page, on the others.
    first: Option<String>,
    next: Option<String>,
}

impl ListView {
    fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        given(&self.filters)
    }
}

#[derive(Debug)]
struct FailureRow {
    id: Uuid,
    due: Moment,
    died: Option<Moment>,
    user_id: Uuid,
    /// None: the user is deleted.
    name: Option<String>,
    kind: String,
    reason: String,
    channel: String,
    status: Option<i16>,
    attempts: i16,
    text: String,
}

impl FailureRow {
    fn new(dead: DeadEvent, name: Option<String>) -> Self {
        let DeadEvent { event, last_status, last_response } = dead;
        let died_at = event.finished_at.filter(|_| !event.is_blurred());
        Self {
            id: event.id,
            due: Moment::utc(event.due_at),
            died: died_at.map(Moment::utc),
            user_id: event.user_id,
            name,
            kind: event.kind,
            reason: event.reason.unwrap_or_default(),
            channel: event.channel.unwrap_or_default(),
            status: last_status,
            attempts: event.attempts,
            text: shortened(&last_response.or(event.last_error).unwrap_or_default()),
        }
    }
}

pub(super) async fn show(
    console: &Console,
    view: &View,
    fields: &Fields,
    query: FailureQuery,
    filters: Filters,
) -> Result<Response, ConsoleProblem> {
    let store = &console.api.store;
    let (mut events, mut next, mut status) = (Vec::new(), None, StatusCode::BAD_REQUEST);
    if filters.is_valid() {
        let found = store.dead_events(&query.filter, query.cursor, PAGE_SIZE + 1).await?;
        ListPage { items: events, next } =
            ListPage::by_time(found, PAGE_SIZE, |dead| TimeCursor::from(&dead.event));
        status = StatusCode::OK;
    }
    let users: Vec<Uuid> = events.iter().map(|dead| dead.event.user_id).collect();
    let names = store.user_names(&users).await?;
    let row = |dead: DeadEvent| {
        let name = names.get(&dead.event.user_id).cloned();
        FailureRow::new(dead, name)
    };
    let page = ListView {
        layout: view.layout("Failures", Section::Failures),
        rows: events.into_iter().map(row).collect(),
        first: query.cursor.map(|_| format!("/failures?{}", fields.without(CURSOR))),
        next: next.map(|cursor| format!("/failures?{}", fields.with(CURSOR, &cursor))),
        filters,
    };
    Ok((status, Page(page)).into_response())
}
