//! `/events/{id}`: an event, its attempts, and what comes next.

use axum::Router;

use super::Console;

pub(super) fn routes() -> Router<Console> {
    Router::new()
}
