//! Connections: how many, how patient, and how they end.
//!
//! Connections are always accepted, so that a health check is answered however many there are. See [`places`](super::places)
//! for which of them give way.

use std::convert::Infallible;
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
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::access::Peer;
use super::api::problem::Problem;
use super::patient::Patient;
use super::places::{Connection, Places};
use crate::config;

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections with a request at once. [`SPARE`] more may be open for health and for new clients.
    pub connections: usize,
    /// For a request's head, and between two requests; then the connection is closed.
    pub head: Duration,
    /// From the end of the head to the beginning of the answer, and for taking each part of that.
    pub request: Duration,
}

/// Connections beyond [`Limits::connections`] that stay open before the one idle longest is closed. At 10,000 new connections
/// a second, a health check has 6 ms to send its request.
const SPARE: usize = 64;
const MAX_HEADERS: usize = 64;
/// Bounds a request's head.
const MAX_BUFFER_BYTES: usize = 32 * 1024;
/// After an error of the listener, such as no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

impl From<&config::HttpConfig> for Limits {
    fn from(config: &config::HttpConfig) -> Self {
        Self {
            connections: config.max_connections as usize,
            head: config.head_timeout,
            request: config.request_timeout,
        }
    }
}

/// Serves until `soft` is cancelled, and then ends what is under way.
pub(super) async fn run(listener: TcpListener, router: Router, limits: Limits, soft: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES);
    let places = Places::new(limits.connections);
    let most = limits.connections + SPARE;
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            () = soft.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            // Connections that were told to close are still open until their task has a turn.
            accepted = listener.accept(), if connections.len() < most + SPARE => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    places.close_longest_idle();
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        if connections.len() >= most {
            places.close_longest_idle();
        }
        // Without this, the kernel keeps a small answer back until the one before is acknowledged.
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(router.clone());
        let place = places.connection();
        let owner = Arc::clone(&place);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(address));
            answer(&router, &owner, request)
        });
        let stream = TokioIo::new(Patient::new(stream, limits.request));
        let connection = graceful.watch(http.serve_connection(stream, service));
        connections.spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection broken");
                },
                () = place.closed() => tracing::debug!(%address, "too many connections: idle connection closed"),
            }
        });
    }
    graceful.shutdown().await;
}

/// Answers a request: health at once, all else with a place.
fn answer(
    router: &TowerToHyperService<Router>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let is_health = matches!(request.uri().path(), "/livez" | "/readyz");
    let place = if is_health { None } else { connection.take_place() };
    let answer = (is_health || place.is_some()).then(|| router.call(request));
    async move {
        let Some(answer) = answer else {
            return Ok(Problem::too_many_requests_in_progress().into_response());
        };
        let response = answer.await?;
        Ok(match place {
            Some(place) => response.map(|body| place.hold(body)),
            None => response,
        })
    }
}
