//! Extractors. Each rejects a request with a problem that names every invalid field or parameter.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::map::Entry;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::fields::{ShortText, parse_id};
use super::problem::Problem;
use crate::model::{FieldError, JsonObject};

/// Longest body, but for an import. The body of a user has some 300 bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;
pub(super) const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const MAX_KEY_CHARS: usize = 255;

/// The id in a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = parse_id(&segment(parts, state).await?);
        id.map(Self).map_err(|problem| Problem::invalid_parameters(vec![FieldError::new("id", problem)]))
    }
}

/// The external id in a path, without blanks around it, as it is stored.
#[derive(Debug)]
pub(super) struct ExternalId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ExternalId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match segment(parts, state).await?.trim().parse() {
            Ok(ShortText(id)) => Ok(Self(id)),
            Err(problem) => Err(Problem::invalid_parameters(vec![FieldError::new("externalId", problem)])),
        }
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|_| Problem::bad_request("the path is not UTF-8"))
}

/// The parameters of the query. A repeated parameter is a list.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut parameters = Map::new();
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match parameters.entry(name) {
                Entry::Vacant(entry) => drop(entry.insert(Value::from(value))),
                Entry::Occupied(entry) => match entry.into_mut() {
                    Value::Array(values) => values.push(Value::from(value)),
                    first => *first = json!([first.take(), value]),
                },
            }
        }
        match JsonObject(parameters).read() {
            (query, errors) if errors.is_empty() => Ok(Self(query)),
            (_, errors) => Err(Problem::invalid_parameters(errors)),
        }
    }
}

/// For operations without parameters: refuses all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NoParameters {}

/// A JSON object as a `T`.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (_, object) = object(request, state, &[JSON]).await?;
        match object.read() {
            (body, errors) if errors.is_empty() => Ok(Self(body)),
            (_, errors) => Err(Problem::invalid_fields(errors)),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A JSON object, and its bytes.
#[derive(Debug)]
pub(super) struct JsonBody(pub(super) JsonObject, pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        object(request, state, &[JSON]).await.map(|(bytes, object)| Self(object, bytes))
    }
}

/// A JSON merge patch (RFC 7396).
#[derive(Debug)]
pub(super) struct MergePatch(pub(super) JsonObject);

impl<S: Send + Sync> FromRequest<S> for MergePatch {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        object(request, state, &[MERGE_PATCH, JSON]).await.map(|(_, object)| Self(object))
    }
}

async fn object<S: Send + Sync>(
    request: Request,
    state: &S,
    types: &[&str],
) -> Result<(Bytes, JsonObject), Problem> {
    if !types.contains(&content_type(request.headers()).as_str()) {
        return Err(Problem::unsupported_content_type(&types.join(" or ")));
    }
    let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(MAX_BODY_BYTES),
        _ => Problem::bad_request("the body is incomplete"),
    })?;
    let object = serde_json::from_slice(&bytes);
    let object = object.map_err(|error| Problem::bad_request(format!("invalid JSON body: {error}")))?;
    Ok((bytes, object))
}

/// Returns the media type of the body without its parameters, in lower case.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// The `Idempotency-Key` of a request, if it has one.
#[derive(Debug)]
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        match value.to_str() {
            Ok(key) if (1..=MAX_KEY_CHARS).contains(&key.len()) => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::bad_request(format!(
                "invalid Idempotency-Key: expected 1 to {MAX_KEY_CHARS} visible ASCII characters"
            ))),
        }
    }
}
