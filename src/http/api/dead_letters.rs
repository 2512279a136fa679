//! `/v1/dead-letters`: what was given up, and a second start for it.

use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::events::{cursor, mark};
use super::problem::Problem;
use super::request::{self, Id, Parameters};
use super::users::{JSON, MAX_LIMIT};
use super::{Api, Page};
use crate::calendar::text::shortened;
use crate::model::{DeadEvent, EventState, EventWithAttempts, FieldError, Object, Reason, parse_instant};
use crate::operations::dead_letters::{RedriveOptions, RedriveReport};
use crate::store::{DeadFilter, EventCursor};

const DEFAULT_LIMIT: u32 = 50;
/// Of one call, so that it ends in time; `more` says when another is due.
const MOST_EVENTS: u64 = 10_000;
const DEFAULT_EVENTS: u64 = 1000;
const MOST_PER_SECOND: u64 = 100_000;
/// Names in one filter.
const MOST_NAMES: usize = 500;
/// No batch is begun after this, so that the answer comes within the time that a request has.
const PATIENCE: Duration = Duration::from_secs(12);
/// Messages of the dead-letter queue that one call looks at.
const MOST_MESSAGES: u64 = 10_000;

/// What is to be sent again. All conditions hold together; one that is not there, or null, holds for all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RedriveInput)]
#[expect(
    dead_code,
    reason = "it describes the body, which is read by hand so that every wrong field is named"
)]
pub(super) struct RedriveBody {
    /// Dead for one of these reasons.
    #[schema(max_items = 500)]
    reasons: Option<Vec<Reason>>,
    /// Of one of these kinds.
    #[schema(max_items = 500, example = json!(["birthday"]))]
    kinds: Option<Vec<String>>,
    /// Died at this instant or later: RFC 3339, or a date, which begins at 00:00 UTC.
    #[schema(format = "instant")]
    since: Option<String>,
    /// Died before this instant.
    #[schema(format = "instant")]
    until: Option<String>,
    /// Only these events.
    #[schema(max_items = 500)]
    event_ids: Option<Vec<Uuid>>,
    /// How many at the most, those due first; 1000 unless it is given.
    #[schema(minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
    /// Only say what would happen [false].
    dry_run: Option<bool>,
    /// Also to those whose local day is over [false].
    force: Option<bool>,
    /// Events per second at the most; 0, the default, is no limit.
    #[schema(minimum = 0, maximum = 100_000)]
    max_per_second: Option<u32>,
}

