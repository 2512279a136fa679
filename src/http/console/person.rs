//! `/people/{id}`: why a user was or was not greeted; edit and delete.

use axum::Router;

use super::Console;

pub(super) fn routes() -> Router<Console> {
    Router::new()
}
