//! What every request to the console must pass.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERER, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::layout::{Section, View};
use super::problem::ConsoleProblem;
use super::url::with_query;
use super::{Console, ConsoleSettings};
use crate::http::access::{Operator, Peer, SessionSecret, is_below, is_read, is_same_origin};
use crate::model::Scope;

/// Set by the refresh of a page, which is no use of the session.
const LIVE: HeaderName = HeaderName::from_static("bday-live");

/// The value of `form` in the query of `/sign-in` after a form without a session.
pub(super) const UNSENT: &str = "unsent";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types bday";

/// Adds the headers that each page has. A page may set its own policy.
pub(super) async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let own_policy = headers.contains_key(CONTENT_SECURITY_POLICY);
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        if !(own_policy && (name == CONTENT_SECURITY_POLICY || name == X_FRAME_OPTIONS)) {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
    }
    response
}

/// Refuses forms of other sites.
pub(super) async fn require_same_origin(request: Request, next: Next) -> Response {
    if is_read(request.method()) || is_same_origin(request.headers()) {
        return next.run(request).await;
    }
    ConsoleProblem::other_origin().into_response()
}

/// Returns the scope that a request to a page requires.
fn required_scope(method: &Method, path: &str) -> Scope {
    if is_below(path, "/tokens") || is_below(path, "/audit") {
        return Scope::Admin;
    }
    match method {
        _ if is_read(method) || path == "/sign-out" => Scope::Read,
        _ if is_below(path, "/people") || is_below(path, "/import") => Scope::Write,
        _ => Scope::Admin,
    }
}

/// The address of the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Remote {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(remote(&parts.extensions)))
    }
}

fn remote(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Peer>().map(|Peer(address)| address.ip().to_canonical())
}

/// Finds out who sends the request, and whether they may. Forms get a row in the audit log before they have an effect.
pub(super) async fn require_operator(
    State(console): State<Console>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or_else(String::new, |path| path.as_str().to_owned());
    let is_form = !is_read(request.method());
    if is_form && !is_same_origin(request.headers()) {
        return ConsoleProblem::other_origin().into_response();
    }
    let operator = match console.find_operator(request.headers(), remote(request.extensions())).await {
        Ok(Some(operator)) => operator,
        Ok(None) => return sign_in_first(&request, is_form),
        Err(problem) => return problem.into_response(),
    };
    let view = View::new(operator.clone(), request.uri(), request.headers());
    let required = required_scope(request.method(), &path);
    let refused = (!operator.allows(required)).then(|| forbidden(&view, &operator, required));
    request.extensions_mut().insert(operator.clone());
    if !is_form {
        return match refused {
            Some(response) => response,
            None => answer(&view, request, next).await,
        };
    }
    let audit = console.authorizer.audit();
    let write = audit.row(&request, path, operator.actor());
    if let Some(response) = refused {
        audit.rejected(write, response.status()).await;
        return response;
    }
    request.extensions_mut().insert(write.clone());
    match audit.write(&write).await {
        Ok(()) => audit.end(write, answer(&view, request, next).await).await,
        Err(error) => ConsoleProblem::from(error).page(view.layout("", Section::None)),
    }
}

/// Runs the handler. Its problem gets the layout of the operator.
async fn answer(view: &View, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    match response.extensions().get::<ConsoleProblem>() {
        Some(problem) => problem.page(view.layout("", Section::None)),
        None => response,
    }
}

fn forbidden(view: &View, operator: &Operator, required: Scope) -> Response {
    let detail = format!(
        "This requires the scope {required}. {:?} has the scope {}: sign in with another token.",
        operator.name(),
        operator.scope
    );
    ConsoleProblem::forbidden(detail).page(view.layout("", Section::None))
}

/// Returns to the requested page, or to the one with the form.
fn sign_in_first(request: &Request, is_form: bool) -> Response {
    if request.uri().path() == "/sign-out" {
        return Redirect::to("/sign-in").into_response();
    }
    let with_form = request.headers().get(REFERER).and_then(|url| url.to_str().ok()?.parse::<Uri>().ok());
    let page = if is_form { with_form.as_ref() } else { Some(request.uri()) };
    let path = page.and_then(Uri::path_and_query).map_or("/", PathAndQuery::as_str);
    let form = if is_form { UNSENT } else { "" };
    Redirect::to(&with_query("/sign-in", &[("next", path), ("form", form)])).into_response()
}

impl Console {
    /// Returns who sends a request with these headers; none if they must sign in.
    pub(super) async fn find_operator(
        &self,
        headers: &HeaderMap,
        remote: Option<IpAddr>,
    ) -> Result<Option<Operator>, ConsoleProblem> {
        if let Some(operator) = Operator::of_proxy(&self.settings.proxy, headers, remote) {
            return Ok(Some(operator));
        }
        if let Some(secret) = SessionSecret::read(headers, self.is_secure(headers, remote)) {
            let is_active = !headers.contains_key(LIVE);
            if let Some(operator) = self.authorizer.operator(secret, is_active).await? {
                return Ok(Some(operator));
            }
        }
        let is_open = self.authorizer.is_open(headers).map_err(ConsoleProblem::other_host)?;
        Ok(is_open.then(Operator::anyone))
    }

    /// Returns the URL under which the browser reaches this listener.
    pub(super) fn base_url(&self, headers: &HeaderMap, remote: Option<IpAddr>) -> String {
        let scheme = if self.is_secure(headers, remote) { "https" } else { "http" };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        format!("{scheme}://{host}")
    }

    /// Whether the browser uses HTTPS: it asks for the host of `http.public_url`, or the proxy says so.
    pub(super) fn is_secure(&self, headers: &HeaderMap, remote: Option<IpAddr>) -> bool {
        let ConsoleSettings { https_host, proxy, .. } = &*self.settings;
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        host.zip(https_host.as_deref()).is_some_and(|(host, https)| host.eq_ignore_ascii_case(https))
            || proxy.received_https(headers, remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_require_read_and_forms_the_scope_of_the_same_operation_of_the_api() {
        for (method, path, scope) in [
            (Method::GET, "/", Scope::Read),
            (Method::GET, "/people/{id}", Scope::Read),
            (Method::POST, "/people/{id}", Scope::Write),
            (Method::POST, "/people", Scope::Write),
            (Method::POST, "/import", Scope::Write),
            (Method::POST, "/peoples", Scope::Admin),
            (Method::POST, "/pause", Scope::Admin),
            (Method::POST, "/failures", Scope::Admin),
            (Method::POST, "", Scope::Admin),
            (Method::GET, "/tokens", Scope::Admin),
            (Method::GET, "/audit", Scope::Admin),
            (Method::POST, "/sign-out", Scope::Read),
        ] {
            assert_eq!(required_scope(&method, path), scope, "{method} {path}");
        }
    }
}
