//! `/v1/users/{id}/upcoming`

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::fields::Number;
use super::problem::Problem;
use super::request::{Id, Json, Query};
use super::users::no_such_user;
use crate::model::Upcoming;
use crate::store::UserRef;

const DEFAULT_YEARS: u32 = 5;
const MAX_YEARS: u32 = 100;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UpcomingQuery {
    /// Number of years to list (default 5)
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    years: Option<Number<MAX_YEARS>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpcomingList {
    /// By due instant.
    items: Vec<Upcoming>,
}

/// List the next occasions of a user
///
/// Those of all configured kinds. An edit of the user or new time zone data moves them.
#[utoipa::path(
    get, path = "/v1/users/{id}/upcoming", tag = "users", operation_id = "listUpcoming",
    params(("id" = Uuid, Path, description = "The user's id"), UpcomingQuery),
    responses(
        (status = 200, description = "The next occasions", body = UpcomingList),
        (status = 404, description = "No such user")
    )
)]
pub(super) async fn upcoming(
    State(api): State<Api>,
    Id(id): Id,
    Query(query): Query<UpcomingQuery>,
) -> Result<Json<UpcomingList>, Problem> {
    let years = query.years.map_or(DEFAULT_YEARS, |Number(years)| years);
    let user = api.store.user(UserRef::Id(id)).await?.ok_or_else(no_such_user)?;
    let items = api.schedule.upcoming(&user, api.clock.now(), years);
    Ok(Json(UpcomingList { items }))
}
