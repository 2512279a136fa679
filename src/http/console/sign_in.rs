//! `/sign-in` and `/sign-out`

use askama::Template;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse as _, Redirect, Response};

use super::Console;
use super::fields::{Fields, Form, Query, is_local_path};
use super::guard::{Remote, UNSENT};
use super::layout::{Layout, View};
use super::problem::{ConsoleProblem, Page};
use crate::http::access::{SessionSecret, SignInError};

#[derive(Template)]
#[template(path = "sign_in.html", config = "src/http/console/askama.toml")]
struct SignInPage {
    layout: Layout,
    next: String,
    /// A form was sent without a session.
    is_unsent: bool,
    error: Option<String>,
}

impl SignInPage {
    fn new(fields: &Fields, error: Option<SignInError>) -> Self {
        let error = error.map(|error| error.to_string());
        let is_unsent = fields.get("form") == Some(UNSENT);
        Self { layout: Layout::open("Sign in"), next: next(fields), is_unsent, error }
    }
}

/// Returns the page to open after the sign-in.
fn next(fields: &Fields) -> String {
    fields.get("next").filter(|path| is_local_path(path)).unwrap_or("/").to_owned()
}

pub(super) async fn show(
    State(console): State<Console>,
    Query(query): Query,
    Remote(remote): Remote,
    headers: HeaderMap,
) -> Response {
    match console.find_operator(&headers, remote).await {
        Ok(Some(_)) => Redirect::to(&next(&query)).into_response(),
        // The form can be shown without the database.
        Ok(None) | Err(_) => Page(SignInPage::new(&query, None)).into_response(),
    }
}

pub(super) async fn sign_in(
    State(console): State<Console>,
    Remote(remote): Remote,
    headers: HeaderMap,
    Form(form): Form,
) -> Response {
    match console.authorizer.sign_in(form.text("token"), remote).await {
        Ok(secret) => {
            let cookie = secret.cookie(console.is_secure(&headers, remote));
            (AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to(&next(&form))).into_response()
        }
        Err(error) => {
            let status = match error {
                SignInError::TooMany => StatusCode::TOO_MANY_REQUESTS,
                SignInError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                SignInError::Scope => StatusCode::FORBIDDEN,
                SignInError::Invalid(_) | SignInError::Unknown => StatusCode::UNAUTHORIZED,
            };
            (status, Page(SignInPage::new(&form, Some(error)))).into_response()
        }
    }
}

pub(super) async fn sign_out(
    State(console): State<Console>,
    view: View,
    Remote(remote): Remote,
    headers: HeaderMap,
) -> Result<Response, ConsoleProblem> {
    console.authorizer.sign_out(view.operator()).await?;
    let cookie = SessionSecret::removal(console.is_secure(&headers, remote));
    Ok((AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to("/sign-in")).into_response())
}
