//! `/v1/users`

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use backon::{ConstantBuilder, Retryable as _};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use uuid::Uuid;

use super::Api;
use super::fields::ShortText;
use super::page::{self, Limit, Page, UserCursorText};
use super::preconditions::{Preconditions, etag};
use super::problem::Problem;
use super::request::{Id, IdempotencyKey, JSON, Json, JsonBody, MergePatch, NoParameters, Query};
use crate::calendar::{Zone, latest_today};
use crate::http::access::AuditedWrite;
use crate::model::{Contact, FieldError, NewUser, User, UserFields, UserInput, UserWithContacts, Version};
use crate::store::{
    ApiRequest, ApiWrite, CurrentUser, DeleteOutcome, Idempotency, RepeatedRequest, SaveOutcome,
    SearchCursor, StoreError, UserChange, UserFilter, UserRef,
};

/// Two more attempts, at once, of a write that conflicts with concurrent writes.
const RETRIES: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::ZERO).with_max_times(2);

/// [`UserFields`] without required fields.
pub(super) struct UserPatch;

impl PartialSchema for UserPatch {
    fn schema() -> RefOr<Schema> {
        let mut schema = UserFields::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.required.clear();
        }
        schema
    }
}

impl ToSchema for UserPatch {}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UserQuery {
    /// In this zone, by exactly this name
    #[param(value_type = Option<String>, format = "time-zone")]
    time_zone: Option<Zone>,
    /// The beginning of "first name, blank, last name", of the last name, or of the external id, in any case
    #[param(value_type = Option<String>, min_length = 1, max_length = 200)]
    search: Option<ShortText>,
    /// Maximum number of items (default 50)
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next` of the page before
    #[param(value_type = Option<String>, format = "user-cursor")]
    cursor: Option<UserCursorText>,
}

/// List users
///
/// In the order of their ids, which is about the order of creation. With `search`, in the order of the matching text; a page may then
/// have fewer users than `limit` although `next` is not null. A user must meet all conditions. A user that this version of bday cannot
/// read (for example, in a time zone that only a newer version has) is left out and logged.
#[utoipa::path(
    get, path = "/v1/users", tag = "users", operation_id = "listUsers",
    params(UserQuery),
    responses((status = 200, description = "A page of users", body = Page<User>))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<UserQuery>,
) -> Result<Json<Page<User>>, Problem> {
    let UserQuery { time_zone, search, limit, cursor } = query;
    let limit = page::items(limit);
    if let Some(Err(problem)) = cursor.as_ref().map(|cursor| cursor.check(search.is_some())) {
        return Err(Problem::invalid_parameters(vec![FieldError::new("cursor", problem)]));
    }
    let after = cursor.map(|UserCursorText(cursor)| cursor).unwrap_or_default();
    let (users, next) = if let Some(ShortText(search)) = search {
        let page = api.store.search_users(&search, time_zone, after, limit).await?;
        (page.users, page.next)
    } else {
        let page = api.store.list_users(&UserFilter { time_zone }, after.id, limit).await?;
        let next = page.next.map(|id| SearchCursor { id, ..SearchCursor::default() });
        (page.users, next)
    };
    let next = next.map(|cursor| UserCursorText(cursor).to_string());
    let items = users.into_iter().map(|user| user.with_configured_kinds(&api.schedule)).collect();
    Ok(Json(Page { items, next }))
}

/// Create a user
///
/// With an `Idempotency-Key` the request may be repeated for 24 hours with the same token: the response is the first one again.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "createUser",
    params(("Idempotency-Key" = Option<String>, Header, description = "Your key of this request", min_length = 1, max_length = 255)),
    request_body(content = UserFields, content_type = "application/json"),
    responses(
        (status = 201, body = User, description = "Created", headers(
            ("Location" = String, description = "The path of the user"),
            ("ETag" = String, description = "The version"),
        )),
        (status = 409, description = "The external id is taken"),
        (status = 410, description = "An earlier request with this key created a user that has been deleted since"),
        (status = 422, description = "Invalid fields, or the key belongs to another request")
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    _: Query<NoParameters>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(object, bytes): JsonBody,
) -> Result<Response, Problem> {
    let user = api.new_user().patch(&object).validate().map_err(Problem::invalid_fields)?;
    let idempotency = key.as_deref().map(|key| Idempotency { key, request: &bytes });
    let existing = user.external_id.as_deref().map(UserRef::External);
    api.save(existing, &ApiRequest { write: &write, idempotency }, |current| match current {
        None => Ok(user.clone()),
        Some(_) => Err(Problem::external_id_taken()),
    })
    .await
}

/// Read a user
///
/// With `contacts`, which lists, exports and the responses to writes do not have.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", operation_id = "getUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-None-Match" = Option<String>, Header, description = "An ETag: respond 304 if the user has it")
    ),
    responses(
        (status = 200, description = "The user", body = UserWithContacts, headers(("ETag" = String, description = "The version"))),
        (status = 304, description = "Not modified"),
        (status = 404, description = "No such user")
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Id(id): Id,
    _: Query<NoParameters>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    api.read(UserRef::Id(id), &preconditions).await
}

/// Replace a user
///
/// Fields that are absent are unset. Dates of kinds that are not configured stay.
#[utoipa::path(
    put, path = "/v1/users/{id}", tag = "users", operation_id = "replaceUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "An ETag that the user must have")
    ),
    request_body(content = UserFields, content_type = "application/json"),
    responses(
        (status = 200, description = "The changed user", body = User, headers(("ETag" = String, description = "The version"))),
        (status = 404, description = "No such user"),
        (status = 409, description = "The external id is taken"),
        (status = 412, description = "The user has another version"),
        (status = 422, description = "Invalid fields")
    )
)]
pub(super) async fn replace(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    Id(id): Id,
    _: Query<NoParameters>,
    preconditions: Preconditions,
    JsonBody(object, _): JsonBody,
) -> Result<Response, Problem> {
    api.save(Some(UserRef::Id(id)), &ApiRequest::of(&write), |current| {
        let current = current.ok_or_else(no_such_user)?;
        let new = api.new_user().patch(&object).validate().map_err(Problem::invalid_fields)?;
        preconditions.check(Some(current.version))?;
        Ok(new)
    })
    .await
}

/// Change some fields of a user
///
/// A JSON merge patch (RFC 7396): absent fields stay as they are, null unsets a field.
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "users", operation_id = "changeUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "An ETag that the user must have")
    ),
    request_body(content((UserPatch = "application/merge-patch+json"), (UserPatch = "application/json"))),
    responses(
        (status = 200, description = "The changed user", body = User, headers(("ETag" = String, description = "The version"))),
        (status = 404, description = "No such user"),
        (status = 409, description = "The external id is taken"),
        (status = 412, description = "The user has another version"),
        (status = 422, description = "Invalid fields")
    )
)]
pub(super) async fn patch(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    Id(id): Id,
    _: Query<NoParameters>,
    preconditions: Preconditions,
    MergePatch(patch): MergePatch,
) -> Result<Response, Problem> {
    api.save(Some(UserRef::Id(id)), &ApiRequest::of(&write), |current| {
        let CurrentUser { version, user } = current.ok_or_else(no_such_user)?;
        let input = UserInput::from_user(&user?, &api.schedule, latest_today(api.clock.now()));
        let new = input.patch(&patch).validate().map_err(Problem::invalid_fields)?;
        preconditions.check(Some(version))?;
        Ok(new)
    })
    .await
}

/// Delete a user
///
/// Cancels the events that were not sent. A request that is in flight may still arrive.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", operation_id = "deleteUser",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "An ETag that the user must have")
    ),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "No such user"),
        (status = 412, description = "The user has another version")
    )
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    Id(id): Id,
    _: Query<NoParameters>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    api.delete(UserRef::Id(id), &write, &preconditions).await
}

impl Api {
    pub(super) fn new_user(&self) -> UserInput<'_> {
        UserInput::complete(&self.schedule, latest_today(self.clock.now()))
    }

    pub(super) async fn read(
        &self,
        user: UserRef<'_>,
        preconditions: &Preconditions,
    ) -> Result<Response, Problem> {
        let user = self.store.user(user).await?.ok_or_else(no_such_user)?;
        let contacts = self.store.contacts(user.id).await?;
        let tag = [(ETAG, etag(user.version()))];
        // A suppression does not change the version, but its end does: a client whose copy has another status is never answered 304.
        if preconditions.is_not_modified(user.version()) && contacts.iter().all(Contact::is_active) {
            return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
        }
        let user = user.with_configured_kinds(&self.schedule);
        Ok((tag, Json(UserWithContacts { user, contacts })).into_response())
    }

    /// Writes what `edit` makes of `user`. `edit` checks preconditions last: they apply to requests that would succeed without them
    /// (RFC 9110 section 13.2.1).
    pub(super) async fn save(
        &self,
        user: Option<UserRef<'_>>,
        request: &ApiRequest<'_>,
        edit: impl Fn(Option<CurrentUser>) -> Result<NewUser, Problem>,
    ) -> Result<Response, Problem> {
        let now = self.clock.now();
        let save = || self.store.save_user(&self.schedule, now, user, Some(request), &edit);
        match retry_on_contention(save).await? {
            SaveOutcome::Saved(UserChange::Created, user) => {
                Ok(created(&user.with_configured_kinds(&self.schedule)))
            }
            SaveOutcome::Saved(_, user) => {
                Ok((Extension(AuditedWrite(user.id)), self.ok(*user)).into_response())
            }
            SaveOutcome::Refused(problem) => Err(problem),
            SaveOutcome::Repeated(RepeatedRequest::Answered { id, created_at, answer }) => {
                Ok(created_before(id, created_at, answer))
            }
            SaveOutcome::Repeated(RepeatedRequest::UserDeleted) => Err(Problem::deleted_since()),
            SaveOutcome::Repeated(RepeatedRequest::KeyTaken) => Err(Problem::idempotency_key_taken()),
        }
    }

    pub(super) async fn delete(
        &self,
        user: UserRef<'_>,
        write: &ApiWrite,
        preconditions: &Preconditions,
    ) -> Result<Response, Problem> {
        let (now, versions) = (self.clock.now(), preconditions.required_versions());
        match retry_on_contention(|| self.store.delete_user(now, user, versions, Some(write))).await? {
            DeleteOutcome::Deleted(id) => {
                Ok((StatusCode::NO_CONTENT, Extension(AuditedWrite(id))).into_response())
            }
            DeleteOutcome::NotFound => Err(no_such_user()),
            DeleteOutcome::VersionMismatch => Err(Problem::other_version()),
        }
    }

    fn ok(&self, user: User) -> Response {
        let user = user.with_configured_kinds(&self.schedule);
        ([(ETAG, etag(user.version()))], Json(user)).into_response()
    }
}

/// Repeats `write` while it conflicts with concurrent writes, but not after a lock timeout: that request has held a connection for long
/// enough, and its client may retry.
pub(in crate::http) async fn retry_on_contention<T, F: Future<Output = Result<T, StoreError>>>(
    write: impl Fn() -> F,
) -> Result<T, StoreError> {
    write.retry(RETRIES).when(|error| error.is_contention() && !error.is_lock_timeout()).await
}

pub(super) fn no_such_user() -> Problem {
    Problem::not_found("no such user; the user may have been deleted")
}

fn created(user: &User) -> Response {
    let headers = [(LOCATION, location(user.id)), (ETAG, etag(user.version()))];
    (StatusCode::CREATED, Extension(AuditedWrite(user.id)), headers, Json(user)).into_response()
}

/// Repeats the response of an earlier request: the user's first version.
fn created_before(id: Uuid, created_at: DateTime<Utc>, body: String) -> Response {
    let headers = [
        (LOCATION, location(id)),
        (ETAG, etag(Version::new(1, created_at))),
        (CONTENT_TYPE, HeaderValue::from_static(JSON)),
    ];
    (StatusCode::CREATED, Extension(AuditedWrite(id)), headers, body).into_response()
}

fn location(id: Uuid) -> HeaderValue {
    HeaderValue::from_str(&format!("/v1/users/{id}")).unwrap_or(HeaderValue::from_static("/v1/users"))
}
