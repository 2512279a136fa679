//! Authentication, authorisation and the audit log.
//!
//! ```text
//! request ──> token ──> scope ──> handler ──> its row in the audit log
//!             401       403       commits the row of a change together with the change
//! ```
//!
//! Every request requires a token, also on loopback: a proxy on this machine need not show that it is one. With `http.auth`
//! off, a request without a token is allowed everything. A request with a token is always limited to its scope.
//!
//! Guaranteed: no write through the API is committed without its row in `api_writes`, which has the token, the route, the id
//! of the user or event, and no names. A request that writes one user commits the row together with the change. Any other, such as
//! an import, has a row before it begins; how it ended is NULL there if the process ends first. Of refused writes some are only
//! counted when there are very many, since any client can cause them.
//!
//! Health requires no token: it says nothing about people, and probes have none. Metrics require scope `read`.

mod audit;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::api::problem::Problem;
use crate::clock::SharedClock;
use crate::model::{Scope, Token};
use crate::store::Store;
pub(super) use audit::Committed;
use audit::{Asked, Audit};
use tokens::{Freshness, Known, Tokens};

/// Of the scheme in the description.
const SCHEME: &str = "token";

/// Where a connection comes from; the server puts it into each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What a request needs, by its method and the path of its route: the one place that decides it.
///
/// Who adds a route need not think of it: what changes anything but users is an operation, and for admins.
#[must_use]
pub fn required_scope(method: &Method, path: &str) -> Scope {
    let users = path == "/v1/users" || path.starts_with("/v1/users/");
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Scope::Read,
        _ if users => Scope::Write,
        _ => Scope::Admin,
    }
}

/// Puts into the description what [`required_scope`] says.
pub(super) fn describe(description: &mut utoipa::openapi::OpenApi) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("bday_…")
        .description(Some(
            "Created with `bday token create NAME --scope read|write|admin`; a scope includes those before it. Required \
             unless `http.auth` is off.",
        ))
        .build();
    let components = description.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    for (path, item) in &mut description.paths.paths {
        for (method, operation) in operations(item) {
            let scope = required_scope(&method, path).as_str();
            operation.security = Some(vec![SecurityRequirement::new(SCHEME, [scope])]);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
        (Method::PATCH, &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The sender of a request.
#[derive(Debug, Clone)]
enum Caller {
    /// A client without a token, while none is required.
    Anonymous,
    /// The owner of this token.
    Token(Arc<Known>),
}

/// Lets requests in, or not.
#[derive(Debug, Clone)]
pub struct Authorizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    required: bool,
    tokens: Tokens,
    audit: Audit,
}

impl Authorizer {
    /// `required`: requests without a token are refused.
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, required: bool) -> Self {
        Self(Arc::new(Inner {
            required,
            tokens: Tokens::new(store.clone(), Arc::clone(&clock)),
            audit: Audit::new(store, clock),
        }))
    }

    /// Logs a warning where other machines need no token.
    pub(super) fn warn_if_exposed(&self, listen: SocketAddr) {
        if !self.0.required && !listen.ip().to_canonical().is_loopback() {
            tracing::warn!(
                %listen,
                "http.auth is off: every machine that reaches this address can change users and pause sending"
            );
        }
    }

    /// Logs a warning while a token is required and none exists.
    pub async fn warn_if_shut(&self) {
        if self.0.required && self.0.tokens.none().await == Some(true) {
            tracing::warn!(
                "there is no token: the API and the metrics answer 401; `bday token create NAME --scope admin` creates one"
            );
        }
    }

    async fn admit(&self, headers: &HeaderMap, need: Scope, freshness: Freshness) -> Result<Caller, Refusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = given.next() else {
            return self.without_token().await;
        };
        let token = if given.next().is_some() { None } else { bearer(value) };
        let token = token.ok_or_else(|| {
            Refusal::unknown("the header Authorization must be one, and be: Bearer bday_…", INVALID)
        })?;
        let hash = Token::hash_of(token)
            .map_err(|error| Refusal::unknown(format!("the token cannot be one: {error}"), INVALID))?;
        let known = self.0.tokens.find(hash, freshness).await;
        let Some(known) = known.map_err(|tokens::Unavailable| Refusal::unavailable())? else {
            let detail =
                "the token is not known here: it was revoked, or has expired, or belongs to another bday";
            return Err(Refusal::unknown(detail, INVALID));
        };
        if known.scope < need {
            return Err(Refusal::forbidden(known, need));
        }
        self.0.tokens.note_use(&known).await;
        Ok(Caller::Token(known))
    }

    async fn without_token(&self) -> Result<Caller, Refusal> {
        if !self.0.required {
            return Ok(Caller::Anonymous);
        }
        let detail = if self.0.tokens.none().await == Some(true) {
            "there is no token yet: run `bday token create NAME --scope admin` where bday runs, and send what it prints as \
             Authorization: Bearer bday_…"
        } else {
            "this needs a token: send Authorization: Bearer bday_…; `bday token create NAME --scope read` creates one"
        };
        Err(Refusal::unknown(detail, "Bearer realm=\"bday\""))
    }
}

