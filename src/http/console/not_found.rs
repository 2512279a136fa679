//! Unknown paths: a page for browsers, and the problem of the API for other clients. A form's path that is opened as a page: a way back.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse as _, Response};

use super::Console;
use super::guard::Remote;
use super::layout::{Section, View};
use super::problem::ConsoleProblem;
use crate::calendar::text::shortened;
use crate::http::access::is_below;
use crate::http::api::path_not_found;

pub(super) async fn answer(
    State(console): State<Console>,
    Remote(remote): Remote,
    request: Request,
) -> Response {
    let (path, headers) = (request.uri().path(), request.headers());
    if is_below(path, "/v1") || !accepts_html(headers) {
        return path_not_found(request).await.into_response();
    }
    let problem = ConsoleProblem::not_found(format!("There is no page {:?}.", shortened(path)));
    match console.find_operator(headers, remote).await {
        Ok(Some(operator)) => {
            let view = View::new(operator, request.uri(), headers);
            problem.page(view.layout("", Section::None))
        }
        Ok(None) | Err(_) => problem.into_response(),
    }
}

pub(super) async fn forms_only(request: Request) -> ConsoleProblem {
    let path = shortened(request.uri().path());
    ConsoleProblem::method_not_allowed(format!(
        "{path:?} accepts forms only: open the page that has the form."
    ))
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|types| types.contains("text/html"))
}
