//! Callbacks of providers: public routes, which accept signed requests only.

mod signature;
mod twilio;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::post;
use metrics::counter;
use tokio::sync::watch;
use tower_http::timeout::TimeoutLayer;

use crate::clock::SharedClock;
use crate::pipeline::channel::twilio::{CALLBACK_PATH, TwilioAccount};
use crate::store::Store;

/// Twilio sends a few KB.
const MAX_BODY_BYTES: usize = 64 << 10;

/// The accounts whose tokens sign callbacks. Empty until they are fetched.
#[derive(Debug, Clone, Default)]
pub struct TwilioAccounts(Arc<OnceLock<Vec<watch::Receiver<TwilioAccount>>>>);

impl TwilioAccounts {
    pub fn set(&self, accounts: Vec<watch::Receiver<TwilioAccount>>) {
        // Set once, when the process has fetched its values.
        let _ = self.0.set(accounts);
    }
}

/// The state of the handlers.
#[derive(Debug, Clone)]
pub struct Callbacks {
    store: Store,
    clock: SharedClock,
    accounts: TwilioAccounts,
    /// The public base URL, without a slash at its end.
    public_url: Arc<str>,
}

impl Callbacks {
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, accounts: TwilioAccounts, public_url: &str) -> Self {
        Self { store, clock, accounts, public_url: public_url.into() }
    }

    /// `request_timeout` runs from the end of a request's head to the beginning of the response.
    pub fn router(self, request_timeout: Duration) -> Router {
        Router::new()
            .route(CALLBACK_PATH, post(twilio::receive))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, request_timeout))
            .with_state(self)
    }
}

fn count(outcome: &'static str) {
    counter!("bday_callbacks_total", "provider" => "twilio", "outcome" => outcome).increment(1);
}
