//! `/v1/users/{id}/explain`

use axum::Json;
use axum::extract::State;

use super::Api;
use super::problem::Problem;
use super::request::{Id, Parameters};
use super::users::no_such_user;
use crate::people::explain::{self, Explanation};
use crate::store::UserRef;

/// Why a user was, will be, or was not greeted
///
/// The occasions of this local year with every attempt, or exactly why nothing was sent; and what lies ahead. Users who
/// were deleted are explained, too: what was sent to them stays on record.
#[utoipa::path(
    get, path = "/v1/users/{id}/explain", tag = "users", operation_id = "explainUser",
    params(("id" = Uuid, Path, description = "The user's id; the user may be gone")),
    responses(
        (status = 200, description = "Why the user is greeted or not", body = Explanation),
        (status = 404, description = "No such user, now or before", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn explain(
    State(api): State<Api>,
    Id(id): Id,
    given: Parameters,
) -> Result<Json<Explanation>, Problem> {
    given.finish()?;
    let facts = api.store.user_history(UserRef::Id(id)).await?.ok_or_else(no_such_user)?;
    Ok(Json(explain::explain(facts, &api.terms, api.clock.now())))
}
