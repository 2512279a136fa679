//! `/v1/tokens`: as `bday token create`, `list` and `revoke`.

use axum::Extension;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::fields;
use super::page::{self, Limit, Page, TimeCursorText};
use super::problem::Problem;
use super::request::{Id, Json, NoParameters, Query};
use crate::http::access::AuditTarget;
use crate::model::{FieldError, Scope, Token, TokenState};
use crate::operations::tokens::{self, CreateTokenError, CreatedToken, TokenRequest};
use crate::store::ApiToken;

const MAX_EXPIRY_DAYS: u64 = tokens::MAX_EXPIRY_DAYS as u64;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenQuery {
    /// List expired and revoked tokens, too (default false)
    #[serde(deserialize_with = "fields::flag")]
    #[param(value_type = Option<bool>)]
    all: bool,
    /// Maximum number of items (default 50)
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next` of the page before
    #[param(value_type = Option<String>, format = "time-cursor")]
    cursor: Option<TimeCursorText>,
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListedToken {
    #[serde(flatten)]
    token: ApiToken,
    state: TokenState,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewToken {
    #[serde(flatten)]
    listed: ListedToken,
    /// The token. It is not shown again.
    #[schema(example = "bday_…")]
    token: String,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TokenInput)]
pub(super) struct TokenBody {
    /// Letters, digits, dots, hyphens and underscores. Unique among live tokens.
    #[serde(default, deserialize_with = "fields::token_name")]
    #[schema(value_type = String, required = true, pattern = "^[A-Za-z0-9._-]{1,60}$", example = "hr")]
    name: Option<String>,
    /// What the token allows: each scope includes those before it.
    #[serde(default, deserialize_with = "fields::text")]
    #[schema(value_type = Scope, required = true)]
    scope: Option<Scope>,
    /// Expire after this many days.
    #[serde(default, deserialize_with = "fields::whole::<_, 1, MAX_EXPIRY_DAYS>")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 36_500)]
    expires_in_days: Option<u64>,
    /// Expire at this instant: RFC 3339, or a date, which begins at 00:00 UTC.
    #[serde(default, deserialize_with = "fields::instant")]
    #[schema(value_type = Option<String>, format = "instant")]
    expires_at: Option<DateTime<Utc>>,
}

/// List tokens
///
/// The newest first, without their secrets.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "access", operation_id = "listTokens",
    params(TokenQuery),
    responses((status = 200, description = "A page of tokens", body = Page<ListedToken>))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<TokenQuery>,
) -> Result<Json<Page<ListedToken>>, Problem> {
    let (limit, now) = (page::items(query.limit), api.clock.now());
    let before = query.cursor.map(|TimeCursorText(cursor)| cursor);
    let tokens = api.store.list_tokens((!query.all).then_some(now), before, limit + 1).await?;
    let listed = tokens.into_iter().map(|token| ListedToken { state: token.state(now), token }).collect();
    Ok(Json(Page::by_time(listed, limit, |listed: &ListedToken| (&listed.token).into())))
}

/// Create a token
///
/// The response is the only one that has the token: the database stores its hash. It works at once.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "access", operation_id = "createToken",
    request_body(content = TokenBody, content_type = "application/json"),
    responses(
        (status = 201, body = NewToken, description = "The token, in clear"),
        (status = 409, description = "A live token has this name, or there are 1000 live tokens"),
        (status = 422, description = "Invalid fields")
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    _: Query<NoParameters>,
    Json(body): Json<TokenBody>,
) -> Result<(StatusCode, [(HeaderName, &'static str); 1], Extension<AuditTarget>, Json<NewToken>), Problem> {
    let now = api.clock.now();
    let request = body.request(now).map_err(Problem::invalid_fields)?;
    let CreatedToken { token, secret } = tokens::create(&api.store, now, request).await?;
    let audited = Extension(AuditTarget(token.id));
    let token = NewToken {
        listed: ListedToken { state: token.state(now), token },
        token: secret.as_ref().map(Token::expose).unwrap_or_default().to_owned(),
    };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], audited, Json(token)))
}

impl TokenBody {
    fn request(self, now: DateTime<Utc>) -> Result<TokenRequest, Vec<FieldError>> {
        let missing = |field| FieldError::new(field, "is missing");
        let expires_at = tokens::expiry(now, self.expires_in_days.map(|days| days as u32), self.expires_at);
        match (self.name, self.scope, expires_at) {
            (Some(name), Some(scope), Ok(expires_at)) => {
                Ok(TokenRequest { name, scope, expires_at, hash: None })
            }
            (name, scope, expires_at) => {
                let name = name.is_none().then(|| missing("name"));
                let scope = scope.is_none().then(|| missing("scope"));
                Err(name.into_iter().chain(scope).chain(expires_at.err()).collect())
            }
        }
    }
}

/// Revoke a token
///
/// Takes effect in all processes within 5 s.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "access", operation_id = "revokeToken",
    params(("id" = Uuid, Path, description = "The token's id")),
    responses(
        (status = 204, description = "The token is revoked"),
        (status = 404, description = "No such token, or it was revoked before")
    )
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Id(id): Id,
    _: Query<NoParameters>,
) -> Result<StatusCode, Problem> {
    if api.store.revoke_token_by_id(api.clock.now(), id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("no such token, or it was revoked before"))
    }
}

impl From<CreateTokenError> for Problem {
    fn from(error: CreateTokenError) -> Self {
        match error {
            CreateTokenError::Store(error) => error.into(),
            CreateTokenError::Random(error) => {
                tracing::error!(%error, "api request failed: random bytes");
                Self::no_random_bytes()
            }
            refused => Self::token_refused(refused.to_string()),
        }
    }
}
