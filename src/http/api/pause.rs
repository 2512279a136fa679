//! `/v1/pause`: as `bday pause` and `bday resume`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::problem::Problem;
use super::request::{self, Parameters};
use super::users::JSON;
use crate::calendar::text::shortened;
use crate::model::FieldError;
use crate::store::{MAX_REASON_CHARS, Pause};

/// A pause as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PauseInput)]
#[expect(dead_code, reason = "it describes the body, which is read by hand, as all are")]
pub(super) struct PauseBody {
    /// Why, for those who ask later.
    #[schema(max_length = 500, example = "the receiver is being moved")]
    reason: Option<String>,
}

/// Whether sending is paused
#[utoipa::path(
    get, path = "/v1/pause", tag = "operations", operation_id = "getPause",
    responses(
        (status = 200, body = Pause, description = "It is, since then"),
        (status = 404, description = "It is not", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn get(State(api): State<Api>, given: Parameters) -> Result<Json<Pause>, Problem> {
    given.finish()?;
    api.store.pause().await?.map(Json).ok_or_else(not_paused)
}

/// Pause sending
///
/// In all processes, at once; what is in flight ends, and planning goes on. May be repeated: a pause that holds keeps its
/// time and reason.
#[utoipa::path(
    put, path = "/v1/pause", tag = "operations", operation_id = "pause",
    request_body(content = PauseBody, content_type = "application/json"),
    responses(
        (status = 200, body = Pause, description = "It was paused before"),
        (status = 201, body = Pause, description = "It is paused now"),
        (status = 422, description = "Some fields are wrong", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    given: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Pause>), Problem> {
    given.finish()?;
    let (_, object) = request::object(&headers, body, &[JSON]).await?;
    let mut reason = String::new();
    let mut errors = Vec::new();
    for (name, value) in object.0 {
        match (name.as_str(), value) {
            ("reason", Value::Null) => {}
            ("reason", Value::String(text)) if text.chars().any(char::is_control) => {
                errors.push(FieldError::new(name, "has a control character: remove it"));
            }
            ("reason", Value::String(text)) if text.chars().count() > MAX_REASON_CHARS => {
                errors.push(FieldError::new(name, format!("has over {MAX_REASON_CHARS} characters")));
            }
            ("reason", Value::String(text)) => text.trim().clone_into(&mut reason),
            ("reason", _) => errors.push(FieldError::new(name, "must be a string")),
            _ => {
                errors.push(FieldError::new(shortened(&name), "unknown field: the only one is reason"));
            }
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let new = api.store.set_pause(api.clock.now(), &reason).await?;
    // Somebody may have ended it in between.
    let pause = api.store.pause().await?.ok_or_else(not_paused)?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(pause)))
}

/// Go on sending
///
/// What became due meanwhile is sent, up to `late.max_secs` late.
#[utoipa::path(
    delete, path = "/v1/pause", tag = "operations", operation_id = "resume",
    responses(
        (status = 204, description = "It goes on"),
        (status = 404, description = "It was not paused", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn delete(State(api): State<Api>, given: Parameters) -> Result<StatusCode, Problem> {
    given.finish()?;
    if api.store.end_pause().await? { Ok(StatusCode::NO_CONTENT) } else { Err(not_paused()) }
}

fn not_paused() -> Problem {
    Problem::not_found("sending is not paused")
}
