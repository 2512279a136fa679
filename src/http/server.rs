//! Connections: how many, how patient, and how they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::access::Peer;
use super::patient::Patient;
use crate::config;

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait in the listener's queue.
    pub connections: usize,
    /// For a request's head, and between two requests: who is slower is cut off, so that nobody holds a connection for
    /// nothing.
    pub head: Duration,
    /// From the end of the head to the beginning of the answer, and for taking each part of that.
    pub request: Duration,
}

const MAX_HEADERS: usize = 64;
/// Bounds a request's head.
const MAX_BUFFER_BYTES: usize = 32 * 1024;
/// After an error of the listener, such as no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

impl From<&config::Http> for Limits {
    fn from(config: &config::Http) -> Self {
        Self {
            connections: config.max_connections as usize,
            head: Duration::from_secs(config.head_timeout_secs),
            request: Duration::from_secs(config.request_timeout_secs),
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
    let permits = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?, permit))
        };
        let ((stream, address), permit) = tokio::select! {
            () = soft.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        // Without this, the kernel keeps a small answer back until the one before is acknowledged.
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(address));
            router.call(request)
        });
        let stream = TokioIo::new(Patient::new(stream, limits.request));
        let connection = graceful.watch(http.serve_connection(stream, service));
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(permit);
        });
    }
    graceful.shutdown().await;
}
