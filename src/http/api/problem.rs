//! Errors as RFC 9457 problem details.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

use crate::calendar::format_count;
use crate::model::FieldError;
use crate::operations::dead_letters::DeadLetterError;
use crate::store::{StoreError, chain};

const MEDIA_TYPE: &str = "application/problem+json";
/// In seconds: after contention for a row or a request slot.
const RETRY_SOON: HeaderValue = HeaderValue::from_static("1");
/// In seconds: after an outage.
const RETRY_LATER: HeaderValue = HeaderValue::from_static("5");

/// A problem detail (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct Problem {
    /// Identifies the kind of problem. Stable.
    #[serde(rename = "type")]
    #[schema(example = "urn:bday:problem:invalid-fields")]
    kind: String,
    /// The kind of problem in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: String,
    /// Every invalid field or parameter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:bday:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", detail)
    }

    pub(super) fn invalid_parameters(errors: Vec<FieldError>) -> Self {
        let detail =
            format_count(errors.len(), "invalid parameter: see errors", "invalid parameters: see errors");
        Self { errors, ..Self::bad_request(detail) }
    }

    pub(super) fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let detail = format_count(errors.len(), "invalid field: see errors", "invalid fields: see errors");
        Self { errors, ..Self::new(status, "invalid-fields", "Invalid fields", detail) }
    }

    pub(super) fn unusable_body(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "unusable-body", "The body cannot be used", detail)
    }

    pub(super) fn idempotency_key_taken() -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let detail =
            "another request used this Idempotency-Key in the last 24 hours: use one key per request";
        Self::new(status, "idempotency-key-taken", "The Idempotency-Key is taken", detail)
    }

    /// The user that an earlier request with the same key created was deleted.
    pub(super) fn deleted_since() -> Self {
        let title = "The user has been deleted since";
        let detail = "an earlier request with this Idempotency-Key created a user that has been deleted since: to create \
                      the user again, use another key";
        Self::new(StatusCode::GONE, "deleted-since", title, detail)
    }

    pub(in crate::http) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "A token is required", detail)
    }

    pub(in crate::http) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The token does not allow this", detail)
    }

    pub(in crate::http) fn tokens_unavailable() -> Self {
        Self::unavailable(
            "the token cannot be checked because the database does not answer: try again",
            RETRY_LATER,
        )
    }

    pub(super) fn external_id_taken() -> Self {
        let title = "The external id is taken";
        let problem = "belongs to another user: PUT /v1/users/by-external-id/{externalId} changes that user";
        let errors = vec![FieldError::new("externalId", problem)];
        Self { errors, ..Self::new(StatusCode::CONFLICT, "external-id-taken", title, title) }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(super) fn method_not_allowed(method: &str) -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let detail = format!("method {method} not allowed: see the Allow header");
        Self::new(status, "method-not-allowed", "Method not allowed", detail)
    }

    /// The user is not at the version that the client requires.
    pub(super) fn other_version() -> Self {
        let detail = "the user does not match If-Match or If-None-Match; it may have been changed concurrently: read it again";
        Self::new(StatusCode::PRECONDITION_FAILED, "other-version", "Precondition failed", detail)
    }

    pub(super) fn wrong_state(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "wrong-state", "The state of the event does not allow this", detail)
    }

    pub(super) fn token_refused(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "token-refused", "The token cannot be created", detail)
    }

    pub(super) fn unsupported_content_type(supported: &str) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let detail = format!("unsupported Content-Type: use {supported}");
        Self::new(status, "unsupported-content-type", "Unsupported content type", detail)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("the body may have at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    pub(super) fn timeout(seconds: u64) -> Self {
        let detail = format!("no response within {seconds} s: try again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "Timeout", detail)
            .with(RETRY_AFTER, RETRY_LATER)
    }

    pub(super) fn no_random_bytes() -> Self {
        Self::unavailable("the operating system has no random bytes: try again", RETRY_LATER)
    }

    pub(super) fn too_many_forecasts(limit: usize) -> Self {
        let detail = format!("this process already handles {limit} requests for a forecast: try again");
        Self::unavailable(&detail, RETRY_LATER)
    }

    pub(super) fn too_many_imports(limit: usize) -> Self {
        Self::unavailable(&format!("this process already runs {limit} imports: try again"), RETRY_LATER)
    }

    pub(in crate::http) fn too_many_requests_in_progress() -> Self {
        let detail = "http.max_connections requests are in progress in this process: try again";
        Self::unavailable(detail, RETRY_SOON)
    }

    fn unavailable(detail: &str, retry_after: HeaderValue) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "unavailable", "Unavailable", detail).with(RETRY_AFTER, retry_after)
    }

    pub(super) fn and(mut self, more: &str) -> Self {
        self.detail = format!("{}; {more}", self.detail);
        self
    }

    pub(in crate::http) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Adds problem details to the responses of `operation` that are errors.
pub(super) fn describe(operation: &mut Operation) {
    let schema = Ref::from_schema_name("Problem");
    let content = RefOr::T(ContentBuilder::new().schema(Some(schema)).build());
    let responses = &mut operation.responses.responses;
    let other = ResponseBuilder::new().description("Any other error").build();
    responses.insert("default".to_owned(), RefOr::T(other));
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && !status.starts_with(['2', '3'])
        {
            response.content.insert(MEDIA_TYPE.to_owned(), content.clone());
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(serde_json::to_vec(&self).unwrap_or_default()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<DeadLetterError> for Problem {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Store(error) => error.into(),
            DeadLetterError::Queue(error) => {
                tracing::error!(%error, "api request failed: dead-letter queue");
                Self::unavailable("the dead-letter queue does not answer: try again", RETRY_LATER)
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

/// An error that several requests share.
impl From<Arc<StoreError>> for Problem {
    fn from(error: Arc<StoreError>) -> Self {
        Self::from(&*error)
    }
}

/// A violated constraint is an invalid field. Fields are checked before they are written, so this is rare.
impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        if error.is_contention() {
            return Self::unavailable("the user is being written concurrently: try again", RETRY_SOON);
        }
        let field = match error.constraint() {
            Some("external_ids_are_unique") => return Self::external_id_taken(),
            Some("an_external_id_is_not_blank") => Some("externalId"),
            Some("a_first_name_is_not_blank") => Some("firstName"),
            Some("a_last_name_is_not_huge") => Some("lastName"),
            Some("a_send_time_is_a_whole_minute") => Some("sendAt"),
            Some("a_leap_day_rule_is_known") => Some("leapDay"),
            Some("a_locale_is_a_language_tag") => Some("locale"),
            // The other types of addresses are always short.
            Some("an_address_is_short") => Some("email"),
            Some("a_date_is_a_day_of_some_year" | "a_year_is_plausible") => Some("birthDate"),
            Some("a_kind_is_a_short_name") => Some("occasions"),
            _ => None,
        };
        if let Some(field) = field {
            return Self::invalid_fields(vec![FieldError::new(field, "rejected by the database")]);
        }
        let reason = chain(error);
        if let StoreError::Unreadable(_) = error {
            tracing::error!(error = reason, "api request failed: unreadable row");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Self::new(status, "internal", "Internal error", "see the log of bday");
        }
        tracing::error!(error = reason, "api request failed: database");
        Self::unavailable("the database does not answer: try again", RETRY_LATER)
    }
}
