//! Errors as pages.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use axum::response::{Html, IntoResponse, Response};

use super::layout::{Layout, Notice};
use crate::operations::dead_letters::DeadLetterError;
use crate::store::{StoreError, chain};

/// A page, rendered as the response.
pub(super) struct Page<T>(pub(super) T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            // A notice is shown once.
            Ok(text) => ([(SET_COOKIE, Notice::removal())], Html(text)).into_response(),
            Err(error) => {
                tracing::error!(%error, "page not rendered");
                let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    headers,
                    "The page was not rendered: see the log of bday.\n",
                )
                    .into_response()
            }
        }
    }
}

#[derive(Template)]
#[template(path = "problem.html", config = "src/http/console/askama.toml")]
struct ProblemPage<'a> {
    layout: Layout,
    detail: &'a str,
    back: &'a str,
    back_text: &'a str,
}

/// Why a request failed, as a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConsoleProblem {
    status: StatusCode,
    title: &'static str,
    pub(super) detail: String,
    /// The path and the text of the link to another page.
    back: (&'static str, &'static str),
}

impl ConsoleProblem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), back: ("/", "Go to Today") }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad request", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", detail)
    }

    pub(super) fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Not a page", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not allowed", detail)
    }

    pub(super) fn other_origin() -> Self {
        let detail = "The form was sent from a page of another site. Open the page of bday and send the form from there.";
        Self::new(StatusCode::FORBIDDEN, "Not allowed", detail)
    }

    /// The host of the request requires to sign in.
    pub(super) fn other_host(reason: String) -> Self {
        Self { back: ("/sign-in", "Sign in"), ..Self::forbidden(reason) }
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", detail)
    }

    /// Returns the problem on a page with `layout`.
    pub(super) fn page(&self, layout: Layout) -> Response {
        let page = ProblemPage {
            layout: Layout { title: self.title.to_owned(), ..layout },
            detail: &self.detail,
            back: self.back.0,
            back_text: self.back.1,
        };
        let mut response = (self.status, Page(page)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("5"));
        }
        response
    }
}

/// A page without navigation. The guard replaces it by one for the operator.
impl IntoResponse for ConsoleProblem {
    fn into_response(self) -> Response {
        let mut response = self.page(Layout::open(self.title));
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ConsoleProblem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<Arc<StoreError>> for ConsoleProblem {
    fn from(error: Arc<StoreError>) -> Self {
        Self::from(&*error)
    }
}

impl From<&StoreError> for ConsoleProblem {
    fn from(error: &StoreError) -> Self {
        if error.is_contention() {
            return Self::unavailable("The record is being written concurrently: try again.");
        }
        tracing::error!(error = chain(error), "console request failed: database");
        if let StoreError::Unreadable(_) = error {
            let detail = "A row of the database cannot be read: see the log of bday.";
            return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error", detail);
        }
        Self::unavailable(
            "The database does not answer. bday keeps running and retries: reload this page in some seconds.",
        )
    }
}

impl From<DeadLetterError> for ConsoleProblem {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Store(error) => error.into(),
            DeadLetterError::Queue(error) => {
                tracing::error!(%error, "console request failed: dead-letter queue");
                Self::unavailable("The dead-letter queue does not answer: try again.")
            }
        }
    }
}
