//! `/import`: users from a file, with a dry run before anything is written.

use axum::Router;

use super::Console;

pub(super) fn routes() -> Router<Console> {
    Router::new()
}
