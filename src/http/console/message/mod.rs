//! `/message`: what a person would get. Nothing is sent.

mod choice;
mod shown;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, X_FRAME_OPTIONS};
use axum::http::{HeaderName, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;

use super::Console;
use super::fields::{Fields, Query};
use super::layout::{Layout, Section, View};
use super::person_text::kind_in_words;
use super::problem::{ConsoleProblem, Page};
use crate::model::{BIRTHDAY, ChannelName, FieldError};
use crate::people::preview::{Preview, preview, sample_previews};
use choice::{Choice, Found, PersonLink};
use shown::ShownPreview;

/// The HTML of a mail is shown in a frame of this console, without script, and loads nothing.
const FRAME_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
                            frame-ancestors 'self'";

#[derive(Template)]
#[template(path = "message.html", config = "src/http/console/askama.toml")]
struct MessagePage {
    layout: Layout,
    choice: Choice,
    kinds: Vec<String>,
    user_error: Option<String>,
    kind_error: Option<String>,
    channel_error: Option<String>,
    locale_error: Option<String>,
    matches: Vec<PersonLink>,
    previews: Vec<ShownPreview>,
}

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/message", get(show)).route("/message/html", get(html))
}

impl MessagePage {
    fn channels(&self) -> [ChannelName; ChannelName::ALL.len()] {
        ChannelName::ALL
    }

    fn is_kind(&self, kind: &str) -> bool {
        kind == self.choice.kind().unwrap_or(BIRTHDAY)
    }

    fn is_channel(&self, channel: &ChannelName) -> bool {
        self.choice.channel == channel.as_str()
    }

    fn in_words(&self, kind: &str) -> String {
        kind_in_words(kind)
    }

    fn with_error(mut self, error: FieldError) -> Self {
        let field = match &*error.field {
            "kind" => &mut self.kind_error,
            "channel" => &mut self.channel_error,
            "locale" => &mut self.locale_error,
            _ => &mut self.user_error,
        };
        *field = Some(error.problem);
        self
    }
}

async fn show(
    State(console): State<Console>,
    view: View,
    Query(query): Query,
) -> Result<Response, ConsoleProblem> {
    let choice = Choice::of(&query);
    let mut page = MessagePage {
        layout: view.layout("Message", Section::Message),
        kinds: console.api.schedule.kinds.keys().cloned().collect(),
        user_error: None,
        kind_error: None,
        channel_error: None,
        locale_error: None,
        matches: Vec::new(),
        previews: Vec::new(),
        choice,
    };
    if page.choice.user.is_empty() {
        return Ok(match samples(&console, &page.choice) {
            Ok(previews) => {
                page.previews = previews;
                Page(page).into_response()
            }
            Err(error) => (StatusCode::BAD_REQUEST, Page(page.with_error(error))).into_response(),
        });
    }
    match choice::find(&console, &page.choice.user).await? {
        Found::One(user) => match of_user(&console, &page.choice, &user).await? {
            Ok(preview) => {
                page.previews = vec![ShownPreview::of_user(preview, &user, &page.choice)];
                Ok(Page(page).into_response())
            }
            Err(error) => Ok((StatusCode::BAD_REQUEST, Page(page.with_error(error))).into_response()),
        },
        Found::Several(users) => {
            page.matches = users.iter().map(|user| PersonLink::of(user, &page.choice)).collect();
            Ok(Page(page).into_response())
        }
        Found::None => {
            let problem = "No person has this id, external id or name. The search finds the beginning of a full name or of a last name.";
            let error = FieldError::new("user", problem);
            Ok((StatusCode::NOT_FOUND, Page(page.with_error(error))).into_response())
        }
    }
}

/// As `bday message preview --samples`.
fn samples(console: &Console, choice: &Choice) -> Result<Vec<ShownPreview>, FieldError> {
    let api = &console.api;
    let samples = sample_previews(&choice.request()?, &api.preview_settings, api.clock.now())?;
    let samples = samples.into_iter().enumerate();
    Ok(samples.map(|(number, sample)| ShownPreview::of_sample(number, sample, choice)).collect())
}

/// As `GET /v1/users/{id}/preview`.
async fn of_user(
    console: &Console,
    choice: &Choice,
    user: &crate::model::User,
) -> Result<Result<Preview, FieldError>, ConsoleProblem> {
    let (api, settings) = (&console.api, &console.api.preview_settings);
    let request = match choice.request() {
        Ok(request) => request,
        Err(error) => return Ok(Err(error)),
    };
    let reached_by = match settings.route(&request) {
        Ok((kind, channels)) => api.store.reach(user.id, kind, channels).await?,
        Err(error) => return Ok(Err(error)),
    };
    Ok(preview(user, reached_by, &request, settings, api.clock.now()))
}

/// The HTML part of one message, for the frame.
async fn html(State(console): State<Console>, Query(query): Query) -> Result<Response, ConsoleProblem> {
    let html = html_part(&console, &query).await?;
    let missing = || ConsoleProblem::not_found("There is no such message, or it has no HTML part.");
    let html = html.ok_or_else(missing)?;
    let headers: [(HeaderName, &str); 2] =
        [(CONTENT_SECURITY_POLICY, FRAME_POLICY), (X_FRAME_OPTIONS, "SAMEORIGIN")];
    Ok((headers, Html(html)).into_response())
}

async fn html_part(console: &Console, query: &Fields) -> Result<Option<String>, ConsoleProblem> {
    let choice = Choice::of(query);
    let preview = if choice.user.is_empty() {
        let (Ok(request), Ok(number)) = (choice.request(), query.text("sample").parse::<usize>()) else {
            return Ok(None);
        };
        let api = &console.api;
        let samples = sample_previews(&request, &api.preview_settings, api.clock.now());
        samples.ok().and_then(|samples| samples.into_iter().nth(number)).map(|sample| sample.preview)
    } else {
        match choice::find(console, &choice.user).await? {
            Found::One(user) => of_user(console, &choice, &user).await?.ok(),
            Found::Several(_) | Found::None => None,
        }
    };
    Ok(preview.and_then(|preview| preview.messages.into_iter().find_map(|message| message.html)))
}
