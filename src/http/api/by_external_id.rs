//! `/v1/users/by-external-id/{externalId}`: for systems that know people by names of their own.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::Api;
use super::problem::Problem;
use super::request::{self, Parameters, Preconditions, Segment};
use super::users::{JSON, UserBody, external_id};
use crate::model::User;
use crate::store::{ApiRequest, ApiWrite, UserRef};

/// Read a user by external id
#[utoipa::path(
    get, path = "/v1/users/by-external-id/{externalId}", tag = "users", operation_id = "getUserByExternalId",
    params(
        ("externalId" = String, Path, description = "Your name for this person", min_length = 1, max_length = 200),
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
    Segment(id): Segment,
    given: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    given.finish()?;
    api.read(UserRef::External(external_id(&id)?), &headers).await
}

/// Create a user, or bring one up to date
///
/// May be repeated at will: 201 when the user is new, else 200. The body is the whole user; `externalId` may be left
/// out of it.
#[utoipa::path(
    put, path = "/v1/users/by-external-id/{externalId}", tag = "users", operation_id = "putUserByExternalId",
    params(
        ("externalId" = String, Path, description = "Your name for this person", min_length = 1, max_length = 200),
        ("If-Match" = Option<String>, Header, description = "An ETag: only if it is the user's"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such user")
    ),
    request_body(content = UserBody, content_type = "application/json"),
    responses(
        (status = 200, body = User, description = "It was there", headers(("ETag" = String, description = "The version"))),
        (status = 201, body = User, description = "It is new", headers(
            ("Location" = String, description = "Where the user is"),
            ("ETag" = String, description = "The version"),
        )),
        (status = 412, description = "The user has another version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are wrong", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    Segment(id): Segment,
    given: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    given.finish()?;
    let id = external_id(&id)?;
    let (_, object) = request::object(&headers, body, &[JSON]).await?;
    let preconditions = Preconditions::of(&headers);
    let user = api.new_user().patch(&object).with_external_id(id).validate().map_err(Problem::invalid)?;
    api.save(Some(UserRef::External(id)), &ApiRequest::of(&write), |current| {
        preconditions.check(current.map(|current| current.version))?;
        Ok(user.clone())
    })
    .await
}

/// Delete a user by external id
#[utoipa::path(
    delete, path = "/v1/users/by-external-id/{externalId}", tag = "users", operation_id = "deleteUserByExternalId",
    params(
        ("externalId" = String, Path, description = "Your name for this person", min_length = 1, max_length = 200),
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
    Segment(id): Segment,
    given: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    given.finish()?;
    api.delete(UserRef::External(external_id(&id)?), &write, &headers).await
}
