//! The inbox: a webhook receiver for one's own machine, with a page that shows live what arrived.
//!
//! It takes a POST on any path, answers as [`Answers`] says, and keeps the last arrivals in memory. `bday inbox`
//! runs it from a terminal, `bday demo` inside its own process, and the integration tests as the receiver that fails,
//! hangs and counts.
//!
//! Guaranteed: each request is counted exactly once, whatever became of it; a request whose sender hung up before the
//! answer counts as unanswered, never as accepted; memory is bounded by the number of arrivals kept.
//! Not guaranteed: anything after a restart, for nothing is stored. No signature is checked.

mod answers;
mod arrival;
mod host;
mod lateness;
mod ledger;
mod live;
mod page;
mod receive;
mod sightings;

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

pub use answers::Answers;
pub use arrival::{Arrival, Content, Greeting, Unreadable};
pub use lateness::Quantiles;
pub use ledger::{Batch, Cursor, Ledger, Totals};

/// The largest body that is read, in bytes. A greeting is far below 1 KiB.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// How long open requests may hold up a stop: a sender that never finishes its request must not.
const DRAIN: Duration = Duration::from_secs(2);

/// What an inbox is told when it starts.
#[derive(Debug, Clone)]
pub struct InboxOptions {
    /// Where to listen. Port 0 takes any free one; [`Inbox::local_addr`] then says which.
    pub listen: SocketAddr,
    /// How many arrivals are kept for the page and for `/arrivals`; older ones are only counted. At least 1.
    pub keep: usize,
    /// What senders get to hear.
    pub answers: Answers,
}

impl Default for InboxOptions {
    /// A free port on loopback, 1,000 arrivals, and 200 at once for everybody.
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), keep: 1000, answers: Answers::default() }
    }
}

/// Why an inbox could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The address is taken, not this machine's, or not allowed.
    #[error(
        "cannot listen on {listen}; give a free address of this machine, such as 127.0.0.1:0 for any free port"
    )]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The listening socket failed later.
    #[error("the inbox stopped accepting connections")]
    Serve(#[source] io::Error),
}

/// What every handler shares.
#[derive(Debug, Clone)]
struct Shared {
    ledger: Arc<Ledger>,
    answers: Arc<Answers>,
    clock: SharedClock,
    stop: CancellationToken,
}

/// A receiver that is bound to its address and takes requests once it [runs](Inbox::run).
#[derive(Debug)]
pub struct Inbox {
    listener: TcpListener,
    local_addr: SocketAddr,
    answers: Answers,
    ledger: Arc<Ledger>,
    clock: SharedClock,
}

impl Inbox {
    /// Takes the address. Connections queue up from here on, and are served once [`Inbox::run`] is polled.
    ///
    /// # Errors
    ///
    /// [`InboxError::Listen`] when the address cannot be had.
    pub fn bind(options: InboxOptions, clock: SharedClock) -> Result<Self, InboxError> {
        let listen = options.listen;
        let refused = |source| InboxError::Listen { listen, source };
        let listener = crate::http::listen(listen).map_err(refused)?;
        let local_addr = listener.local_addr().map_err(refused)?;
        let ledger = Arc::new(Ledger::new(options.keep, clock.now()));
        Ok(Self { listener, local_addr, answers: options.answers, ledger, clock })
    }

    /// Where it listens, with the port that was chosen.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The arrivals and their totals. The handle stays good while the inbox runs, and after.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Every arrival from now on, in the order in which they were answered. A reader that falls behind by several
    /// thousand loses the oldest, and is told how many.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.ledger.subscribe()
    }

    /// Serves until `stop`. Open requests are then finished, but hold it up for 2 s at most; open pages do not.
    ///
    /// # Errors
    ///
    /// [`InboxError::Serve`] when the listening socket fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), InboxError> {
        let shared = Shared {
            ledger: self.ledger,
            answers: Arc::new(self.answers),
            clock: self.clock,
            stop: stop.clone(),
        };
        // Answers are one small packet each: waiting to fill it would only add up to 40 ms to each.
        let listener = self.listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
        });
        let serve =
            axum::serve(listener, router(shared)).with_graceful_shutdown(stop.clone().cancelled_owned());
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = async { serve.await } => served.map_err(InboxError::Serve),
            () = deadline => Ok(()),
        }
    }
}

/// Not for a page in a browser whose name was made to point here: it would read the names of people. A webhook may come
/// under any name.
fn ours(handler: MethodRouter<Shared>) -> MethodRouter<Shared> {
    handler.route_layer(from_fn(async |request: Request, next: Next| {
        if host::is_unregistrable(request.headers()) {
            return next.run(request).await;
        }
        let advice = "the inbox shows itself under localhost, an address, or a name without a dot: open it by one of those\n";
        (StatusCode::FORBIDDEN, advice).into_response()
    }))
}

/// A POST is a webhook on any path, those of the page included.
fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", ours(get(page::html)))
        .route("/inbox.css", ours(get(page::css)))
        .route("/inbox.js", ours(get(page::js)))
        .route("/inbox.svg", ours(get(page::icon)))
        .route("/events", ours(get(live::events)))
        .route("/arrivals", ours(get(page::arrivals).delete(page::clear)))
        .route("/healthz", get(async || "ok\n"))
        .fallback(receive::elsewhere)
        .method_not_allowed_fallback(receive::elsewhere)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(shared)
}
