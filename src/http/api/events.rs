//! `/v1/events`, and the events of one user.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Api;
use super::fields;
use super::page::{self, Limit, Page, TimeCursorText};
use super::problem::Problem;
use super::request::{Id, Json, NoParameters, Query};
use super::users::no_such_user;
use crate::model::{Event, EventState, EventWithAttempts, FieldError};
use crate::store::{EventFilter, EventOrder, UserRef};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// In one of these states
    #[serde(deserialize_with = "fields::list")]
    #[param(style = Form, explode = false)]
    state: Vec<EventState>,
    /// Due at this instant or later: RFC 3339, or a date, which begins at 00:00 UTC
    #[serde(deserialize_with = "fields::instant")]
    #[param(value_type = Option<String>, format = "instant")]
    from: Option<DateTime<Utc>>,
    /// Due before this instant
    #[serde(deserialize_with = "fields::instant")]
    #[param(value_type = Option<String>, format = "instant")]
    to: Option<DateTime<Utc>>,
    /// Of this date in the zone of the user
    #[serde(deserialize_with = "fields::date")]
    #[param(value_type = Option<NaiveDate>)]
    local_date: Option<NaiveDate>,
    // Described by the only operation that accepts it.
    #[serde(deserialize_with = "fields::id")]
    #[param(ignore)]
    user_id: Option<Uuid>,
    /// `asc` (default) or `desc`
    #[param(value_type = Option<Direction>)]
    order: Direction,
    /// Maximum number of items (default 50)
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next` of the page before
    #[param(value_type = Option<String>, format = "time-cursor")]
    cursor: Option<TimeCursorText>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    #[default]
    Asc,
    Desc,
}

/// List events
///
/// By due instant. An event must meet all conditions. Events of deleted users are included.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "listEvents",
    params(
        EventQuery,
        ("userId" = Option<Uuid>, Query, description = "Of this user, who may be deleted")
    ),
    responses((status = 200, description = "A page of events", body = Page<Event>))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<EventQuery>,
) -> Result<Json<Page<Event>>, Problem> {
    page(&api, query).await
}

/// List the events of a user
///
/// For those of a deleted user, see `/v1/events?userId=`.
#[utoipa::path(
    get, path = "/v1/users/{id}/events", tag = "events", operation_id = "listEventsOfUser",
    params(("id" = Uuid, Path, description = "The user's id"), EventQuery),
    responses(
        (status = 200, description = "A page of events", body = Page<Event>),
        (status = 404, description = "No such user")
    )
)]
pub(super) async fn of_user(
    State(api): State<Api>,
    Id(id): Id,
    Query(mut query): Query<EventQuery>,
) -> Result<Json<Page<Event>>, Problem> {
    if query.user_id.replace(id).is_some() {
        let error = FieldError::new("userId", "unknown parameter: the path names the user");
        return Err(Problem::invalid_parameters(vec![error]));
    }
    if api.store.user(UserRef::Id(id)).await?.is_none() {
        return Err(no_such_user());
    }
    page(&api, query).await
}

/// Read an event with its attempts
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "getEvent",
    params(("id" = Uuid, Path, description = "The event's id: the `webhook-id` of its requests")),
    responses(
        (status = 200, description = "The event, its attempts, and the provider's feedback", body = EventWithAttempts),
        (status = 404, description = "No such event")
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Id(id): Id,
    _: Query<NoParameters>,
) -> Result<Json<EventWithAttempts>, Problem> {
    api.store.event_with_attempts(id).await?.map(Json).ok_or_else(no_such_event)
}

async fn page(api: &Api, query: EventQuery) -> Result<Json<Page<Event>>, Problem> {
    let filter = EventFilter {
        states: query.state,
        from: query.from,
        to: query.to,
        user_id: query.user_id,
        local_date: query.local_date,
    };
    let order = match query.order {
        Direction::Asc => EventOrder::Ascending,
        Direction::Desc => EventOrder::Descending,
    };
    let limit = page::items(query.limit);
    let after = query.cursor.map(|TimeCursorText(cursor)| cursor);
    let events = api.store.list_events(&filter, order, after, limit + 1).await?;
    Ok(Json(Page::by_time(events, limit, |event: &Event| event.into())))
}

pub(super) fn no_such_event() -> Problem {
    Problem::not_found("no such event")
}
