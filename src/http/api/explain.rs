//! `/v1/users/{id}/explain`

use axum::extract::State;

use super::Api;
use super::problem::Problem;
use super::request::{Id, Json, NoParameters, Query};
use super::users::no_such_user;
use crate::people::explain::{self, Explanation};
use crate::store::UserRef;

/// Explain why a user was, will be, or was not greeted
///
/// The occasions of this local year, each with its attempts or with the reason why nothing was sent; and the next occasions. Deleted
/// users are explained, too: their events stay on record.
#[utoipa::path(
    get, path = "/v1/users/{id}/explain", tag = "users", operation_id = "explainUser",
    params(("id" = Uuid, Path, description = "The user's id; the user may be deleted")),
    responses(
        (status = 200, description = "The explanation", body = Explanation),
        (status = 404, description = "There was never such a user")
    )
)]
pub(super) async fn explain(
    State(api): State<Api>,
    Id(id): Id,
    _: Query<NoParameters>,
) -> Result<Json<Explanation>, Problem> {
    let facts = api.store.user_history(UserRef::Id(id)).await?.ok_or_else(no_such_user)?;
    Ok(Json(explain::explain(facts, &api.explain_settings, api.clock.now())))
}