/// List dead letters
///
/// The events that were given up, those due last first, each with what the receiver said last. All conditions hold
/// together. Messages in the dead-letter queue that stand for none of them are shown by `bday dlq list`.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "dead letters", operation_id = "listDeadLetters",
    params(
        ("reason" = Option<Vec<Reason>>, Query, description = "Dead for one of these reasons", style = Form, explode = false),
        ("kind" = Option<Vec<String>>, Query, description = "Of one of these kinds", style = Form, explode = false),
        ("since" = Option<String>, Query, description = "Died at this instant or later: RFC 3339, or a date, which begins at 00:00 UTC", format = "instant"),
        ("until" = Option<String>, Query, description = "Died before this instant", format = "instant"),
        ("limit" = Option<u32>, Query, description = "How many at the most [50]", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the part before", format = "event-cursor")
    ),
    responses(
        (status = 200, description = "A page of dead letters", body = Page<DeadEvent>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    mut given: Parameters,
) -> Result<Json<Page<DeadEvent>>, Problem> {
    let instant = |text: &str| parse_instant(text).map_err(|error| error.to_string());
    let kinds: Vec<Text> = given.list("kind");
    let filter = DeadFilter {
        reasons: given.list("reason"),
        kinds: kinds.into_iter().map(|Text(kind)| kind).collect(),
        since: given.optional("since", instant),
        until: given.optional("until", instant),
        ..DeadFilter::default()
    };
    let limit = given.number("limit", DEFAULT_LIMIT, MAX_LIMIT);
    let before = given.optional("cursor", |text| {
        cursor(text).ok_or_else(|| "is invalid: give the one of the page before".to_owned())
    });
    given.finish()?;
    let mut items = api.store.dead_events(&filter, before, limit + 1).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|dead| mark(EventCursor::from(&dead.event)));
    Ok(Json(Page { items, next }))
}

/// Read a dead letter
///
/// The dead event with every attempt, and how the receiver answered each.
#[utoipa::path(
    get, path = "/v1/dead-letters/{id}", tag = "dead letters", operation_id = "getDeadLetter",
    params(("id" = Uuid, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event and its attempts", body = EventWithAttempts),
        (status = 404, description = "No such event, or it is not dead", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Id(id): Id,
    given: Parameters,
) -> Result<Json<EventWithAttempts>, Problem> {
    given.finish()?;
    let event = api
        .store
        .event(id)
        .await?
        .filter(|event| event.state == EventState::Dead)
        .ok_or_else(|| Problem::not_found("no dead event has this id"))?;
    let attempts = api.store.attempts(id).await?;
    Ok(Json(EventWithAttempts { event, attempts }))
}

/// Send dead events again
///
/// Each is the same event as before, with the same `webhook-id`. Whose user is gone is cancelled, and whose local day is
/// over is skipped, unless `force` is set. Then the messages leave the dead-letter queue. A call does up to `limit` events
/// and takes some seconds at the most: repeat it while `more` is true or `messagesComplete` is false.
#[utoipa::path(
    post, path = "/v1/dead-letters/redrive", tag = "dead letters", operation_id = "redriveDeadLetters",
    request_body(content = RedriveBody, content_type = "application/json"),
    responses(
        (status = 200, body = RedriveReport, description = "What was done, or would be"),
        (status = 422, description = "Some fields are wrong", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn redrive(
    State(api): State<Api>,
    given: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RedriveReport>, Problem> {
    given.finish()?;
    let (_, object) = request::object(&headers, body, &[JSON]).await?;
    let order = order(&object).map_err(Problem::invalid)?;
    let (report, result) = api.dead_letters.redrive(&order, |_| {}).await;
    match result {
        Ok(()) => Ok(Json(report)),
        Err(error) if report.handled() == 0 => Err(error.into()),
        Err(error) => Err(Problem::from(error)
            .adding(&format!("{} events were dealt with until then, and that stays so", report.handled()))),
    }
}

/// Text that the database can compare with.
struct Text(String);

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        request::text(text).map(Self)
    }
}

const FIELDS: [&str; 9] =
    ["reasons", "kinds", "since", "until", "eventIds", "limit", "dryRun", "maxPerSecond", "force"];

fn order(Object(fields): &Object) -> Result<RedriveOptions, Vec<FieldError>> {
    let mut order = RedriveOptions {
        limit: Some(DEFAULT_EVENTS),
        time_limit: Some(PATIENCE),
        max_messages: Some(MOST_MESSAGES),
        ..RedriveOptions::default()
    };
    let mut errors = Vec::new();
    for (name, value) in fields {
        if let Err(problem) = set(&mut order, name, value) {
            errors.push(FieldError::new(shortened(name), problem));
        }
    }
    if errors.is_empty() { Ok(order) } else { Err(errors) }
}

fn set(order: &mut RedriveOptions, name: &str, value: &Value) -> Result<(), String> {
    let filter = &mut order.filter;
    match name {
        _ if !FIELDS.contains(&name) => {
            return Err(format!("unknown field: the fields are {}", FIELDS.join(", ")));
        }
        // As if it were not there.
        _ if value.is_null() => {}
        "reasons" => filter.reasons = texts(value)?,
        "kinds" => filter.kinds = texts::<Text>(value)?.into_iter().map(|Text(kind)| kind).collect(),
        "eventIds" => filter.ids = texts(value)?,
        "since" => filter.since = Some(instant(value)?),
        "until" => filter.until = Some(instant(value)?),
        "limit" => order.limit = Some(number(value, 1, MOST_EVENTS)?),
        "maxPerSecond" => order.max_per_second = number(value, 0, MOST_PER_SECOND)? as u32,
        "dryRun" => order.dry_run = flag(value)?,
        _ => order.force = flag(value)?,
    }
    Ok(())
}

fn texts<T: FromStr<Err: std::fmt::Display>>(value: &Value) -> Result<Vec<T>, String> {
    let items = value.as_array().ok_or("must be a list of texts; leave it out for all")?;
    if items.len() > MOST_NAMES {
        return Err(format!("has {} items; {MOST_NAMES} is the most", items.len()));
    }
    let read = |item: &Value| {
        let text = item.as_str().ok_or("must be a list of texts")?;
        text.parse::<T>().map_err(|error| error.to_string())
    };
    items.iter().map(read).collect()
}

fn instant(value: &Value) -> Result<DateTime<Utc>, String> {
    let text = value.as_str().ok_or("must be a text")?;
    parse_instant(text).map_err(|error| error.to_string())
}

fn number(value: &Value, least: u64, most: u64) -> Result<u64, String> {
    let number = value
        .as_u64()
        // 1.0 is a whole number to JSON Schema.
        .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64));
    number
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RedriveOptions, Vec<FieldError>> {
        order(&serde_json::from_str(text).expect("an object"))
    }

    #[test]
    fn an_empty_body_means_all_up_to_the_limit() {
        let all = read(r#"{"reasons": null}"#).expect("it is fine");
        assert_eq!((all.limit, all.filter.is_empty(), all.dry_run), (Some(1000), true, false));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let errors = read(
            r#"{"reasons":["lost"],"kinds":["a\u0000"],"eventIds":"x","since":"soon","limit":0,"dryRun":1,"more":null}"#,
        )
        .expect_err("all of it is wrong");
        let named: Vec<&str> = errors.iter().map(|error| &*error.field).collect();
        assert_eq!(named, ["dryRun", "eventIds", "kinds", "limit", "more", "reasons", "since"]);
    }
}
