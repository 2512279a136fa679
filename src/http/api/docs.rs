//! The description of the API: `/openapi.json`, and `/docs` as a page. Both work offline.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;
use utoipa::openapi::OpenApi;

const PAGE: &str = include_str!("docs.html");
/// The page loads only the description, and shows it as text.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves `description` and its page.
pub(super) fn router(description: &OpenApi) -> Router {
    let json = description.to_json().unwrap_or_default();
    let json = move || async move {
        let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")];
        (headers, json)
    };
    let page = || async {
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (CACHE_CONTROL, "no-cache"),
        ];
        (headers, PAGE)
    };
    Router::new().route("/openapi.json", get(json)).route("/docs", get(page))
}
