//! `/v1/users/by-external-id/{externalId}`: users by the id that another system gave them.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::Api;
use super::preconditions::Preconditions;
use super::problem::Problem;
use super::request::{ExternalId, JsonBody, NoParameters, Query};
use crate::model::{User, UserFields, UserWithContacts};
use crate::store::{ApiRequest, ApiWrite, UserRef};

/// Read a user by external id
///
/// With `contacts`, as `getUser`.
#[utoipa::path(
    get, path = "/v1/users/by-external-id/{externalId}", tag = "users", operation_id = "getUserByExternalId",
    params(
        ("externalId" = String, Path, description = "Your id of this person", min_length = 1, max_length = 200),
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
    ExternalId(id): ExternalId,
    _: Query<NoParameters>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    api.read(UserRef::External(&id), &preconditions).await
}

/// Create or replace a user by external id
///
/// The request may be repeated. The body is the whole user; `externalId` may be absent in it.
#[utoipa::path(
    put, path = "/v1/users/by-external-id/{externalId}", tag = "users", operation_id = "putUserByExternalId",
    params(
        ("externalId" = String, Path, description = "Your id of this person", min_length = 1, max_length = 200),
        ("If-Match" = Option<String>, Header, description = "An ETag that the user must have"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create")
    ),
    request_body(content = UserFields, content_type = "application/json"),
    responses(
        (status = 200, body = User, description = "Replaced", headers(("ETag" = String, description = "The version"))),
        (status = 201, body = User, description = "Created", headers(
            ("Location" = String, description = "The path of the user"),
            ("ETag" = String, description = "The version"),
        )),
        (status = 412, description = "The user has another version"),
        (status = 422, description = "Invalid fields")
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    ExternalId(id): ExternalId,
    _: Query<NoParameters>,
    preconditions: Preconditions,
    JsonBody(object, _): JsonBody,
) -> Result<Response, Problem> {
    let user =
        api.new_user().patch(&object).with_external_id(&id).validate().map_err(Problem::invalid_fields)?;
    api.save(Some(UserRef::External(&id)), &ApiRequest::of(&write), |current| {
        preconditions.check(current.map(|current| current.version))?;
        Ok(user.clone())
    })
    .await
}

/// Delete a user by external id
#[utoipa::path(
    delete, path = "/v1/users/by-external-id/{externalId}", tag = "users", operation_id = "deleteUserByExternalId",
    params(
        ("externalId" = String, Path, description = "Your id of this person", min_length = 1, max_length = 200),
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
    ExternalId(id): ExternalId,
    _: Query<NoParameters>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    api.delete(UserRef::External(&id), &write, &preconditions).await
}
