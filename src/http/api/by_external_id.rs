//! `/v1/users/by-external-id/{externalId}`: for systems that know people by names of their own.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::Api;
use super::problem::Problem;
use super::request::{self, Parameters, Preconditions, Segment};
use super::users::{JSON, UserBody, created, external_id};
use crate::model::{User, UserDocument};
use crate::store::{Created, UserRef};

/// How often a user may come and go between our looking and our writing.
const TRIES: u32 = 3;

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
    Segment(id): Segment,
    given: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    given.finish()?;
    let id = external_id(&id)?;
    let (_, object) = request::object(&headers, body, &[JSON]).await?;
    let preconditions = Preconditions::of(&headers);
    let document = UserDocument::default().with(&object).with_external_id(id);
    let user = document
        .clone()
        .check(&api.schedule, api.latest_today())
        .map_err(Problem::invalid)?;
    for _ in 0..TRIES {
        let edited = api
            .edit(UserRef::External(id), &preconditions, |_| Ok(document.clone()))
            .await?;
        if let Some(response) = edited {
            return Ok(response);
        }
        if !preconditions.hold(None) {
            return Err(Problem::other_version());
        }
        // Where somebody else has created it in between, it can be changed now.
        if let Created::New(user) = api.create(&user).await? {
            return Ok(created(&user.known_to(&api.schedule)));
        }
    }
    Err(Problem::external_id_taken())
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
    Segment(id): Segment,
    given: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    given.finish()?;
    api.delete(UserRef::External(external_id(&id)?), &headers).await
}
