//! Pause: nothing is received while somebody has said so. The lease holds to it as well, so it works at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Shared;

/// How soon a pause, or its end, is noticed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks whether sending is paused, again and again, and tells the polls.
pub(super) async fn run(shared: &Shared) {
    let mut began = None;
    loop {
        match shared.store.pause().await {
            Ok(pause) => {
                let is_paused = pause.is_some();
                if shared.paused.send_replace(is_paused) != is_paused {
                    tracing::info!(paused = is_paused, "sending is paused or resumed");
                }
                metrics::gauge!("bday_paused").set(u8::from(is_paused));
                let since = pause.map(|pause| pause.since);
                if let Some(ended) = std::mem::replace(&mut began, since).filter(|_| !is_paused) {
                    shared.last_pause.note(ended, shared.clock.now());
                }
            }
            // Without the database nothing can be leased either.
            Err(error) => tracing::debug!(error = crate::telemetry::chain(&error), "cannot look for a pause"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The last pause that this process saw end, from and until, UTC. Who waited for its end was not late by it.
#[derive(Debug, Default)]
pub(super) struct LastPause(Mutex<Option<(DateTime<Utc>, DateTime<Utc>)>>);

impl LastPause {
    fn note(&self, began: DateTime<Utc>, ended: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((began, ended));
    }

    /// When that which could be sent at `at` could be, since nothing was sent during the pause.
    pub(super) fn delays(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((began, ended)) if began <= at && at < ended => ended,
            _ => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn who_came_to_be_due_in_a_pause_could_be_sent_at_its_end_and_others_when_they_were_due() {
        let at = |minute| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let pause = LastPause::default();
        assert_eq!(pause.delays(at(5)), at(5));
        pause.note(at(10), at(70));
        for (due, sendable) in [(9, 9), (10, 70), (69, 70), (70, 70), (71, 71)] {
            assert_eq!(pause.delays(at(due)), at(sendable), "{due}");
        }
    }
}
