//! Pause: nothing is received while somebody has said so. The lease holds to it as well, so it works at once.

use std::time::Duration;

use super::Shared;

/// How soon a pause, or its end, is noticed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks whether sending is paused, again and again, and tells the polls.
pub(super) async fn run(shared: &Shared) {
    loop {
        match shared.store.pause().await {
            Ok(pause) => {
                let is_paused = pause.is_some();
                if shared.paused.send_replace(is_paused) != is_paused {
                    tracing::info!(paused = is_paused, "sending is paused or resumed");
                }
                metrics::gauge!("bday_paused").set(u8::from(is_paused));
            }
            // Without the database nothing can be leased either.
            Err(error) => tracing::debug!(error = crate::scheduler::chain(&error), "cannot look for a pause"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
