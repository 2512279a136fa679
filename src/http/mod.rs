//! The HTTP server: `/livez`, `/readyz` and `/metrics` of this process, and the API and the console where its role includes them.

mod access;
mod api;
mod calendar_feed;
mod callbacks;
mod connection_slots;
mod console;
mod health;
mod process;
mod server;
mod unsubscribe;
mod write_timeout;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

pub use access::{Authorizer, OpenHosts, TrustedProxy, required_scope};
pub use api::Api;
pub use callbacks::{Callbacks, TwilioAccounts};
pub use console::{Console, ConsoleSettings};
pub use health::{Health, HealthDeadlines, Heartbeats, LIVE};
pub use server::Limits;

/// Connections that may wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`). A client that finds no room retries after
/// a second, as many would with the default of tokio, 128.
const BACKLOG: u32 = 1024;

pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart need not wait for the connections of the previous process.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens on `http.listen`, before anything else starts: a taken address ends the process at once.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = listen(address).with_context(|| {
        format!("cannot listen on http.listen = {address}: choose another address (BDAY__HTTP__LISTEN)")
    })?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

pub struct HttpServer {
    pub health: Arc<Health>,
    pub metrics: PrometheusHandle,
    pub api: Option<Api>,
    pub callbacks: Option<Callbacks>,
    pub console: Option<Console>,
    /// For the API and the metrics.
    pub authorizer: Authorizer,
    pub limits: Limits,
}

impl HttpServer {
    /// Serves until `soft` is cancelled, then finishes the requests in progress.
    pub async fn serve(self, listener: TcpListener, soft: CancellationToken) -> anyhow::Result<()> {
        let Self { health, metrics, api, callbacks, console, authorizer, limits } = self;
        authorizer.warn_if_exposed(listener.local_addr()?);
        let render = {
            let health = Arc::clone(&health);
            move || async move {
                health.set_age_gauges();
                let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
                (headers, metrics.render() + &process::render())
            }
        };
        let live = {
            let health = Arc::clone(&health);
            async move || health::livez(&health)
        };
        let ready = move || health::readyz(health);
        let metrics = Router::new()
            .route("/metrics", get(render))
            .route_layer(from_fn_with_state(authorizer.clone(), access::metrics));
        let mut router = Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .merge(metrics)
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limits.request));
        if let Some(callbacks) = callbacks {
            router = router.merge(callbacks.router(limits.request));
        }
        if let Some(api) = api {
            router = router.merge(api.router(authorizer, limits.request));
        }
        if let Some(console) = console {
            let not_found = console.clone().not_found(limits.request);
            router = router.merge(console.router(limits.request)).fallback_service(not_found);
        }
        server::run(listener, router, limits, soft).await;
        Ok(())
    }
}
