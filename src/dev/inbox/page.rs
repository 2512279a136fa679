//! The page and its requests. Its files are compiled in, so it needs no network and no directory.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;

use super::InboxState;
use super::request::ReceivedRequest;

/// Scripts and styles only from this server, and none inline: a browser does not run markup of a message.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves one of the page's files. Not cached: a new version's page must not run an old version's script.
pub(super) fn file(content_type: &'static str, content: &'static str) -> MethodRouter<InboxState> {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    get(move || async move { (headers, content) })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArrivalsQuery {
    #[serde(default)]
    after: u64,
}

/// `GET /arrivals`: the kept requests, oldest first.
pub(super) async fn arrivals(
    State(inbox): State<InboxState>,
    Query(query): Query<ArrivalsQuery>,
) -> Json<Vec<Arc<ReceivedRequest>>> {
    Json(inbox.log.after(query.after))
}

pub(super) async fn clear(State(inbox): State<InboxState>) -> StatusCode {
    inbox.log.clear();
    StatusCode::NO_CONTENT
}
