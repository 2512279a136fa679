//! `/v1/events`, and those of one user.

use axum::Json;
use axum::extract::State;
use chrono::DateTime;
use uuid::Uuid;

use super::problem::Problem;
use super::request::{self, Id, Parameters};
use super::users::{MAX_LIMIT, no_such_user};
use super::{Api, Page};
use crate::model::{Event, EventState, EventWithAttempts, parse_instant};
use crate::store::{EventCursor, EventFilter, EventOrder, UserRef};

const DEFAULT_LIMIT: u32 = 50;

/// List events
///
/// By the instant at which they are due. All conditions hold together. Events of users who were deleted are here too.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "listEvents",
    params(
        ("state" = Option<Vec<EventState>>, Query, description = "In one of these states", style = Form, explode = false),
        ("from" = Option<String>, Query, description = "Due at this instant or later: RFC 3339, or a date, which begins at 00:00 UTC", format = "instant"),
        ("to" = Option<String>, Query, description = "Due before this instant", format = "instant"),
        ("userId" = Option<Uuid>, Query, description = "Of this user, who may be gone"),
        ("order" = Option<Direction>, Query, description = "`asc` [default] or `desc`"),
        ("limit" = Option<u32>, Query, description = "How many at the most [50]", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the part before", format = "event-cursor")
    ),
    responses(
        (status = 200, description = "A page of events", body = Page<Event>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    mut given: Parameters,
) -> Result<Json<Page<Event>>, Problem> {
    let user_id = given.optional("userId", request::uuid);
    page(&api, given, user_id).await
}

/// List the events of a user
///
/// Those of a user who was deleted are at `/v1/events?userId=`.
#[utoipa::path(
    get, path = "/v1/users/{id}/events", tag = "events", operation_id = "listEventsOfUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("state" = Option<Vec<EventState>>, Query, description = "In one of these states", style = Form, explode = false),
        ("from" = Option<String>, Query, description = "Due at this instant or later: RFC 3339, or a date, which begins at 00:00 UTC", format = "instant"),
        ("to" = Option<String>, Query, description = "Due before this instant", format = "instant"),
        ("order" = Option<Direction>, Query, description = "`asc` [default] or `desc`"),
        ("limit" = Option<u32>, Query, description = "How many at the most [50]", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the part before", format = "event-cursor")
    ),
    responses(
        (status = 200, description = "A page of events", body = Page<Event>),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn of_user(
    State(api): State<Api>,
    Id(id): Id,
    given: Parameters,
) -> Result<Json<Page<Event>>, Problem> {
    if api.store.user(UserRef::Id(id)).await?.is_none() {
        return Err(no_such_user());
    }
    page(&api, given, Some(id)).await
}

/// Read an event with its attempts
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "getEvent",
    params(("id" = Uuid, Path, description = "The event's id: the `webhook-id` of its requests")),
    responses(
        (status = 200, description = "The event and its attempts", body = EventWithAttempts),
        (status = 404, description = "No such event", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Id(id): Id,
    given: Parameters,
) -> Result<Json<EventWithAttempts>, Problem> {
    given.finish()?;
    let event = api.store.event(id).await?;
    let event = event.ok_or_else(no_such_event)?;
    let attempts = api.store.attempts(id).await?;
    Ok(Json(EventWithAttempts { event, attempts }))
}

/// In which order.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the parameter")]
pub(super) enum Direction {
    Asc,
    Desc,
}

async fn page(api: &Api, mut given: Parameters, user_id: Option<Uuid>) -> Result<Json<Page<Event>>, Problem> {
    let instant = |text: &str| parse_instant(text).map_err(|error| error.to_string());
    let filter = EventFilter {
        states: given.list("state"),
        from: given.optional("from", instant),
        to: given.optional("to", instant),
        user_id,
    };
    let order = given.optional("order", |text| match text {
        "asc" => Ok(EventOrder::Ascending),
        "desc" => Ok(EventOrder::Descending),
        _ => Err("must be asc or desc".to_owned()),
    });
    let limit = given.number("limit", DEFAULT_LIMIT, MAX_LIMIT);
    let after = given.optional("cursor", |text| {
        cursor(text).ok_or_else(|| "is invalid: give the one of the page before".to_owned())
    });
    given.finish()?;
    let mut items = api.store.list_events(&filter, order.unwrap_or_default(), after, limit + 1).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|event| mark(EventCursor::from(event)));
    Ok(Json(Page { items, next }))
}

/// A place in a list, as a client gets it.
pub(super) fn mark(EventCursor { due_at, id }: EventCursor) -> String {
    format!("{}_{}", due_at.timestamp_micros(), id.simple())
}

/// The place that a client gives back.
pub(super) fn cursor(text: &str) -> Option<EventCursor> {
    let (micros, id) = text.split_once('_')?;
    let due_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
    // Postgres knows fewer years than chrono.
    let plausible = (1..=9999).contains(&chrono::Datelike::year(&due_at)) && id.len() == 32;
    let id = Uuid::try_parse(id).ok().filter(|_| plausible)?;
    Some(EventCursor { due_at, id })
}

pub(super) fn no_such_event() -> Problem {
    Problem::not_found("there is no such event")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_we_never_gave_is_none() {
        assert!(cursor("1780000000000000_0198f0c05b7e7cc398c4dc0c0c07398f").is_some());
        for wrong in [
            "",
            "_",
            "x_0198f0c05b7e7cc398c4dc0c0c07398f",
            "1_1",
            "9223372036854775807_0198f0c05b7e7cc398c4dc0c0c07398f",
            "-9000000000000000000_0198f0c05b7e7cc398c4dc0c0c07398f",
        ] {
            assert!(cursor(wrong).is_none(), "{wrong}");
        }
    }
}
