//! `/days/{date}`: the greetings of a local date.

use axum::Router;

use super::Console;

pub(super) fn routes() -> Router<Console> {
    Router::new()
}
