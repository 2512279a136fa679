//! `/failures`: dead events by reason, and their redrive.

use axum::Router;

use super::Console;

pub(super) fn routes() -> Router<Console> {
    Router::new()
}
