//! What this process tells about itself: `/livez`, `/readyz`, `/metrics`; and the API, where it has that role.

mod access;
mod api;
mod health;
mod patient;
mod places;
mod process;
mod server;

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

pub use access::{Authorizer, required_scope};
pub use api::Api;
pub use health::{Health, HealthDeadlines, Heartbeats, LIVE};
pub use server::Limits;

/// Connections that may wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`). Where there is no place, the
/// client tries again after a second: with tokio's 128, many who come at once lose that second.
const BACKLOG: u32 = 1024;

/// Takes an address.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // So that a restart need not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens, so that an address that is taken ends the process at its start.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = listen(address).with_context(|| {
        format!("cannot listen on http.listen = {address}: choose another address (BDAY__HTTP__LISTEN)")
    })?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// What is served.
#[derive(Debug)]
pub struct Site {
    /// `/livez` and `/readyz`, open to all.
    pub health: Arc<Health>,
    /// `/metrics`, behind `gate`.
    pub metrics: PrometheusHandle,
    /// `/v1`, behind `gate`.
    pub api: Option<Api>,
    /// Who may come in.
    pub gate: Authorizer,
    /// What a client may take.
    pub limits: Limits,
}

impl Site {
    /// Serves until `soft` is cancelled, and then ends what is under way.
    pub async fn serve(self, listener: TcpListener, soft: CancellationToken) -> anyhow::Result<()> {
        let Self { health, metrics, api, gate, limits } = self;
        gate.warn_if_exposed(listener.local_addr()?);
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
            .route_layer(from_fn_with_state(gate.clone(), access::metrics));
        let mut router = Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .merge(metrics)
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limits.request));
        if let Some(api) = api {
            router = router.merge(api.router(gate, limits.request));
        }
        server::run(listener, router, limits, soft).await;
        Ok(())
    }
}
