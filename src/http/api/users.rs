//! `/v1/users`

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::problem::Problem;
use super::request::{self, Id, Parameters, Preconditions, Tags};
use super::{Api, Page, persist};
use crate::calendar::Zone;
use crate::http::access::Committed;
use crate::model::{FieldError, NewUser, User, UserInput, Version};
use crate::store::{
    ApiRequest, ApiWrite, CurrentUser, DeleteOutcome, Idempotency, RepeatedRequest, SaveOutcome,
    SearchCursor, UserChange, UserFilter, UserRef,
};

pub(super) const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const DEFAULT_LIMIT: u32 = 50;
pub(super) const MAX_LIMIT: u32 = 500;

/// A user as it is written. Null means that a field is not set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UserInput)]
#[expect(
    dead_code,
    reason = "it describes the body, which is read by hand so that every wrong field is named"
)]
pub(super) struct UserBody {
    #[schema(min_length = 1, max_length = 200, example = "Ada")]
    first_name: String,
    /// Some people have one name.
    #[schema(max_length = 200, example = "Lovelace")]
    last_name: Option<String>,
    /// `YYYY-MM-DD`, or `--MM-DD` where the year is not known.
    #[schema(format = "annual-date", example = "1815-12-10")]
    birth_date: String,
    /// An IANA time zone name.
    #[schema(format = "time-zone", example = "Europe/London")]
    time_zone: String,
    /// Local wall time `HH:MM`; null means the kind's.
    #[schema(format = "local-time", example = "09:00")]
    send_at: Option<String>,
    /// What 29 February means in a common year; null means the configuration's.
    leap_day: Option<LeapDay>,
    /// Your own name for this person, unique.
    #[schema(min_length = 1, max_length = 200, example = "hr-17")]
    external_id: Option<String>,
    /// Dates of other kinds that the configuration names, by kind.
    #[schema(example = json!({}))]
    occasions: Option<BTreeMap<String, String>>,
}

/// The same, every field optional: what is not there stays as it is, null takes a field away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UserPatch)]
#[expect(dead_code, reason = "as above")]
pub(super) struct PatchBody {
    #[schema(min_length = 1, max_length = 200, nullable = false, example = "Ada")]
    first_name: Option<String>,
    #[schema(max_length = 200, example = "King")]
    last_name: Option<String>,
    #[schema(format = "annual-date", nullable = false, example = "1815-12-10")]
    birth_date: Option<String>,
    #[schema(format = "time-zone", nullable = false, example = "Europe/London")]
    time_zone: Option<String>,
    #[schema(format = "local-time", example = "07:30")]
    send_at: Option<String>,
    leap_day: Option<LeapDay>,
    #[schema(min_length = 1, max_length = 200)]
    external_id: Option<String>,
    #[schema(example = json!({}))]
    occasions: Option<BTreeMap<String, Option<String>>>,
}

/// What 29 February means in a common year.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LeapDay {
    Feb28,
    Mar1,
    LeapYearsOnly,
}

