//! `/v1/dead-letters`: list, group, read and redrive dead events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Api;
use super::fields::{self, ShortText};
use super::page::{self, Limit, Page, TimeCursorText};
use super::problem::Problem;
use super::request::{Id, Json, NoParameters, Query};
use crate::model::{ChannelName, DeadEvent, EventState, EventWithAttempts, FieldError, OrNone, Reason};
use crate::operations::dead_letters::{RedriveOptions, RedriveReport};
use crate::store::{DeadFilter, FailureGroups, TimeCursor};

/// Of one call, so that it ends in time; `more` says whether to repeat it.
pub(in crate::http) const MAX_EVENTS: u64 = 10_000;
const DEFAULT_EVENTS: u64 = 1000;
const MAX_PER_SECOND: u64 = 100_000;
/// No batch begins later, so that the response comes before `http.request_timeout_secs`.
pub(in crate::http) const TIME_LIMIT: Duration = Duration::from_secs(12);
/// Messages of the dead-letter queue that one call reads.
pub(in crate::http) const MAX_MESSAGES: u64 = 10_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLetterQuery {
    /// Dead for one of these reasons
    #[serde(deserialize_with = "fields::list")]
    #[param(style = Form, explode = false)]
    reason: Vec<Reason>,
    /// Of one of these kinds
    #[serde(deserialize_with = "fields::list")]
    #[param(value_type = Vec<String>, style = Form, explode = false)]
    kind: Vec<ShortText>,
    /// With one of these channels of the last attempt: `none` is no channel
    #[serde(deserialize_with = "fields::list")]
    #[param(value_type = Vec<String>, style = Form, explode = false)]
    channel: Vec<OrNone<ChannelName>>,
    /// With one of these statuses of the last attempt: `none` is no response
    #[serde(deserialize_with = "fields::list")]
    #[param(value_type = Vec<String>, style = Form, explode = false)]
    status: Vec<OrNone<i16>>,
    /// Died at this instant or later: RFC 3339, or a date, which begins at 00:00 UTC
    #[serde(deserialize_with = "fields::instant")]
    #[param(value_type = Option<String>, format = "instant")]
    since: Option<DateTime<Utc>>,
    /// Died before this instant
    #[serde(deserialize_with = "fields::instant")]
    #[param(value_type = Option<String>, format = "instant")]
    until: Option<DateTime<Utc>>,
    /// Maximum number of items (default 50)
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    // Described by the only operation that accepts it.
    #[param(ignore)]
    cursor: Option<TimeCursorText>,
}

impl DeadLetterQuery {
    fn filter(self) -> DeadFilter {
        DeadFilter {
            reasons: self.reason,
            kinds: texts(self.kind),
            channels: options(self.channel),
            statuses: options(self.status),
            since: self.since,
            until: self.until,
            ..DeadFilter::default()
        }
    }
}

/// The dead events to redrive. An event must meet all conditions; a condition that is absent or null is met by all.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RedriveInput)]
pub(super) struct RedriveBody {
    /// Dead for one of these reasons.
    #[serde(default, deserialize_with = "fields::items")]
    #[schema(value_type = Option<Vec<Reason>>, max_items = 500)]
    reasons: Vec<Reason>,
    /// Of one of these kinds.
    #[serde(default, deserialize_with = "fields::items")]
    #[schema(value_type = Option<Vec<String>>, max_items = 500, example = json!(["birthday"]))]
    kinds: Vec<ShortText>,
    /// With one of these channels of the last attempt; null is no channel.
    #[serde(default, deserialize_with = "fields::items")]
    #[schema(value_type = Option<Vec<Option<ChannelName>>>, max_items = 500)]
    channels: Vec<Option<ChannelName>>,
    /// With one of these statuses of the last attempt; null is no response.
    #[serde(default, deserialize_with = "fields::items")]
    #[schema(value_type = Option<Vec<Option<i16>>>, max_items = 500, example = json!([503]))]
    statuses: Vec<Option<i16>>,
    /// Died at this instant or later: RFC 3339, or a date, which begins at 00:00 UTC.
    #[serde(default, deserialize_with = "fields::instant")]
    #[schema(value_type = Option<String>, format = "instant")]
    since: Option<DateTime<Utc>>,
    /// Died before this instant.
    #[serde(default, deserialize_with = "fields::instant")]
    #[schema(value_type = Option<String>, format = "instant")]
    until: Option<DateTime<Utc>>,
    /// With one of these ids.
    #[serde(default, deserialize_with = "fields::items")]
    #[schema(value_type = Option<Vec<Uuid>>, max_items = 500)]
    event_ids: Vec<Uuid>,
    /// Maximum number of events, those due first (default 1000).
    #[serde(default, deserialize_with = "fields::whole::<_, 1, MAX_EVENTS>")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    limit: Option<u64>,
    /// Only report what would be done (default false).
    dry_run: Option<bool>,
    /// Redrive events whose local day is over, too (default false).
    force: Option<bool>,
    /// Maximum number of events per second; 0 is no limit (default 0).
    #[serde(default, deserialize_with = "fields::whole::<_, 0, MAX_PER_SECOND>")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 100_000)]
    max_per_second: Option<u64>,
}

impl From<RedriveBody> for RedriveOptions {
    fn from(body: RedriveBody) -> Self {
        Self {
            filter: DeadFilter {
                reasons: body.reasons,
                kinds: texts(body.kinds),
                channels: body.channels,
                statuses: body.statuses,
                since: body.since,
                until: body.until,
                ids: body.event_ids,
                ..DeadFilter::default()
            },
            limit: Some(body.limit.unwrap_or(DEFAULT_EVENTS)),
            force: body.force.unwrap_or_default(),
            dry_run: body.dry_run.unwrap_or_default(),
            max_per_second: body.max_per_second.unwrap_or_default() as u32,
            time_limit: Some(TIME_LIMIT),
            max_messages: Some(MAX_MESSAGES),
        }
    }
}

