//! `/v1/events/{id}/retry` and `/cancel`: what people do to one event.

use axum::Json;
use axum::extract::State;
use uuid::Uuid;

use super::Api;
use super::events::no_such_event;
use super::problem::Problem;
use super::request::{Id, Parameters};
use crate::model::{Event, EventState};
use crate::operations::dead_letters::RetryOutcome;
use crate::store::Cancelled;

/// Send a dead event again
///
/// A redrive of one. The answer has what became of it: on its way again; `skipped`, as its local day is over and `force` is
/// not true; or `cancelled`, as its user is gone.
#[utoipa::path(
    post, path = "/v1/events/{id}/retry", tag = "events", operation_id = "retryEvent",
    params(
        ("id" = Uuid, Path, description = "The event's id"),
        ("force" = Option<bool>, Query, description = "Also if its local day is over [false]")
    ),
    responses(
        (status = 200, description = "The event, pending again", body = Event),
        (status = 404, description = "No such event", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not dead", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn retry(
    State(api): State<Api>,
    Id(id): Id,
    mut given: Parameters,
) -> Result<Json<Event>, Problem> {
    let force = given.optional("force", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    });
    given.finish()?;
    match api.dead_letters.retry(id, force.unwrap_or(false)).await? {
        RetryOutcome::Done(_) => event(&api, id).await,
        RetryOutcome::NotDead(state) => Err(Problem::wrong_state(format!(
            "the event is {state}, and only a dead one can be sent again{}",
            if state == EventState::Skipped {
                "; one that was skipped because its day was over goes with force=true"
            } else {
                ""
            }
        ))),
        RetryOutcome::Unknown => Err(no_such_event()),
    }
}

/// Cancel an event
///
/// Only one that is pending or queued. It is never sent then, and its user gets no other greeting of that kind in that
/// year.
#[utoipa::path(
    post, path = "/v1/events/{id}/cancel", tag = "events", operation_id = "cancelEvent",
    params(("id" = Uuid, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event, cancelled", body = Event),
        (status = 404, description = "No such event", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is being delivered, or finished", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Id(id): Id,
    given: Parameters,
) -> Result<Json<Event>, Problem> {
    given.finish()?;
    match api.dead_letters.cancel(id).await? {
        Cancelled::Done => event(&api, id).await,
        Cancelled::Refused(state) => Err(Problem::wrong_state(state.why_not_cancelled())),
        Cancelled::Unknown => Err(no_such_event()),
    }
}

async fn event(api: &Api, id: Uuid) -> Result<Json<Event>, Problem> {
    let event = api.store.event(id).await?;
    event.map(Json).ok_or_else(no_such_event)
}