const INVALID: &str = "Bearer realm=\"bday\", error=\"invalid_token\"";

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// Why somebody does not come in, and who it is, if that is known.
#[derive(Debug)]
struct Refusal {
    problem: Problem,
    caller: Option<Arc<Known>>,
}

impl Refusal {
    fn unknown(detail: impl Into<String>, challenge: &'static str) -> Self {
        let challenge = HeaderValue::from_static(challenge);
        Self { problem: Problem::unauthenticated(detail).with(WWW_AUTHENTICATE, challenge), caller: None }
    }

    fn forbidden(caller: Arc<Known>, need: Scope) -> Self {
        let challenge = match need {
            Scope::Read => "Bearer realm=\"bday\", error=\"insufficient_scope\", scope=\"read\"",
            Scope::Write => "Bearer realm=\"bday\", error=\"insufficient_scope\", scope=\"write\"",
            Scope::Admin => "Bearer realm=\"bday\", error=\"insufficient_scope\", scope=\"admin\"",
        };
        let detail = format!(
            "this needs the scope {need}, and the token {:?} has {}: use another, or make one with `bday token create`",
            caller.name, caller.scope
        );
        Self {
            problem: Problem::forbidden(detail).with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge)),
            caller: Some(caller),
        }
    }

    fn unavailable() -> Self {
        Self { problem: Problem::no_tokens(), caller: None }
    }
}

/// Whether the handler commits the row of the audit log together with its change: all that write one user.
fn commits_row(need: Scope, path: &str) -> bool {
    need == Scope::Write && path != "/v1/users/import"
}

/// Guards the routes of the API. A handler that writes gets its row of the audit log as an extension.
pub(super) async fn api(State(gate): State<Authorizer>, mut request: Request, next: Next) -> Response {
    let path =
        request.extensions().get::<MatchedPath>().map_or_else(String::new, |path| path.as_str().to_owned());
    let need = required_scope(request.method(), &path);
    let admitted = gate.admit(request.headers(), need, Freshness::Recent).await;
    if need == Scope::Read {
        return match admitted {
            Ok(_) => next.run(request).await,
            Err(refusal) => refusal.problem.into_response(),
        };
    }
    let audit = &gate.0.audit;
    let committed_by_handler = commits_row(need, &path);
    let asked = Asked::new(&request, path, audit.now());
    match admitted {
        Err(refusal) => {
            let response = refusal.problem.into_response();
            audit.refused(asked, refusal.caller.as_deref(), response.status()).await;
            response
        }
        Ok(caller) => {
            let write = match audit.begin(asked, &caller, committed_by_handler).await {
                Ok(write) => write,
                Err(error) => return Problem::from(&error).into_response(),
            };
            request.extensions_mut().insert(write.clone());
            audit.end(write, next.run(request).await).await
        }
    }
}

/// Guards the metrics. They must be there when the database is not, so the tokens known last hold.
pub(super) async fn metrics(State(gate): State<Authorizer>, request: Request, next: Next) -> Response {
    match gate.admit(request.headers(), Scope::Read, Freshness::LastKnown).await {
        Ok(_) => next.run(request).await,
        Err(refusal) => refusal.problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_about_users_is_for_admins_unless_it_only_reads() {
        for (method, path, scope) in [
            (Method::GET, "/v1/users", Scope::Read),
            (Method::HEAD, "/v1/pause", Scope::Read),
            (Method::POST, "/v1/users", Scope::Write),
            (Method::POST, "/v1/users/import", Scope::Write),
            (Method::DELETE, "/v1/users/{id}", Scope::Write),
            (Method::PUT, "/v1/pause", Scope::Admin),
            (Method::POST, "/v1/usersx", Scope::Admin),
            (Method::POST, "", Scope::Admin),
        ] {
            assert_eq!(required_scope(&method, path), scope, "{method} {path}");
        }
    }

    #[test]
    fn the_scheme_of_a_token_has_no_case() {
        let read = |text| bearer(&HeaderValue::from_static(text)).map(str::to_owned);
        assert_eq!(read("bEARER  x").as_deref(), Some("x"));
        assert_eq!((read("Basic x"), read("x"), read("")), (None, None, None));
    }
}
