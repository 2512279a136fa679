//! `/audit`: who changed what, and when.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use uuid::Uuid;

use super::Console;
use super::fields::{Fields, Query};
use super::layout::{Layout, Section, View};
use super::problem::{ConsoleProblem, Page};
use super::time::Moment;
use crate::http::api::page::Page as ListPage;
use crate::model::parse_instant;
use crate::store::{ApiWrite, ApiWriteFilter};

const LIMIT: u32 = 100;

struct Row {
    at: Moment,
    name: String,
    method: String,
    path: String,
    /// The page of the target, or its id.
    target: Option<(Option<String>, Uuid)>,
    remote: String,
    status: Option<i16>,
}

impl Row {
    fn new(write: ApiWrite) -> Self {
        let target = write.target_id.map(|id| (page_of(&write.path, id), id));
        Self {
            at: Moment::utc(write.at),
            name: write.token_name.unwrap_or_else(|| "–".to_owned()),
            method: write.method,
            path: write.path,
            target,
            remote: write.remote.0.map(|ip| ip.to_string()).unwrap_or_default(),
            status: write.status,
        }
    }

    fn tag(&self) -> &'static str {
        match self.status {
            None => "warn",
            Some(400..) => "bad",
            Some(_) => "good",
        }
    }
}

/// Returns the page of the user or event that a request wrote.
fn page_of(path: &str, id: Uuid) -> Option<String> {
    let is_one_of = |parts: &[&str]| parts.iter().any(|part| path.contains(part));
    if is_one_of(&["/users", "/people"]) {
        return Some(format!("/people/{id}"));
    }
    is_one_of(&["/events", "/dead-letters"]).then(|| format!("/events/{id}"))
}

#[derive(Template)]
#[template(path = "audit.html", config = "src/http/console/askama.toml")]
struct AuditPage {
    layout: Layout,
    rows: Vec<Row>,
    fields: Fields,
    has_filter: bool,
    next: Option<String>,
}

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/audit", get(show))
}

async fn show(
    State(console): State<Console>,
    view: View,
    Query(fields): Query,
) -> Result<Response, ConsoleProblem> {
    let filter = filter(&fields)?;
    let found = console.api.store.api_writes(&filter, fields.time_cursor()?, LIMIT + 1).await?;
    let ListPage { items: writes, next } = ListPage::by_time(found, LIMIT, |write: &ApiWrite| write.into());
    let page = AuditPage {
        layout: view.layout("Audit", Section::Audit),
        rows: writes.into_iter().map(Row::new).collect(),
        has_filter: filter != ApiWriteFilter::default(),
        next: next.map(|cursor| format!("/audit?{}", fields.with("cursor", &cursor))),
        fields,
    };
    Ok(Page(page).into_response())
}

fn filter(fields: &Fields) -> Result<ApiWriteFilter, ConsoleProblem> {
    let instant = |name: &str| {
        let text = fields.get(name).map(parse_instant).transpose();
        text.map_err(|error| ConsoleProblem::bad_request(format!("{name}: {error}")))
    };
    let target_id = fields.get("target").map(|text| {
        let invalid = |_| {
            ConsoleProblem::bad_request(format!(
                "Invalid id {text:?}: use the id of a person, event or token."
            ))
        };
        Uuid::try_parse(text).map_err(invalid)
    });
    Ok(ApiWriteFilter {
        from: instant("from")?,
        to: instant("to")?,
        token: fields.get("token").map(str::to_owned),
        target_id: target_id.transpose()?,
        method: fields.get("method").map(str::to_owned),
    })
}
