//! `/`: the state of the system, and today's greetings.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::Console;
use super::fields::Form;
use super::layout::{Layout, Notice, Section, View};
use super::problem::{ConsoleProblem, Page};
use super::time::Moment;
use crate::http::health::HealthStatus;
use crate::store::{MAX_REASON_CHARS, Pause};

#[derive(Template)]
#[template(path = "today.html", config = "src/http/console/askama.toml")]
struct TodayPage {
    layout: Layout,
    health: HealthStatus,
    pause: Option<Pause>,
    now: Moment,
}

impl TodayPage {
    fn paused_since(&self) -> Option<Moment> {
        self.pause.as_ref().map(|pause| Moment::utc(pause.since))
    }
}

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/", get(show)).route("/pause", post(pause)).route("/resume", post(resume))
}

async fn show(State(console): State<Console>, view: View) -> Result<Response, ConsoleProblem> {
    let pause = console.api.store.pause().await?;
    let page = TodayPage {
        layout: view.layout("Today", Section::Today),
        health: console.health.status(),
        pause,
        now: Moment::utc(console.api.clock.now()),
    };
    Ok(Page(page).into_response())
}

/// As `bday pause`.
async fn pause(State(console): State<Console>, Form(form): Form) -> Result<Response, ConsoleProblem> {
    let (reason, back) = (form.text("reason"), form.back("/"));
    if reason.chars().count() > MAX_REASON_CHARS || reason.chars().any(char::is_control) {
        let text = format!("The reason may have at most {MAX_REASON_CHARS} characters, on one line.");
        return Ok(Notice::failed(text).on(&back));
    }
    let is_new = console.api.store.set_pause(console.api.clock.now(), reason).await?;
    let notice = if is_new {
        Notice::done("Sending is paused.")
    } else {
        Notice::failed("Sending was paused before; that pause keeps its time and reason.")
    };
    Ok(notice.on(&back))
}

/// As `bday resume`.
async fn resume(State(console): State<Console>, Form(form): Form) -> Result<Response, ConsoleProblem> {
    let ended = console.api.store.end_pause().await?;
    let notice =
        if ended { Notice::done("Sending is resumed.") } else { Notice::failed("Sending was not paused.") };
    Ok(notice.on(&form.back("/")))
}
