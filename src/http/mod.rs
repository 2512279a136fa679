//! What this process tells about itself: `/livez`, `/readyz`, `/metrics`; and the API, where it has that role.

mod api;
mod health;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

pub use api::Api;
pub use health::Health;

/// A request that takes longer is answered with 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Listens, so that an address that is taken ends the process at its start.
///
/// # Errors
/// The address is taken, or not ours.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on http.listen = {listen}: choose another address (BDAY__HTTP__LISTEN)")
    })?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// Serves until `soft` is cancelled, and then ends what is under way.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: PrometheusHandle,
    api: Option<Api>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    let render = {
        let health = Arc::clone(&health);
        move || async move {
            health.set_age_gauges();
            crate::telemetry::process::set_gauges();
            (
                [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
                metrics.render(),
            )
        }
    };
    let mut router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move || health::readyz(Arc::clone(&health))))
        .route("/metrics", get(render))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ));
    if let Some(api) = api {
        router = router.merge(api.router());
    }
    server::run(listener, router, soft).await;
    Ok(())
}
