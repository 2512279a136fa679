//! `/tokens`: who may, and since when; create and revoke.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use uuid::Uuid;

use super::Console;
use super::fields::{Form, Query};
use super::layout::{Layout, Notice, Section, View};
use super::problem::{ConsoleProblem, Page};
use super::time::Moment;
use crate::http::access::AuditTarget;
use crate::http::api::fields::parse_id;
use crate::http::api::page::Page as ListPage;
use crate::model::{Scope, Token, TokenState, parse_token_name};
use crate::operations::tokens::{self, CreateTokenError, MAX_EXPIRY_DAYS, TokenRequest};
use crate::store::{ApiToken, TimeCursor};

const LIMIT: u32 = 100;

/// What a form had when it was refused.
#[derive(Debug, Clone, Default)]
struct Input {
    name: String,
    scope: String,
    days: String,
    name_error: Option<String>,
    days_error: Option<String>,
    /// Of no single field.
    error: Option<String>,
}

struct Row {
    id: Uuid,
    name: String,
    scope: Scope,
    state: TokenState,
    created_at: Moment,
    last_used_at: Option<Moment>,
    expires_at: Option<Moment>,
    revoked_at: Option<Moment>,
}

impl Row {
    fn tag(&self) -> &'static str {
        if self.state == TokenState::Live { "good" } else { "" }
    }
}

#[derive(Template)]
#[template(path = "tokens.html", config = "src/http/console/askama.toml")]
struct TokensPage {
    layout: Layout,
    rows: Vec<Row>,
    shows_all: bool,
    next: Option<String>,
    input: Input,
    /// The name and the secret of a token that was just created.
    created: Option<(String, Token)>,
}

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/tokens", get(show).post(create)).route("/tokens/{id}/revoke", post(revoke))
}

async fn show(
    State(console): State<Console>,
    view: View,
    Query(query): Query,
) -> Result<Response, ConsoleProblem> {
    let shows_all = query.get("all").is_some();
    let before = query.time_cursor()?;
    page(&console, &view, shows_all, before, Input::default(), None).await
}

async fn page(
    console: &Console,
    view: &View,
    shows_all: bool,
    before: Option<TimeCursor>,
    input: Input,
    created: Option<(String, Token)>,
) -> Result<Response, ConsoleProblem> {
    let now = console.api.clock.now();
    let found = console.api.store.list_tokens((!shows_all).then_some(now), before, LIMIT + 1).await?;
    let ListPage { items: tokens, next } = ListPage::by_time(found, LIMIT, |token: &ApiToken| token.into());
    let row = |token: ApiToken| Row {
        state: token.state(now),
        id: token.id,
        name: token.name,
        scope: token.scope,
        created_at: Moment::utc(token.created_at),
        last_used_at: token.last_used_at.map(Moment::utc),
        expires_at: token.expires_at.map(Moment::utc),
        revoked_at: token.revoked_at.map(Moment::utc),
    };
    let is_invalid = input.name_error.is_some() || input.days_error.is_some() || input.error.is_some();
    let page = TokensPage {
        layout: view.layout("Tokens", Section::Tokens),
        rows: tokens.into_iter().map(row).collect(),
        shows_all,
        next,
        input,
        created,
    };
    let status = if is_invalid { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok((status, Page(page)).into_response())
}

async fn create(
    State(console): State<Console>,
    view: View,
    Form(form): Form,
) -> Result<Response, ConsoleProblem> {
    let now = console.api.clock.now();
    let mut input = Input {
        name: form.text("name").to_owned(),
        scope: form.text("scope").to_owned(),
        days: form.text("days").to_owned(),
        ..Input::default()
    };
    let request = match read(&mut input) {
        Some((name, scope, days)) => match tokens::expiry(now, days, None) {
            Ok(expires_at) => TokenRequest { name, scope, expires_at, hash: None },
            Err(error) => return Err(ConsoleProblem::bad_request(error.to_string())),
        },
        None => return page(&console, &view, false, None, input, None).await,
    };
    match tokens::create(&console.api.store, now, request).await {
        Ok(created) => {
            let target = Extension(AuditTarget(created.token.id));
            let secret = created.secret.map(|secret| (created.token.name, secret));
            let page = page(&console, &view, false, None, Input::default(), secret).await?;
            Ok((target, page).into_response())
        }
        Err(CreateTokenError::Store(error)) => Err(error.into()),
        Err(error) => {
            input.error = Some(error.to_string());
            page(&console, &view, false, None, input, None).await
        }
    }
}

/// Returns the valid fields, or adds the errors to `input`.
fn read(input: &mut Input) -> Option<(String, Scope, Option<u32>)> {
    let name = parse_token_name(&input.name).map_err(|error| input.name_error = Some(error.to_string()));
    let scope = input.scope.parse().map_err(|_| input.error = Some("choose a scope".to_owned()));
    let days = match input.days.as_str() {
        "" => Ok(None),
        text => {
            text.parse().ok().filter(|days| (1..=MAX_EXPIRY_DAYS).contains(days)).map(Some).ok_or_else(|| {
                input.days_error = Some(format!(
                    "invalid number of days {text:?}: use 1 to {MAX_EXPIRY_DAYS}, or leave it empty"
                ));
            })
        }
    };
    Some((name.ok()?, scope.ok()?, days.ok()?))
}

async fn revoke(
    State(console): State<Console>,
    Path(id): Path<String>,
    Form(form): Form,
) -> Result<Response, ConsoleProblem> {
    let id = parse_id(&id).map_err(ConsoleProblem::not_found)?;
    let is_revoked = console.api.store.revoke_token_by_id(console.api.clock.now(), id).await?;
    let notice = if is_revoked {
        Notice::done("The token is revoked. Its sessions end within 5 seconds.")
    } else {
        Notice::failed("No such token, or it was revoked before.")
    };
    Ok(notice.on(&form.back("/tokens")))
}
