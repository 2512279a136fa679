//! Readiness, shutdown and watchdog notifications for systemd (`sd_notify(3)`). Without systemd they have no effect.

use std::convert::Infallible;
use std::sync::Arc;

use sd_notify::NotifyState;

use crate::http::Health;

pub(super) fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("running")]);
}

pub(super) fn waiting() {
    notify(&[NotifyState::Status("waiting for the database and the queue")]);
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("shutting down")]);
}

/// Notifies the watchdog while no stage is stuck. Otherwise systemd restarts the process.
pub(super) async fn feed_watchdog(health: Arc<Health>) -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        match health.stuck() {
            None => notify(&[NotifyState::Watchdog]),
            Some(stage) => tracing::error!(stage, "stage stuck: the watchdog will restart the process"),
        }
        // Half of the limit would be enough; a third tolerates a late timer.
        tokio::time::sleep(limit / 3).await;
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "sd_notify failed");
    }
}
