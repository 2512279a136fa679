//! What systemd hears of this process (`sd_notify(3)`): that it is ready, that it stops, and that its stages live.
//!
//! Without systemd, or another supervisor that speaks its protocol, all of this does nothing.

use std::convert::Infallible;
use std::sync::Arc;

use sd_notify::NotifyState;

use crate::http::Health;

/// The process works.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("running")]);
}

/// It has started, and waits for what it needs.
pub fn waiting() {
    tell(&[NotifyState::Status("waiting for the database and the queue")]);
}

/// It takes no new work.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("ending what is in flight")]);
}

/// Feeds the watchdog as long as no stage is stuck, for ever. A stage that is stuck stays so: only a new process
/// helps, and that is what the supervisor makes when it hears nothing more.
pub async fn feed_watchdog(health: Arc<Health>) -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        match health.stuck() {
            None => tell(&[NotifyState::Watchdog]),
            Some(stage) => tracing::error!(stage, "a stage is stuck; the watchdog will end this process"),
        }
        // Twice within the limit would do; a late timer must not cost the process.
        tokio::time::sleep(limit / 3).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the supervisor cannot be told how we are");
    }
}