fn texts(texts: Vec<ShortText>) -> Vec<String> {
    texts.into_iter().map(|ShortText(text)| text).collect()
}

fn options<T>(values: Vec<OrNone<T>>) -> Vec<Option<T>> {
    values.into_iter().map(|OrNone(value)| value).collect()
}

/// List dead letters
///
/// Dead events, those due last first, each with the last response of the receiver. An event must meet all conditions. Messages in the
/// dead-letter queue that belong to no dead event are shown by `bday dlq list`.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "dead letters", operation_id = "listDeadLetters",
    params(
        DeadLetterQuery,
        ("cursor" = Option<String>, Query, format = "time-cursor", description = "`next` of the page before")
    ),
    responses((status = 200, description = "A page of dead letters", body = Page<DeadEvent>))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<DeadLetterQuery>,
) -> Result<Json<Page<DeadEvent>>, Problem> {
    let limit = page::items(query.limit);
    let before = query.cursor.map(|TimeCursorText(cursor)| cursor);
    let events = api.store.dead_events(&query.filter(), before, limit + 1).await?;
    Ok(Json(Page::by_time(events, limit, |dead| TimeCursor::from(&dead.event))))
}

/// Group dead letters
///
/// The latest dead events, grouped by their reason and the channel and status of the last attempt, with a sample of each group. An event
/// must meet all conditions. The response may be seconds old. The reason, channel and status of a group, given to the list or to
/// `redrive`, select the events of that group.
#[utoipa::path(
    get, path = "/v1/dead-letters/groups", tag = "dead letters", operation_id = "groupDeadLetters",
    params(DeadLetterQuery),
    responses((status = 200, description = "The groups", body = FailureGroups))
)]
pub(super) async fn groups(
    State(api): State<Api>,
    Query(query): Query<DeadLetterQuery>,
) -> Result<Json<Arc<FailureGroups>>, Problem> {
    if query.cursor.is_some() {
        let error = FieldError::new("cursor", "unknown parameter: the groups have no pages");
        return Err(Problem::invalid_parameters(vec![error]));
    }
    let limit = page::items(query.limit);
    Ok(Json(api.statistics.failures(&query.filter(), limit).await?))
}

/// Read a dead letter
///
/// The dead event with its attempts and the receiver's response to each.
#[utoipa::path(
    get, path = "/v1/dead-letters/{id}", tag = "dead letters", operation_id = "getDeadLetter",
    params(("id" = Uuid, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event, its attempts, and the provider's feedback", body = EventWithAttempts),
        (status = 404, description = "No such event, or it is not dead")
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Id(id): Id,
    _: Query<NoParameters>,
) -> Result<Json<EventWithAttempts>, Problem> {
    let found = api.store.event_with_attempts(id).await?;
    let dead = found.filter(|found| found.event.state == EventState::Dead);
    dead.map(Json).ok_or_else(|| Problem::not_found("no such dead event"))
}

/// Redrive dead events
///
/// Each keeps its id, and so its `webhook-id`. Events of deleted users are cancelled. Events whose local day is over are skipped, unless
/// `force` is true. Afterwards their messages are deleted from the dead-letter queue. A call handles up to `limit` events and takes
/// seconds: repeat it while `more` is true or `messagesComplete` is false. A dry run scans no messages, and need not be repeated.
#[utoipa::path(
    post, path = "/v1/dead-letters/redrive", tag = "dead letters", operation_id = "redriveDeadLetters",
    request_body(content = RedriveBody, content_type = "application/json"),
    responses(
        (status = 200, body = RedriveReport, description = "What was done, or would be done"),
        (status = 422, description = "Invalid fields")
    )
)]
pub(super) async fn redrive(
    State(api): State<Api>,
    _: Query<NoParameters>,
    Json(body): Json<RedriveBody>,
) -> Result<Json<RedriveReport>, Problem> {
    let (report, result) = api.dead_letters.redrive(&body.into(), |_| {}).await;
    api.statistics.invalidate();
    match result {
        Ok(()) => Ok(Json(report)),
        Err(error) if report.handled() == 0 => Err(error.into()),
        Err(error) => {
            let handled = format!("{} events were handled before the error", report.handled());
            Err(Problem::from(error).and(&handled))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JsonObject;

    fn read(text: &str) -> (RedriveBody, Vec<String>) {
        let object: JsonObject = serde_json::from_str(text).expect("an object");
        let (body, errors) = object.read();
        (body, errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn an_empty_body_means_all_up_to_the_limit() {
        let (body, errors) = read(r#"{"reasons": null, "maxPerSecond": 1.0}"#);
        let redrive = RedriveOptions::from(body);
        assert_eq!((redrive.limit, redrive.filter.is_empty(), redrive.dry_run), (Some(1000), true, false));
        assert_eq!((redrive.max_per_second, errors), (1, Vec::new()));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let (_, wrong) = read(
            r#"{"reasons":["lost"],"kinds":["a\u0000"],"eventIds":"x","since":"soon","limit":0,"dryRun":1,"more":null}"#,
        );
        assert_eq!(wrong, ["dryRun", "eventIds", "kinds", "limit", "more", "reasons", "since"]);
        let (_, wrong) = read(r#"{"channels":["fax"],"statuses":["503"]}"#);
        assert_eq!(wrong, ["channels", "statuses"]);
    }
}
