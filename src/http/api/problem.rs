//! Errors as RFC 9457 problem details.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::FieldError;
use crate::operations::dead_letters::DeadLetterError;
use crate::store::StoreError;
use crate::store::chain;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");
/// When to come back after something that passes by itself, in seconds.
const SOON: HeaderValue = HeaderValue::from_static("1");
const LATER: HeaderValue = HeaderValue::from_static("5");

/// What went wrong, as RFC 9457 has it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct Problem {
    /// Names the kind of problem: stable, for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:bday:problem:invalid-fields")]
    kind: String,
    /// The kind of problem in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time, and what to do.
    detail: String,
    /// Every field or parameter that is wrong.
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

    /// The request cannot be read.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        let title = "The request cannot be read";
        Self::new(StatusCode::BAD_REQUEST, "bad-request", title, detail)
    }

    /// Parameters of the address are wrong.
    pub(super) fn bad_parameters(errors: Vec<FieldError>) -> Self {
        let wrong = count(&errors, "parameter of the address", "parameters of the address");
        let mut problem = Self::bad_request(format!("{wrong}: see errors"));
        problem.errors = errors;
        problem
    }

    /// Fields of the body are wrong.
    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        let (status, title) = (StatusCode::UNPROCESSABLE_ENTITY, "Some fields are wrong");
        let detail = format!("{}: see errors", count(&errors, "field", "fields"));
        let mut problem = Self::new(status, "invalid-fields", title, detail);
        problem.errors = errors;
        problem
    }

    /// The body can be read but not used.
    pub(super) fn unusable(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::UNPROCESSABLE_ENTITY, "The body cannot be used");
        Self::new(status, "unusable-body", title, detail)
    }

    /// The key of an earlier request came with another one.
    pub(super) fn key_taken() -> Self {
        let (status, title) = (StatusCode::UNPROCESSABLE_ENTITY, "The Idempotency-Key is taken");
        let detail = "another request had this Idempotency-Key within a day: give each request its own";
        Self::new(status, "idempotency-key-taken", title, detail)
    }

    /// The request was done before, and what it made is gone.
    pub(super) fn deleted_since() -> Self {
        let (status, title) = (StatusCode::GONE, "The user has been deleted since");
        let detail = "the request with this Idempotency-Key was done within a day, and its user has been deleted since: to \
                      create somebody again, give the request another key";
        Self::new(status, "deleted-since", title, detail)
    }

    /// Nobody knows who asks.
    pub(in crate::http) fn unauthenticated(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::UNAUTHORIZED, "A token is needed");
        Self::new(status, "unauthenticated", title, detail)
    }

    /// Who asks may not.
    pub(in crate::http) fn forbidden(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::FORBIDDEN, "The token does not allow this");
        Self::new(status, "forbidden", title, detail)
    }

    /// The database, which knows who may, does not answer.
    pub(in crate::http) fn no_tokens() -> Self {
        let detail = "the database does not answer, so no token can be checked: try again";
        Self::unavailable(detail, LATER)
    }

    /// The external id belongs to another user.
    pub(super) fn external_id_taken() -> Self {
        let title = "The external id is taken";
        let problem = "belongs to another user: PUT /v1/users/by-external-id/{externalId} changes that one";
        let mut conflict = Self::new(StatusCode::CONFLICT, "external-id-taken", title, title);
        conflict.errors = vec![FieldError::new("externalId", problem)];
        conflict
    }

    /// What is asked for does not exist.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// The address exists, but not for this method.
    pub(super) fn method_not_allowed(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        Self::new(status, "method-not-allowed", title, detail)
    }

    /// The user is not at the version that the client knows.
    pub(super) fn other_version() -> Self {
        let (status, title) = (StatusCode::PRECONDITION_FAILED, "Somebody else was faster");
        let detail = "the user is not at the version that If-Match or If-None-Match asks for: read it again";
        Self::new(status, "other-version", title, detail)
    }

    /// The event is in a state in which this cannot be done.
    pub(super) fn wrong_state(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::CONFLICT, "The event is not in a state for that");
        Self::new(status, "wrong-state", title, detail)
    }

    /// The body is of a type that is not taken here.
    pub(super) fn unsupported_type(taken: &str) -> Self {
        let (status, title) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content type");
        let detail = format!("the content-type must be {taken}");
        Self::new(status, "unsupported-content-type", title, detail)
    }

    /// The body is too long.
    pub(super) fn too_large(limit: usize) -> Self {
        let (status, title) = (StatusCode::PAYLOAD_TOO_LARGE, "The body is too long");
        Self::new(status, "too-large", title, format!("{limit} bytes is the most"))
    }

    /// It took too long.
    pub(super) fn timeout(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::SERVICE_UNAVAILABLE, "It took too long");
        Self::new(status, "timeout", title, detail).with(RETRY_AFTER, LATER)
    }

    /// There may be no more requests for a forecast.
    pub(super) fn too_many_forecasts(most: usize) -> Self {
        let detail = format!("{most} requests wait for a forecast in this process: try again");
        Self::unavailable(&detail, LATER)
    }

    /// Every place for a request is taken.
    pub(in crate::http) fn too_many_requests_in_progress() -> Self {
        let detail = "http.max_connections requests are in progress in this process: try again";
        Self::unavailable(detail, SOON)
    }

    /// As many imports are under way as there may be.
    pub(super) fn too_many_imports(most: usize) -> Self {
        let detail = format!("{most} imports are under way in this process, and no more at once: try again");
        Self::unavailable(&detail, LATER)
    }

    fn unavailable(detail: &str, retry_after: HeaderValue) -> Self {
        let (status, title) = (StatusCode::SERVICE_UNAVAILABLE, "Not available at this moment");
        Self::new(status, "unavailable", title, detail).with(RETRY_AFTER, retry_after)
    }

    fn internal() -> Self {
        let (status, title) = (StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
        Self::new(status, "internal", title, "the log of bday has the reason")
    }

    /// With more to say.
    pub(super) fn adding(mut self, more: &str) -> Self {
        self.detail = format!("{}; {more}", self.detail);
        self
    }

    /// With a further header.
    pub(in crate::http) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

fn count(errors: &[FieldError], one: &str, many: &str) -> String {
    match errors.len() {
        1 => format!("1 {one} is wrong"),
        n => format!("{n} {many} are wrong"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<DeadLetterError> for Problem {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Store(error) => error.into(),
            DeadLetterError::Queue(error) => {
                tracing::error!(%error, "the dead-letter queue did not do what a request needed");
                Self::unavailable("the dead-letter queue does not answer: try again", LATER)
            }
        }
    }
}

/// A named constraint is a field that is wrong. What is checked at the door never gets this far, but for what only the
/// database can know.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        if error.is_contention() {
            return Self::unavailable("others are writing the same users at this moment: try again", SOON);
        }
        let field = match error.constraint() {
            Some("external_ids_are_unique") => return Self::external_id_taken(),
            Some("an_external_id_is_not_blank") => "externalId",
            Some("a_first_name_is_not_blank") => "firstName",
            Some("a_last_name_is_not_huge") => "lastName",
            Some("a_send_time_is_a_whole_minute") => "sendAt",
            Some("a_leap_day_rule_is_known") => "leapDay",
            Some("a_date_is_a_day_of_some_year" | "a_year_is_plausible") => "birthDate",
            Some("a_kind_is_a_short_name") => "occasions",
            _ => "",
        };
        if !field.is_empty() {
            return Self::invalid(vec![FieldError::new(field, "the database refuses it")]);
        }
        let reason = chain(error);
        if let StoreError::Unreadable(_) = error {
            tracing::error!(error = reason, "a row cannot be read");
            return Self::internal();
        }
        tracing::error!(error = reason, "the database did not do what a request needed");
        Self::unavailable("the database does not answer: try again", LATER)
    }
}
