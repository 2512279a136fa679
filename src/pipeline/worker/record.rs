//! Record: a batch of outcomes in one statement, fenced by lease and attempt.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::outcomes::{Outcomes, Recorded, by_outcome};
use super::report::report;
use super::{BatchReceiver, FinishedAttempt, Shared, spans};
use crate::store::chain;

const RETRY_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(
    shared: Arc<Shared>,
    finished: Arc<BatchReceiver<FinishedAttempt>>,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    // Attempts whose event another transaction has locked.
    let mut locked: Vec<FinishedAttempt> = Vec::new();
    let mut next = std::pin::pin!(finished.next());
    let mut open = true;
    while open || !locked.is_empty() {
        let batch = tokio::select! {
            batch = &mut next, if open => {
                if batch.is_some() {
                    next.set(finished.next());
                } else {
                    open = false;
                }
                batch.unwrap_or_default()
            }
            () = tokio::time::sleep(RETRY_PAUSE), if !locked.is_empty() => std::mem::take(&mut locked),
        };
        locked.append(&mut record(&shared, batch, &hard).await);
        if hard.is_cancelled() {
            return Ok(());
        }
    }
    Ok(())
}

/// Records a batch; returns the attempts whose event is locked.
async fn record(
    shared: &Shared,
    batch: Vec<FinishedAttempt>,
    hard: &CancellationToken,
) -> Vec<FinishedAttempt> {
    let now = shared.clock.now();
    let mut locked = Vec::new();
    for attempts in by_outcome(batch) {
        let outcomes = Outcomes::of(shared, &attempts, now);
        if let Some(recorded) = record_with_retries(shared, hard, &outcomes).await {
            locked.append(&mut finish(shared, attempts, &outcomes, &recorded, now));
        }
    }
    locked
}

/// Finishes the recorded and the lost attempts of a batch, and reports each recorded one. Returns the attempts whose event is locked.
fn finish(
    shared: &Shared,
    batch: Vec<FinishedAttempt>,
    outcomes: &Outcomes,
    recorded: &Recorded,
    now: DateTime<Utc>,
) -> Vec<FinishedAttempt> {
    let mut locked = Vec::new();
    let mut leases = Vec::with_capacity(batch.len());
    let (times, all) = ((now, shared.clock.now()), batch.len());
    for (at, attempt) in batch.into_iter().enumerate() {
        let event_id = attempt.lease.event_id;
        if recorded.result.locked.contains(&event_id) {
            locked.push(attempt);
            continue;
        }
        leases.push(attempt.lease_id);
        if recorded.result.events.contains(&event_id) {
            report(shared, &attempt, outcomes, at, recorded, now);
            spans::record(shared, &attempt, times, all);
        } else {
            counter!("bday_leases_lost_total").increment(1);
            tracing::warn!(%event_id, attempt = attempt.lease.attempt, "lease lost before the outcome was recorded");
        }
    }
    shared.held_leases.recorded(leases.into_iter());
    locked
}

/// Retries until the outcomes are recorded; meanwhile the heartbeat extends the leases. `None` after `hard` is cancelled.
async fn record_with_retries(
    shared: &Shared,
    hard: &CancellationToken,
    outcomes: &Outcomes,
) -> Option<Recorded> {
    loop {
        let finished = shared.held_leases.take_finished();
        match outcomes.write(shared, &finished).await {
            Ok(recorded) => {
                shared.heartbeat.progress();
                return Some(recorded);
            }
            Err(error) => {
                shared.held_leases.restore_finished(finished);
                // A stage that waits for the database is alive.
                shared.heartbeat.alive();
                tracing::warn!(error = chain(&error), "recording failed");
            }
        }
        if hard.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await.is_none() {
            tracing::error!("shut down before recording outcomes; the events will be retried");
            return None;
        }
    }
}
