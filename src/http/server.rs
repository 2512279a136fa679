//! Accepts connections, limits them in number and time, and shuts them down.
//!
//! Connections are always accepted, so that a health check is answered however many there are. See
//! [`connection_slots`](super::connection_slots) for the choice of those that are closed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::access::Peer;
use super::api::problem::Problem;
use super::connection_slots::{Connection, ConnectionSlots};
use super::write_timeout::WriteTimeout;
use crate::config;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections with a request. [`SPARE`] more may be open for health requests and for new clients.
    pub connections: usize,
    /// For a request's head, and between two requests of a connection.
    pub head: Duration,
    /// From the end of the head to the beginning of the response, and for each write of the response without progress.
    pub request: Duration,
}

/// Connections beyond [`Limits::connections`] that stay open before the one idle longest is closed. At 10,000 new connections per
/// second, a health check has 6 ms to send its request.
const SPARE: usize = 64;
const MAX_HEADERS: usize = 64;
/// Bounds a request's head.
const MAX_BUFFER_BYTES: usize = 32 * 1024;
/// After an error of the listener, for example without a file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

impl From<&config::HttpConfig> for Limits {
    fn from(config: &config::HttpConfig) -> Self {
        Self {
            connections: config.max_connections as usize,
            head: config.head_timeout,
            request: config.request_timeout,
        }
    }
}

/// Serves until `soft` is cancelled, then finishes the requests in progress.
pub(super) async fn run(listener: TcpListener, router: Router, limits: Limits, soft: CancellationToken) {
    let slots = ConnectionSlots::new(limits.connections);
    let max_open = limits.connections + SPARE;
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = soft.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            // A closed connection stays open until its task is scheduled.
            accepted = listener.accept(), if connections.len() < max_open + SPARE => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                if connections.len() >= max_open {
                    slots.close_longest_idle();
                }
                let connection = slots.connection();
                connections.spawn(serve(stream, address, connection, router.clone(), limits, &graceful));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                slots.close_longest_idle();
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    graceful.shutdown().await;
}

fn serve(
    stream: TcpStream,
    address: SocketAddr,
    connection: Arc<Connection>,
    router: Router,
    limits: Limits,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    // Without this, the kernel delays a small response until the one before is acknowledged.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let slot_owner = Arc::clone(&connection);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(address));
        respond(&router, &slot_owner, request)
    });
    let stream = TokioIo::new(WriteTimeout::new(stream, limits.request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES);
    let served = graceful.watch(http.serve_connection(stream, service));
    async move {
        tokio::select! {
            ended = served => if let Err(error) = ended {
                tracing::debug!(%error, "connection failed");
            },
            () = connection.closed() => tracing::debug!(%address, "idle connection closed: too many connections"),
        }
    }
}

/// Health requests need no slot; others get 503 if all are taken.
fn respond(
    router: &TowerToHyperService<Router>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let is_health = matches!(request.uri().path(), "/livez" | "/readyz");
    let slot = if is_health { None } else { connection.take_slot() };
    let response = (is_health || slot.is_some()).then(|| router.call(request));
    async move {
        let Some(response) = response else {
            return Ok(Problem::too_many_requests_in_progress().into_response());
        };
        let response = response.await?;
        Ok(match slot {
            Some(slot) => response.map(|body| slot.hold(body)),
            None => response,
        })
    }
}
