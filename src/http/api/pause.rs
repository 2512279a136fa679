//! `/v1/pause`: as `bday pause` and `bday resume`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::Api;
use super::problem::Problem;
use super::request::{Json, NoParameters, Query};
use crate::store::{Pause, parse_pause_reason};

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PauseInput)]
pub(super) struct PauseBody {
    /// Shown with the pause.
    #[serde(default, deserialize_with = "reason")]
    #[schema(value_type = Option<String>, max_length = 500, example = "the receiver is being moved")]
    reason: String,
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    parse_pause_reason(&text).map_err(D::Error::custom)
}

/// Read the pause
#[utoipa::path(
    get, path = "/v1/pause", tag = "operations", operation_id = "getPause",
    responses(
        (status = 200, body = Pause, description = "Sending is paused"),
        (status = 404, description = "Sending is not paused")
    )
)]
pub(super) async fn get(State(api): State<Api>, _: Query<NoParameters>) -> Result<Json<Pause>, Problem> {
    api.store.pause().await?.map(Json).ok_or_else(not_paused)
}

/// Pause sending
///
/// Takes effect in all processes at once. Requests in flight end, and planning continues. The request may be repeated: an existing pause
/// keeps its time and reason.
#[utoipa::path(
    put, path = "/v1/pause", tag = "operations", operation_id = "pause",
    request_body(content = PauseBody, content_type = "application/json"),
    responses(
        (status = 200, body = Pause, description = "Sending was paused before"),
        (status = 201, body = Pause, description = "Sending is paused now"),
        (status = 422, description = "Invalid fields")
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    _: Query<NoParameters>,
    Json(body): Json<PauseBody>,
) -> Result<(StatusCode, Json<Pause>), Problem> {
    let is_new = api.store.set_pause(api.clock.now(), &body.reason).await?;
    // Another request may have ended it in between.
    let pause = api.store.pause().await?.ok_or_else(not_paused)?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(pause)))
}

/// Resume sending
///
/// Greetings that became due during the pause are sent, up to `late.max_secs` late.
#[utoipa::path(
    delete, path = "/v1/pause", tag = "operations", operation_id = "resume",
    responses(
        (status = 204, description = "Sending is resumed"),
        (status = 404, description = "Sending was not paused")
    )
)]
pub(super) async fn delete(State(api): State<Api>, _: Query<NoParameters>) -> Result<StatusCode, Problem> {
    if api.store.end_pause().await? { Ok(StatusCode::NO_CONTENT) } else { Err(not_paused()) }
}

fn not_paused() -> Problem {
    Problem::not_found("sending is not paused")
}