/// List users
///
/// By id, which is the order in which most were created; with `search`, by the text that matched, and a page may then have fewer
/// users than `limit` although there are more: `next` says so. All conditions hold together. A user that this binary cannot
/// read (a time zone that only a newer one knows) is left out, and named in the log.
#[utoipa::path(
    get, path = "/v1/users", tag = "users", operation_id = "listUsers",
    params(
        ("timeZone" = Option<String>, Query, description = "In this zone, under this very name", format = "time-zone"),
        ("search" = Option<String>, Query, description = "The beginning of \"first name, blank, last name\", of the last name, or of the external id; case does not matter", min_length = 1, max_length = 200),
        ("limit" = Option<u32>, Query, description = "How many at the most [50]", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the part before", format = "user-cursor")
    ),
    responses(
        (status = 200, description = "A page of users", body = Page<User>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn list(State(api): State<Api>, mut given: Parameters) -> Result<Json<Page<User>>, Problem> {
    let zone = given.optional("timeZone", |text| text.parse::<Zone>().map_err(|error| error.to_string()));
    let search = given.optional("search", request::text);
    let limit = given.number("limit", DEFAULT_LIMIT, MAX_LIMIT);
    let after = given.optional("cursor", |text| {
        let cursor =
            request::read_user_cursor(text).filter(|cursor| cursor.key.is_empty() != search.is_some());
        cursor.ok_or_else(|| "invalid cursor: give `next` of the page before".to_owned())
    });
    given.finish()?;
    let after = after.unwrap_or_default();
    let (users, next) = if let Some(search) = search {
        let page = api.store.search_users(&search, zone, after, limit).await?;
        (page.users, page.next)
    } else {
        let filter = UserFilter { time_zone: zone };
        let page = api.store.list_users(&filter, after.id, limit).await?;
        let next = page.next.map(|id| SearchCursor { id, ..SearchCursor::default() });
        (page.users, next)
    };
    let next = next.map(|cursor| request::write_user_cursor(&cursor));
    let items = users.into_iter().map(|user| user.with_configured_kinds(&api.schedule)).collect();
    Ok(Json(Page { items, next }))
}

/// Create a user
///
/// With an `Idempotency-Key` the request may be repeated within a day, with the same token: the repeat gets the first answer
/// again.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "createUser",
    params(("Idempotency-Key" = Option<String>, Header, description = "Your name for this request", min_length = 1, max_length = 255)),
    request_body(content = UserBody, content_type = "application/json"),
    responses(
        (status = 201, body = User, description = "Created", headers(
            ("Location" = String, description = "Where the user is"),
            ("ETag" = String, description = "The version"),
        )),
        (status = 409, description = "The external id is taken", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The request with this key was done, and its user has been deleted since", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are wrong, or the key belongs to another request", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    given: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    given.finish()?;
    let key = request::idempotency_key(&headers)?;
    let (bytes, object) = request::object(&headers, body, &[JSON]).await?;
    let user = api.new_user().patch(&object).validate().map_err(Problem::invalid)?;
    let request =
        ApiRequest { write: &write, idempotency: key.map(|key| Idempotency { key, request: &bytes }) };
    let who = user.external_id.as_deref().map(UserRef::External);
    api.save(who, &request, |current| match current {
        None => Ok(user.clone()),
        Some(_) => Err(Problem::external_id_taken()),
    })
    .await
}

/// Read a user
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", operation_id = "getUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-None-Match" = Option<String>, Header, description = "An ETag: 304 if it is the user's")
    ),
    responses(
        (status = 200, description = "The user", body = User, headers(("ETag" = String, description = "The version"))),
        (status = 304, description = "The version is still this one"),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Id(id): Id,
    given: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    given.finish()?;
    api.read(UserRef::Id(id), &headers).await
}

/// Replace a user
///
/// What is not in the body is not set any more. Dates of kinds that are not configured stay.
#[utoipa::path(
    put, path = "/v1/users/{id}", tag = "users", operation_id = "replaceUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "An ETag: only if it is the user's")
    ),
    request_body(content = UserBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The user, changed", body = User, headers(("ETag" = String, description = "The version"))),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The external id is taken", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "The user has another version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are wrong", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn replace(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    Id(id): Id,
    given: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    given.finish()?;
    let (_, object) = request::object(&headers, body, &[JSON]).await?;
    let preconditions = Preconditions::of(&headers);
    api.save(Some(UserRef::Id(id)), &ApiRequest::of(&write), |current| {
        let current = current.ok_or_else(no_such_user)?;
        let new = api.new_user().patch(&object).validate().map_err(Problem::invalid)?;
        preconditions.check(Some(current.version))?;
        Ok(new)
    })
    .await
}

/// Change some fields of a user
///
/// A JSON merge patch (RFC 7396).
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "users", operation_id = "changeUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "An ETag: only if it is the user's")
    ),
    request_body(content((PatchBody = "application/merge-patch+json"), (PatchBody = "application/json"))),
    responses(
        (status = 200, description = "The user, changed", body = User, headers(("ETag" = String, description = "The version"))),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The external id is taken", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "The user has another version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are wrong", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn patch(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    Id(id): Id,
    given: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    given.finish()?;
    let (_, object) = request::object(&headers, body, &[MERGE_PATCH, JSON]).await?;
    let preconditions = Preconditions::of(&headers);
    api.save(Some(UserRef::Id(id)), &ApiRequest::of(&write), |current| {
        let CurrentUser { version, user } = current.ok_or_else(no_such_user)?;
        let input = UserInput::from_user(&user?, &api.schedule, api.latest_today());
        let new = input.patch(&object).validate().map_err(Problem::invalid)?;
        preconditions.check(Some(version))?;
        Ok(new)
    })
    .await
}

/// Delete a user
///
/// What was not sent yet is cancelled; a request that is in flight at this moment may still arrive.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", operation_id = "deleteUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "An ETag: only if it is the user's")
    ),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "The user has another version", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    Id(id): Id,
    given: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    given.finish()?;
    api.delete(UserRef::Id(id), &write, &headers).await
}

