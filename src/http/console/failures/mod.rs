//! `/failures`: dead events in groups, the events of a group, and their redrive.
//!
//! ```text
//! groups ──> events ──> check ──> commit
//!            filter     dry run   at most as many events as the check counted
//! ```

mod groups;
mod list;
mod query;
mod redrive;
mod selection;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

use super::Console;
use super::fields::Query;
use super::filters::Filters;
use super::layout::View;
use super::problem::ConsoleProblem;
use query::FailureQuery;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/failures", get(show)).route("/failures/redrive", post(redrive::redrive))
}

/// Shows the groups; with a filter, the events.
async fn show(
    State(console): State<Console>,
    view: View,
    Query(given): Query,
) -> Result<Response, ConsoleProblem> {
    let mut filters = Filters::default();
    let query = FailureQuery::read(&given, &mut filters);
    if given.get("view") == Some("events") || filters.is_used() || !filters.is_valid() {
        list::show(&console, &view, &given, query, filters).await
    } else {
        groups::show(&console, &view).await
    }
}
