//! The console: pages for operators, at `/` of the listener.
//!
//! ```text
//! request ──> same origin ──> session ──> scope ──> handler ──> page, or redirect with a notice
//!             403             sign-in     403       (a form: with its row in the audit log)
//! ```
//!
//! Every action is a form that works without script. A form answers with a redirect to the page that it came from, whose URL has the
//! filters, so that a reload never repeats an action. A new token is shown in the answer itself, once: a reload is refused, since its
//! name is taken. Script adds refreshes, shortcuts and file drops.
//!
//! Guaranteed: a form from another site is refused; a session never allows more than its token does at that moment; `/v1` never
//! accepts a session; no page loads anything from elsewhere, and none has inline script or style.

#![expect(
    clippy::unused_self,
    clippy::trivially_copy_pass_by_ref,
    reason = "templates call methods of their page, with references"
)]

mod assets;
mod audit;
mod calendar;
mod charts;
mod command;
mod day;
mod event;
mod events;
mod failures;
mod fields;
mod filters;
mod guard;
mod import;
mod layout;
mod message;
mod not_found;
mod number;
mod people;
mod person;
mod person_text;
mod problem;
mod sign_in;
mod tags;
mod time;
mod today;
mod tokens;
mod url;
mod user_form;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};

use super::access::{Authorizer, TrustedProxy};
use super::api::Api;
use super::health::Health;
use crate::config::{Config, TracesConfig};

/// Forms without files.
const MAX_BODY_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone)]
pub struct ConsoleSettings {
    /// The host and port of `http.public_url`, under which HTTPS reaches this listener.
    pub https_host: Option<String>,
    pub proxy: TrustedProxy,
    pub traces: TracesConfig,
}

impl From<&Config> for ConsoleSettings {
    fn from(config: &Config) -> Self {
        Self {
            https_host: config.http.https_host(),
            proxy: TrustedProxy::from(&config.console),
            traces: config.traces.clone(),
        }
    }
}

/// The state of the handlers.
#[derive(Clone)]
pub struct Console {
    api: Api,
    authorizer: Authorizer,
    health: Arc<Health>,
    settings: Arc<ConsoleSettings>,
}

impl Console {
    #[must_use]
    pub fn new(api: Api, authorizer: Authorizer, health: Arc<Health>, settings: ConsoleSettings) -> Self {
        Self { api, authorizer, health, settings: Arc::new(settings) }
    }

    /// `request_timeout` runs from the end of a request's head to the beginning of the response; for an upload, between two parts of
    /// the body.
    pub fn router(self, request_timeout: Duration) -> Router {
        let pages = Router::new()
            .merge(today::routes())
            .merge(calendar::routes())
            .merge(day::routes())
            .merge(events::routes())
            .merge(event::routes())
            .merge(failures::routes())
            .merge(people::routes())
            .merge(person::routes())
            .merge(import::routes())
            .merge(message::routes())
            .merge(tokens::routes())
            .merge(audit::routes())
            .route("/sign-out", post(sign_in::sign_out))
            .method_not_allowed_fallback(not_found::forms_only)
            .route_layer(from_fn_with_state(self.clone(), guard::require_operator));
        // Its own limits of size and time.
        let imports = import::long_routes()
            .route_layer(from_fn_with_state(self.clone(), guard::require_operator))
            .layer(DefaultBodyLimit::max(import::MAX_BODY_BYTES))
            .layer(RequestBodyTimeoutLayer::new(request_timeout));
        let open = Router::new()
            .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
            .route_layer(from_fn(guard::require_same_origin));
        let pages = pages
            .merge(open)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, request_timeout))
            .merge(imports)
            .layer(from_fn(guard::add_headers))
            .with_state(self);
        pages.route("/assets/{name}", get(assets::get))
    }

    /// Returns the answer to paths that neither the console nor the API has.
    pub fn not_found(self, request_timeout: Duration) -> Router {
        Router::new()
            .fallback(not_found::answer)
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, request_timeout))
            .layer(from_fn(guard::add_headers))
            .with_state(self)
    }
}
