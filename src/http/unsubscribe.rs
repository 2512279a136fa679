//! The links to unsubscribe in mail, for everyone who has one: no token of the API is required.
//!
//! `POST` unsubscribes, as mail programs do with one click (RFC 8058); repeats are harmless. `GET` shows a page with a button, since
//! programs that scan mail open links.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::clock::SharedClock;
use crate::model::{ChannelName, ContactStatus};
use crate::pipeline::channel::mail::UNSUBSCRIBE_PATH;
use crate::store::{Store, StoreError, chain};

const PAGE: &str = include_str!("unsubscribe.html");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

#[derive(Debug, Clone)]
pub(super) struct Unsubscribe {
    pub(super) store: Store,
    pub(super) clock: SharedClock,
}

pub(super) fn router(state: Unsubscribe) -> Router {
    Router::new().route(&format!("{UNSUBSCRIBE_PATH}{{token}}"), get(ask).post(unsubscribe)).with_state(state)
}

async fn ask(State(state): State<Unsubscribe>, Path(token): Path<String>) -> Response {
    match address_hash(&state, &token).await {
        Ok(Some(_)) => {
            let form = "<form method=\"post\"><button>Unsubscribe</button></form>";
            page(StatusCode::OK, "Unsubscribe from these greetings?", form)
        }
        Ok(None) => unknown(),
        Err(error) => unavailable(&error),
    }
}

async fn unsubscribe(State(state): State<Unsubscribe>, Path(token): Path<String>) -> Response {
    let suppressed = async {
        let Some(hash) = address_hash(&state, &token).await? else {
            return Ok(false);
        };
        let (channel, status) = (ChannelName::Mail, ContactStatus::OptedOut);
        if state.store.suppress(&hash, channel, None, status, state.clock.now()).await? {
            tracing::info!("mail unsubscribed");
        }
        Ok(true)
    };
    match suppressed.await {
        Ok(true) => page(StatusCode::OK, "You are unsubscribed.", ""),
        Ok(false) => unknown(),
        Err(error) => unavailable(&error),
    }
}

async fn address_hash(state: &Unsubscribe, token: &str) -> Result<Option<[u8; 32]>, StoreError> {
    Ok(state.store.installation_key().await?.unsubscribed_address(token))
}

fn unknown() -> Response {
    page(StatusCode::NOT_FOUND, "This link is not valid: open it as it stands in the mail.", "")
}

fn unavailable(error: &StoreError) -> Response {
    tracing::error!(error = chain(error), "unsubscribe failed");
    page(StatusCode::SERVICE_UNAVAILABLE, "This does not work at present: try again later.", "")
}

fn page(status: StatusCode, text: &str, form: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (ROBOTS, "noindex"),
    ];
    (status, headers, PAGE.replace("{text}", text).replace("{form}", form)).into_response()
}
