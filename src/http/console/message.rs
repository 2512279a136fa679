//! `/message`: what a user would get.

use axum::Router;

use super::Console;

pub(super) fn routes() -> Router<Console> {
    Router::new()
}
