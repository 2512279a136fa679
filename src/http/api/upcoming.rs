//! `/v1/users/{id}/upcoming`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::problem::Problem;
use super::request::{Id, Parameters};
use super::users::no_such_user;
use crate::model::Upcoming;
use crate::store::UserRef;

const MAX_YEARS: u32 = 100;

/// What lies ahead of a user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ahead {
    /// In order.
    items: Vec<Upcoming>,
}

/// What lies ahead of a user
///
/// The occasions of all configured kinds, as the calendar has them today: an edit or a change of time zone rules moves
/// them.
#[utoipa::path(
    get, path = "/v1/users/{id}/upcoming", tag = "users", operation_id = "listUpcoming",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("years" = Option<u32>, Query, description = "How far to look ahead [5]", minimum = 1, maximum = 100)
    ),
    responses(
        (status = 200, description = "The next events", body = Ahead),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn upcoming(
    State(api): State<Api>,
    Id(id): Id,
    mut given: Parameters,
) -> Result<Json<Ahead>, Problem> {
    let years = given.number("years", 5, MAX_YEARS);
    given.finish()?;
    let user = api.store.user(UserRef::Id(id)).await?.ok_or_else(no_such_user)?;
    let items = api.schedule.upcoming(&user, api.clock.now(), years);
    Ok(Json(Ahead { items }))
}
