//! Authentication, authorisation and the audit log.
//!
//! ```text
//! request ──> token ──> scope ──> handler ──> audit row
//!             401       403       (committed together with the change of a user)
//! ```
//!
//! Every request requires a token, on loopback too: requests through a proxy on the same machine look local. With `http.auth` off, a
//! request without a token is allowed everything if its host is one of [`OpenHosts`]. A request with a token is always limited to its
//! scope.
//!
//! Guaranteed: no write through the API is committed without its row in `api_writes`, which has the token, the route and the id of the
//! user or event, and no names. A request that writes one user commits the row together with the change. Other writes, such as an import,
//! insert the row first; its status stays NULL if the process ends before the request. Rejected writes are recorded up to a rate,
//! since every client can cause them.
//!
//! Health requires no token: it has no personal data, and probes have no tokens. Metrics require scope `read`.

mod audit;
mod open_hosts;
mod proxy;
mod rate_limit;
mod same_origin;
mod sessions;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::api::problem::Problem;
use crate::clock::SharedClock;
use crate::model::{Scope, Token};
use crate::store::Store;
use audit::Audit;
pub(super) use audit::{Actor, AuditTarget, AuditedWrite};
pub use open_hosts::OpenHosts;
pub use proxy::TrustedProxy;
use same_origin::is_of_other_site;
pub(super) use same_origin::is_same_origin;
use sessions::FailedSignIns;
pub(super) use sessions::{Operator, SessionSecret, SignInError};
use tokens::{LiveToken, MaxAge, TokenCache};

pub(super) const FEED_PATH: &str = "/calendar.ics";
/// Of the security scheme in the API description.
const SCHEME: &str = "token";
const NO_TOKEN: &str = "Bearer realm=\"bday\"";
const INVALID_TOKEN: &str = "Bearer realm=\"bday\", error=\"invalid_token\"";

/// The remote address of a connection, an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Returns the scope that a request requires, by its method and the path of its route. New routes need no entry: reads require `read`,
/// writes of users `write`, other writes `admin`. Tokens and the audit log require `admin` for reads, too: they reveal who may do what,
/// and who did it.
#[must_use]
pub fn required_scope(method: &Method, path: &str) -> Scope {
    if path == FEED_PATH {
        return Scope::Calendar;
    }
    if is_below(path, "/v1/tokens") || is_below(path, "/v1/audit") {
        return Scope::Admin;
    }
    match method {
        _ if is_read(method) => Scope::Read,
        _ if is_below(path, "/v1/users") => Scope::Write,
        _ => Scope::Admin,
    }
}

/// Whether `path` is that of `root`, or of a part of it.
pub(super) fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Adds [`required_scope`] to the description of each operation.
pub(super) fn describe(description: &mut OpenApi) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("bday_…")
        .description(Some(
            "Created with `bday token create NAME --scope read|write|admin`, or by `createToken`; a scope includes those \
             before it. Required unless `http.auth` is off.",
        ))
        .build();
    let components = description.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    for (method, path, operation) in operations(description) {
        let scope = required_scope(&method, path).as_str();
        operation.security = Some(vec![SecurityRequirement::new(SCHEME, [scope])]);
    }
}

pub(super) fn operations(description: &mut OpenApi) -> impl Iterator<Item = (Method, &str, &mut Operation)> {
    description.paths.paths.iter_mut().flat_map(|(path, item)| {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
            (Method::PATCH, &mut item.patch),
        ];
        operations
            .into_iter()
            .filter_map(move |(method, operation)| Some((method, path.as_str(), operation.as_mut()?)))
    })
}

/// Authorises requests.
#[derive(Debug, Clone)]
pub struct Authorizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None: every request requires a token.
    open_hosts: Option<OpenHosts>,
    store: Store,
    clock: SharedClock,
    tokens: TokenCache,
    failed_sign_ins: FailedSignIns,
    audit: Audit,
}

