//! The inbox: a receiver for a developer's machine, with a page that shows what arrives live.
//!
//! It takes the place of a webhook's receiver, of a mail server, of Slack and of Twilio:
//!
//! | channel | where |
//! | --- | --- |
//! | mail | SMTP, on an address of its own |
//! | Slack | `/api/chat.postMessage`, `/api/users.lookupByEmail`, `/api/auth.test`, `/slack/hook` |
//! | SMS, `WhatsApp` | Twilio's `/2010-04-01/Accounts/{sid}/Messages.json` |
//! | webhook | a POST on any other path |
//!
//! It responds by [`ResponseRules`], and keeps the last requests in memory. `bday inbox` runs it from a terminal, `bday demo` in its
//! own process, and the tests use it as a receiver that fails, hangs and counts.
//!
//! Guaranteed: each request is counted exactly once; a request whose sender disconnected before the response counts as
//! unanswered, never as accepted; memory is bounded by the number of kept requests.
//! Not guaranteed: anything after a restart, since nothing is stored. Signatures, passwords and tokens are not verified.

mod arrival;
mod host;
mod lateness;
mod log;
mod mail;
mod message;
mod page;
mod recent_events;
mod request;
mod responses;
mod slack;
mod smtp;
mod twilio;
mod updates;
mod webhook;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, get};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;

pub use lateness::Quantiles;
pub use log::{RequestLog, Totals};
pub use message::MessageBody;
pub use request::{Content, GreetingBody, ReceivedRequest, UnreadableBody};
pub use responses::ResponseRules;
pub use smtp::SmtpLimits;

/// A greeting is far below 1 KiB.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// The longest time for which open requests delay a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct InboxOptions {
    /// Port 0 takes any free one; see [`Inbox::local_addr`].
    pub listen: SocketAddr,
    /// For SMTP. `None`: the port after that of `listen`, or any free one if that is taken.
    pub smtp: Option<SocketAddr>,
    pub smtp_limits: SmtpLimits,
    /// The number of requests that are kept, at least 1; older ones are only counted.
    pub keep: usize,
    pub responses: ResponseRules,
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            smtp: None,
            smtp_limits: SmtpLimits::default(),
            keep: 1000,
            responses: ResponseRules::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    #[error(
        "cannot listen on {listen}; give a free address of this machine, such as 127.0.0.1:0 for any free port"
    )]
    Listen { listen: SocketAddr, source: io::Error },
    #[error("the inbox stopped accepting connections")]
    Serve(#[source] io::Error),
}

#[derive(Debug, Clone)]
struct InboxState {
    log: Arc<RequestLog>,
    responses: Arc<ResponseRules>,
    clock: SharedClock,
    stop: CancellationToken,
}

/// A receiver that is bound to its address. It serves once it [runs](Inbox::run).
#[derive(Debug)]
pub struct Inbox {
    http: TcpListener,
    http_addr: SocketAddr,
    smtp: TcpListener,
    smtp_addr: SocketAddr,
    smtp_limits: SmtpLimits,
    state: InboxState,
}

fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), InboxError> {
    let failed = |source| InboxError::Listen { listen, source };
    let listener = crate::http::listen(listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

impl Inbox {
    /// Binds the addresses. Connections queue up until [`Inbox::run`] is polled.
    pub fn bind(options: InboxOptions, clock: SharedClock) -> Result<Self, InboxError> {
        let (http, http_addr) = bind(options.listen)?;
        let (smtp, smtp_addr) = match (options.smtp, options.listen.port().checked_add(1)) {
            (Some(listen), _) => bind(listen)?,
            (None, Some(next @ 2..)) => bind(SocketAddr::new(http_addr.ip(), next))
                .or_else(|_| bind(SocketAddr::new(http_addr.ip(), 0)))?,
            // If HTTP has any free port, so has SMTP.
            (None, _) => bind(SocketAddr::new(http_addr.ip(), 0))?,
        };
        let log = Arc::new(RequestLog::new(options.keep, clock.now()));
        let responses = Arc::new(options.responses);
        let state = InboxState { log, responses, clock, stop: CancellationToken::new() };
        Ok(Self { http, http_addr, smtp, smtp_addr, smtp_limits: options.smtp_limits, state })
    }

    /// The address of the page and of HTTP.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.http_addr
    }

    #[must_use]
    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp_addr
    }

    #[must_use]
    pub fn log(&self) -> Arc<RequestLog> {
        Arc::clone(&self.state.log)
    }

    /// Returns a feed of requests in the order of their responses. A reader that lags behind by several thousand loses the
    /// oldest, and receives their number.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<ReceivedRequest>> {
        self.state.log.subscribe()
    }

    /// Serves until `stop`, and then finishes open requests within 2 s.
    pub async fn run(self, stop: CancellationToken) -> Result<(), InboxError> {
        let state = InboxState { stop: stop.clone(), ..self.state };
        // A response is one small packet: Nagle's algorithm would delay it by up to 40 ms.
        let listener = self.http.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "set_nodelay failed");
            }
        });
        let mails = smtp::serve(self.smtp, state.clone(), self.smtp_limits);
        let http =
            axum::serve(listener, router(state)).with_graceful_shutdown(stop.clone().cancelled_owned());
        let serve = async { tokio::join!(async { http.await }, mails).0 };
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            served = serve => served.map_err(InboxError::Serve),
            () = deadline => Ok(()),
        }
    }
}

/// Refuses foreign host names, under which another site's page could read the names of users. Webhooks may use any name.
fn local_only(handler: MethodRouter<InboxState>) -> MethodRouter<InboxState> {
    handler.route_layer(from_fn(async |request: Request, next: Next| {
        if host::is_local_name(request.headers()) {
            return next.run(request).await;
        }
        let error =
            "host name refused: open the inbox as localhost, by its address, or by a name without a dot\n";
        (StatusCode::FORBIDDEN, error).into_response()
    }))
}

/// Routes a POST on any path to the webhook, those of the page included, except for those of Slack and Twilio.
fn router(state: InboxState) -> Router {
    let html = page::file("text/html; charset=utf-8", include_str!("page/inbox.html"));
    let css = page::file("text/css; charset=utf-8", include_str!("page/inbox.css"));
    let js = page::file("text/javascript; charset=utf-8", include_str!("page/inbox.js"));
    let icon = page::file("image/svg+xml", include_str!("page/inbox.svg"));
    Router::new()
        .route("/", local_only(html))
        .route("/inbox.css", local_only(css))
        .route("/inbox.js", local_only(js))
        .route("/inbox.svg", local_only(icon))
        .route("/events", local_only(get(updates::events)))
        .route("/arrivals", local_only(get(page::arrivals).delete(page::clear)))
        .route("/arrivals/{id}/html", local_only(get(page::html)))
        .merge(slack::routes())
        .merge(twilio::routes())
        .route("/healthz", get(async || "ok\n"))
        .fallback(webhook::fallback)
        .method_not_allowed_fallback(webhook::fallback)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(state)
}
