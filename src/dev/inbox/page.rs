//! The page and its requests. Its files are compiled in, so it needs no network and no directory.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;

use super::InboxState;
use super::request::ReceivedRequest;

/// Scripts and styles only from this server, and none inline: a browser does not run markup of a message.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// For the HTML of a mail, which its sender chose: no script, no form, nothing from elsewhere, and an origin of its own.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; sandbox";

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

/// `GET /arrivals/{id}/html`: the HTML of a kept mail.
pub(super) async fn html(State(inbox): State<InboxState>, Path(id): Path<u64>) -> Response {
    let request = inbox.log.after(id.saturating_sub(1)).into_iter().next().filter(|request| request.id == id);
    let Some(html) = request.and_then(|request| request.content.message()?.html.clone()) else {
        return (StatusCode::NOT_FOUND, "no kept mail with HTML has this id\n").into_response();
    };
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, MAIL_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, html).into_response()
}

pub(super) async fn clear(State(inbox): State<InboxState>) -> StatusCode {
    inbox.log.clear();
    StatusCode::NO_CONTENT
}