impl Authorizer {
    /// Without `open_hosts`, requests without a token are rejected.
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, open_hosts: Option<OpenHosts>) -> Self {
        let tokens = TokenCache::new(store.clone(), Arc::clone(&clock));
        let audit = Audit::new(store.clone(), Arc::clone(&clock));
        let failed_sign_ins = FailedSignIns::default();
        Self(Arc::new(Inner { open_hosts, store, clock, tokens, failed_sign_ins, audit }))
    }

    pub(super) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    pub(super) fn warn_if_exposed(&self, listen: SocketAddr) {
        if self.0.open_hosts.is_some() && !listen.ip().to_canonical().is_loopback() {
            tracing::warn!(
                %listen,
                "http.auth is off: every machine that can connect can change users and pause sending"
            );
        }
    }

    /// Logs a warning if a token is required and none exists.
    pub async fn warn_if_no_token(&self) {
        if self.0.open_hosts.is_none() && self.0.tokens.is_empty().await == Some(true) {
            tracing::warn!(
                "there is no token: the API and the metrics respond 401; create one with `bday token create NAME --scope admin`"
            );
        }
    }

    /// Returns the token of a request; `None` for a request without a token, if none is required.
    async fn authorize(
        &self,
        headers: &HeaderMap,
        required: Scope,
        max_age: MaxAge,
    ) -> Result<Option<Arc<LiveToken>>, Rejection> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return self.without_token(headers, required).await;
        };
        let token = bearer(value).filter(|_| values.next().is_none());
        let token = token.ok_or_else(|| {
            Rejection::unauthenticated("expected one Authorization header: Bearer bday_…", INVALID_TOKEN)
        })?;
        self.check(token, required, max_age).await.map(Some)
    }

    /// Authorises a request for the calendar feed: by its header, or else by the `token` in its URL.
    pub(super) async fn authorize_feed(
        &self,
        headers: &HeaderMap,
        token: Option<&str>,
    ) -> Result<(), Problem> {
        let checked = match token.filter(|_| !headers.contains_key(AUTHORIZATION)) {
            Some(token) => self.check(token, Scope::Calendar, MaxAge::Short).await.map(drop),
            None => self.authorize(headers, Scope::Calendar, MaxAge::Short).await.map(drop),
        };
        checked.map_err(|rejection| rejection.problem)
    }

    async fn check(
        &self,
        token: &str,
        required: Scope,
        max_age: MaxAge,
    ) -> Result<Arc<LiveToken>, Rejection> {
        let hash = Token::hash_of(token)
            .map_err(|error| Rejection::unauthenticated(format!("invalid token: {error}"), INVALID_TOKEN))?;
        let found = self.0.tokens.find(hash, max_age).await;
        let Some(token) = found.map_err(|tokens::Unavailable| Problem::tokens_unavailable())? else {
            let detail =
                "unknown token: it was revoked, has expired, or belongs to another installation of bday";
            return Err(Rejection::unauthenticated(detail, INVALID_TOKEN));
        };
        if token.scope < required {
            return Err(Rejection::forbidden(token, required));
        }
        self.0.tokens.record_use(&token).await;
        Ok(token)
    }

    /// Whether no token is required; or the reason why one is, although `http.auth` is off.
    pub(super) fn is_open(&self, headers: &HeaderMap) -> Result<bool, String> {
        let hosts = self.0.open_hosts.as_ref();
        hosts.map_or(Ok(false), |hosts| hosts.check(headers).map(|()| true))
    }

    async fn without_token(
        &self,
        headers: &HeaderMap,
        required: Scope,
    ) -> Result<Option<Arc<LiveToken>>, Rejection> {
        if self.is_open(headers).map_err(Problem::forbidden)? {
            if required > Scope::Read && is_of_other_site(headers) {
                let detail = "http.auth is off, and a page of another site sent the request: send a token";
                return Err(Problem::forbidden(detail).into());
            }
            return Ok(None);
        }
        let detail = if self.0.tokens.is_empty().await == Some(true) {
            "there is no token yet: run `bday token create NAME --scope admin` where bday runs, and send the printed token as \
             Authorization: Bearer bday_…"
        } else {
            "a token is required: send Authorization: Bearer bday_…; `bday token create NAME --scope read` creates one"
        };
        Err(Rejection::unauthenticated(detail, NO_TOKEN))
    }
}

/// Returns the token of `Bearer TOKEN`. The scheme is case-insensitive (RFC 9110 section 11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// A request that was not authorised, with its token if that is live.
#[derive(Debug)]
struct Rejection {
    problem: Problem,
    token: Option<Arc<LiveToken>>,
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self { problem, token: None }
    }
}

impl Rejection {
    fn unauthenticated(detail: impl Into<String>, challenge: &'static str) -> Self {
        let challenge = HeaderValue::from_static(challenge);
        Problem::unauthenticated(detail).with(WWW_AUTHENTICATE, challenge).into()
    }

