//! The page and what it reads. The files are compiled in, so it works without a network and without a directory.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;

use super::Shared;
use super::arrival::Arrival;

/// Scripts and styles come from this server alone, and nothing inline runs: were a message ever put into the page as
/// markup, the browser would still refuse to run it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`.
pub(super) async fn html() -> impl IntoResponse {
    (headers("text/html; charset=utf-8"), include_str!("page/inbox.html"))
}

/// `GET /inbox.css`.
pub(super) async fn css() -> impl IntoResponse {
    (headers("text/css; charset=utf-8"), include_str!("page/inbox.css"))
}

/// `GET /inbox.js`.
pub(super) async fn js() -> impl IntoResponse {
    (headers("text/javascript; charset=utf-8"), include_str!("page/inbox.js"))
}

/// `GET /inbox.svg`.
pub(super) async fn icon() -> impl IntoResponse {
    (headers("image/svg+xml"), include_str!("page/inbox.svg"))
}

/// A new version's page must not run an old version's script, so nothing is cached unasked.
fn headers(content_type: &'static str) -> [(HeaderName, &'static str); 4] {
    [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ]
}

/// What `GET /arrivals` may be asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only arrivals with a higher id.
    #[serde(default)]
    after: u64,
}

/// `GET /arrivals`: those kept, oldest first.
pub(super) async fn arrivals(
    State(shared): State<Shared>,
    Query(wanted): Query<Wanted>,
) -> Json<Vec<Arc<Arrival>>> {
    Json(shared.ledger.after(wanted.after))
}

/// `DELETE /arrivals`.
pub(super) async fn clear(State(shared): State<Shared>) -> StatusCode {
    shared.ledger.clear();
    StatusCode::NO_CONTENT
}