impl Api {
    /// The latest date that it can be anywhere: in some zone it is tomorrow already.
    pub(super) fn latest_today(&self) -> NaiveDate {
        self.clock.now().date_naive() + Days::new(1)
    }

    /// The input of a whole user, without fields.
    pub(super) fn new_user(&self) -> UserInput<'_> {
        UserInput::complete(&self.schedule, self.latest_today())
    }

    pub(super) async fn read(&self, who: UserRef<'_>, headers: &HeaderMap) -> Result<Response, Problem> {
        let user = self.store.user(who).await?.ok_or_else(no_such_user)?;
        let known = Preconditions::of(headers).if_none_match;
        if known.is_some_and(|tags| tags.has(user.version())) {
            return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(user.version()))]).into_response());
        }
        Ok(self.shown(user))
    }

    /// Writes what `edit` makes of `who`, and answers. Preconditions are checked last there: they are for requests that would
    /// succeed without them (RFC 9110 section 13.2.1).
    pub(super) async fn save(
        &self,
        who: Option<UserRef<'_>>,
        request: &ApiRequest<'_>,
        edit: impl Fn(Option<CurrentUser>) -> Result<NewUser, Problem>,
    ) -> Result<Response, Problem> {
        let now = self.clock.now();
        let saved = persist(|| self.store.save_user(&self.schedule, now, who, Some(request), &edit));
        match saved.await? {
            SaveOutcome::Saved(UserChange::Created, user) => {
                Ok(created(&user.with_configured_kinds(&self.schedule)))
            }
            SaveOutcome::Saved(_, user) => {
                Ok((Extension(Committed(user.id)), self.shown(*user)).into_response())
            }
            SaveOutcome::Refused(problem) => Err(problem),
            SaveOutcome::Repeated(RepeatedRequest::Answered { id, created_at, answer }) => {
                Ok(created_before(id, created_at, answer))
            }
            SaveOutcome::Repeated(RepeatedRequest::UserDeleted) => Err(Problem::deleted_since()),
            SaveOutcome::Repeated(RepeatedRequest::KeyTaken) => Err(Problem::key_taken()),
        }
    }

    pub(super) async fn delete(
        &self,
        who: UserRef<'_>,
        write: &ApiWrite,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let versions = match Preconditions::of(headers).if_match {
            None | Some(Tags::Any) => None,
            Some(Tags::Versions(versions)) => Some(versions),
        };
        let (now, versions) = (self.clock.now(), versions.as_deref());
        let deleted = persist(|| self.store.delete_user(now, who, versions, Some(write)));
        match deleted.await? {
            DeleteOutcome::Deleted(id) => {
                Ok((StatusCode::NO_CONTENT, Extension(Committed(id))).into_response())
            }
            DeleteOutcome::NotFound => Err(no_such_user()),
            DeleteOutcome::VersionMismatch => Err(Problem::other_version()),
        }
    }

    fn shown(&self, user: User) -> Response {
        let user = user.with_configured_kinds(&self.schedule);
        ([(ETAG, etag(user.version()))], Json(user)).into_response()
    }
}

pub(super) fn no_such_user() -> Problem {
    Problem::not_found("there is no such user; it may have been deleted")
}

fn created(user: &User) -> Response {
    let headers = [(LOCATION, location(user.id)), (ETAG, etag(user.version()))];
    (StatusCode::CREATED, Extension(Committed(user.id)), headers, Json(user)).into_response()
}

/// What was created is at its first version, whatever became of it since.
fn created_before(id: Uuid, created_at: DateTime<Utc>, answer: String) -> Response {
    let headers = [
        (LOCATION, location(id)),
        (ETAG, etag(Version::new(1, created_at))),
        (axum::http::header::CONTENT_TYPE, HeaderValue::from_static(JSON)),
    ];
    (StatusCode::CREATED, Extension(Committed(id)), headers, answer).into_response()
}

fn location(id: Uuid) -> HeaderValue {
    HeaderValue::from_str(&format!("/v1/users/{id}")).unwrap_or(HeaderValue::from_static("/v1/users"))
}

fn etag(version: Version) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// The external id of an address, without blanks around it, as it is kept.
pub(super) fn external_id(text: &str) -> Result<&str, Problem> {
    let text = text.trim();
    match request::text(text) {
        Ok(_) => Ok(text),
        Err(problem) => Err(Problem::bad_parameters(vec![FieldError::new("externalId", problem)])),
    }
}