    fn forbidden(token: Arc<LiveToken>, required: Scope) -> Self {
        let challenge = match required {
            Scope::Calendar => "Bearer realm=\"bday\", error=\"insufficient_scope\", scope=\"calendar\"",
            Scope::Read => "Bearer realm=\"bday\", error=\"insufficient_scope\", scope=\"read\"",
            Scope::Write => "Bearer realm=\"bday\", error=\"insufficient_scope\", scope=\"write\"",
            Scope::Admin => "Bearer realm=\"bday\", error=\"insufficient_scope\", scope=\"admin\"",
        };
        let detail = format!(
            "this requires the scope {required}, but the token {:?} has {}: use another token, or create one with \
             `bday token create`",
            token.name, token.scope
        );
        let problem = Problem::forbidden(detail).with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        Self { problem, token: Some(token) }
    }
}

/// Whether the handler commits the audit row together with its change: all that write one user.
fn commits_audit_row(required: Scope, path: &str) -> bool {
    required == Scope::Write && path != "/v1/users/import"
}

/// Guards the API. A handler that writes gets its audit row as an extension.
pub(super) async fn api(State(authorizer): State<Authorizer>, mut request: Request, next: Next) -> Response {
    let path =
        request.extensions().get::<MatchedPath>().map_or_else(String::new, |path| path.as_str().to_owned());
    let required = required_scope(request.method(), &path);
    let authorization = authorizer.authorize(request.headers(), required, MaxAge::Short).await;
    if is_read(request.method()) {
        return match authorization {
            Ok(_) => next.run(request).await,
            Err(rejection) => rejection.problem.into_response(),
        };
    }
    let audit = &authorizer.0.audit;
    let is_committed_by_handler = commits_audit_row(required, &path);
    let token = match &authorization {
        Ok(token) => token.as_deref(),
        Err(rejection) => rejection.token.as_deref(),
    };
    let write = audit.row(&request, path, token.map(Actor::from));
    if let Err(rejection) = authorization {
        let response = rejection.problem.into_response();
        audit.rejected(write, response.status()).await;
        return response;
    }
    if !is_committed_by_handler && let Err(error) = audit.write(&write).await {
        return Problem::from(&error).into_response();
    }
    request.extensions_mut().insert(write.clone());
    audit.end(write, next.run(request).await).await
}

/// Guards the metrics. They must be available without the database, so the tokens that were read last stay valid. With `http.auth` off,
/// they are open under any host: they have no personal data, and collectors use any name.
pub(super) async fn metrics(State(authorizer): State<Authorizer>, request: Request, next: Next) -> Response {
    if authorizer.0.open_hosts.is_some() && !request.headers().contains_key(AUTHORIZATION) {
        return next.run(request).await;
    }
    match authorizer.authorize(request.headers(), Scope::Read, MaxAge::UnlimitedInOutage).await {
        Ok(_) => next.run(request).await,
        Err(rejection) => rejection.problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_other_things_than_users_require_admin_and_so_do_tokens_and_the_audit_log() {
        for (method, path, scope) in [
            (Method::GET, "/v1/users", Scope::Read),
            (Method::HEAD, "/v1/pause", Scope::Read),
            (Method::POST, "/v1/users", Scope::Write),
            (Method::POST, "/v1/users/import", Scope::Write),
            (Method::DELETE, "/v1/users/{id}", Scope::Write),
            (Method::PUT, "/v1/pause", Scope::Admin),
            (Method::POST, "/v1/usersx", Scope::Admin),
            (Method::POST, "", Scope::Admin),
            (Method::GET, "/v1/tokens", Scope::Admin),
            (Method::DELETE, "/v1/tokens/{id}", Scope::Admin),
            (Method::HEAD, "/v1/audit", Scope::Admin),
            (Method::GET, "/v1/tokensx", Scope::Read),
        ] {
            assert_eq!(required_scope(&method, path), scope, "{method} {path}");
        }
    }

    #[test]
    fn the_scheme_of_a_token_is_case_insensitive() {
        let read = |text| bearer(&HeaderValue::from_static(text)).map(str::to_owned);
        assert_eq!(read("bEARER  x").as_deref(), Some("x"));
        assert_eq!((read("Basic x"), read("x"), read("")), (None, None, None));
    }
}
