//! `/v1/events/{id}/retry` and `/cancel`

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::Api;
use super::events::no_such_event;
use super::fields;
use super::problem::Problem;
use super::request::{Id, Json, NoParameters, Query};
use crate::model::{Event, EventState};
use crate::operations::dead_letters::RetryOutcome;
use crate::store::CancelOutcome;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RetryQuery {
    /// Retry it even if its local day is over (default false)
    #[serde(deserialize_with = "fields::text")]
    force: Option<bool>,
}

/// Retry a dead event
///
/// Redrives one event. The response is the event afterwards: pending or queued; `skipped` if its local day is over and `force` is not
/// true; `cancelled` if its user is deleted.
#[utoipa::path(
    post, path = "/v1/events/{id}/retry", tag = "events", operation_id = "retryEvent",
    params(("id" = Uuid, Path, description = "The event's id"), RetryQuery),
    responses(
        (status = 200, description = "The event", body = Event),
        (status = 404, description = "No such event"),
        (status = 409, description = "The event is not dead")
    )
)]
pub(super) async fn retry(
    State(api): State<Api>,
    Id(id): Id,
    Query(query): Query<RetryQuery>,
) -> Result<Json<Event>, Problem> {
    let outcome = api.dead_letters.retry(id, query.force.unwrap_or_default()).await?;
    api.statistics.invalidate();
    match outcome {
        RetryOutcome::Done(_) => event(&api, id).await,
        RetryOutcome::NotDead(EventState::Skipped) => Err(Problem::wrong_state(
            "the event is skipped: only a dead event, or with force=true one that was skipped because its local day was \
             over, can be retried",
        )),
        RetryOutcome::NotDead(state) => {
            Err(Problem::wrong_state(format!("the event is {state}: only a dead event can be retried")))
        }
        RetryOutcome::Unknown => Err(no_such_event()),
    }
}

/// Cancel an event
///
/// Only a pending or queued event. It is never sent, and its user gets no other greeting of that kind in that year.
#[utoipa::path(
    post, path = "/v1/events/{id}/cancel", tag = "events", operation_id = "cancelEvent",
    params(("id" = Uuid, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event, cancelled", body = Event),
        (status = 404, description = "No such event"),
        (status = 409, description = "The event is being delivered, or has ended")
    )
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Id(id): Id,
    _: Query<NoParameters>,
) -> Result<Json<Event>, Problem> {
    let outcome = api.dead_letters.cancel(id).await?;
    api.statistics.invalidate();
    match outcome {
        CancelOutcome::Cancelled => event(&api, id).await,
        CancelOutcome::Refused(state) => Err(Problem::wrong_state(state.cancel_error())),
        CancelOutcome::NotFound => Err(no_such_event()),
    }
}

async fn event(api: &Api, id: Uuid) -> Result<Json<Event>, Problem> {
    api.store.event(id).await?.map(Json).ok_or_else(no_such_event)
}
