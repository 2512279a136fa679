//! Record: a batch of outcomes in one statement, fenced by lease and attempt.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{BatchReceiver, FinishedAttempt, Shared, backoff};
use crate::model::Reason;
use crate::pipeline::channel::Disposition;
use crate::store::{EndedAttempt, FailedAttempt, RecordResult, Result, chain};

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
    let (delivered, failed): (Vec<FinishedAttempt>, Vec<FinishedAttempt>) =
        batch.into_iter().partition(|attempt| attempt.result.disposition == Disposition::Delivered);
    if !delivered.is_empty() {
        let outcomes = Outcomes::Delivered(delivered.iter().map(ended_attempt).collect());
        if let Some(recorded) = record_with_retries(shared, hard, &outcomes).await {
            let report = |_, attempt: &FinishedAttempt| report_delivery(shared, attempt);
            locked.append(&mut finish(shared, delivered, &recorded, report));
        }
    }
    if !failed.is_empty() {
        let failures: Vec<FailedAttempt> =
            failed.iter().map(|attempt| failed_attempt(shared, attempt, now)).collect();
        let outcomes = Outcomes::Failed(&failures);
        if let Some(recorded) = record_with_retries(shared, hard, &outcomes).await {
            let report =
                |at: usize, attempt: &FinishedAttempt| report_failure(shared, attempt, &failures[at], now);
            locked.append(&mut finish(shared, failed, &recorded, report));
        }
    }
    locked
}

/// Finishes the recorded and the lost attempts of a batch, and calls `report` with the position of each recorded one. Returns the
/// attempts whose event is locked.
fn finish(
    shared: &Shared,
    batch: Vec<FinishedAttempt>,
    recorded: &RecordResult,
    report: impl Fn(usize, &FinishedAttempt),
) -> Vec<FinishedAttempt> {
    let mut locked = Vec::new();
    let mut leases = Vec::with_capacity(batch.len());
    for (at, attempt) in batch.into_iter().enumerate() {
        let event_id = attempt.lease.event_id;
        if recorded.locked.contains(&event_id) {
            locked.push(attempt);
            continue;
        }
        leases.push(attempt.lease_id);
        if recorded.events.contains(&event_id) {
            report(at, &attempt);
        } else {
            counter!("bday_leases_lost_total").increment(1);
            tracing::warn!(%event_id, attempt = attempt.lease.attempt, "lease lost before the outcome was recorded");
        }
    }
    shared.held_leases.recorded(leases.into_iter());
    locked
}

enum Outcomes<'a> {
    Delivered(Vec<EndedAttempt>),
    Failed(&'a [FailedAttempt]),
}

impl Outcomes<'_> {
    async fn write(&self, shared: &Shared, finished: &[Uuid]) -> Result<RecordResult> {
        match self {
            Self::Delivered(deliveries) => shared.store.record_deliveries(deliveries, finished).await,
            Self::Failed(failures) => shared.store.record_failures(failures, finished).await,
        }
    }
}

/// Retries until the outcomes are recorded; meanwhile the heartbeat extends the leases. `None` after `hard` is cancelled.
async fn record_with_retries(
    shared: &Shared,
    hard: &CancellationToken,
    outcomes: &Outcomes<'_>,
) -> Option<RecordResult> {
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

fn ended_attempt(attempt: &FinishedAttempt) -> EndedAttempt {
    let FinishedAttempt { lease, lease_id, result, started_at, finished_at } = attempt;
    EndedAttempt {
        event_id: lease.event_id,
        lease_id: *lease_id,
        attempt: lease.attempt,
        channel: lease.channel,
        status: result.status,
        provider_id: result.provider_id.clone(),
        started_at: *started_at,
        finished_at: *finished_at,
    }
}

fn failed_attempt(shared: &Shared, attempt: &FinishedAttempt, now: DateTime<Utc>) -> FailedAttempt {
    let result = &attempt.result;
    let reason = result.reason.unwrap_or(Reason::Status);
    let attempts = u32::try_from(attempt.lease.attempts_since_redrive).unwrap_or(0);
    let retry_at = match result.disposition {
        // A request that this process cancelled says nothing about the receiver, so it is never the last.
        _ if reason == Reason::Shutdown => Some(now),
        Disposition::Retry(retry_after) if attempts < shared.options.max_attempts => {
            let schedule = &shared.options.schedule;
            Some(now + backoff::delay(schedule, attempts, retry_after, fastrand::f64()))
        }
        _ => None,
    };
    FailedAttempt {
        ended: ended_attempt(attempt),
        outcome: result.outcome,
        reason,
        error: result.error.clone(),
        response: result.response.clone(),
        retry_at,
    }
}

fn report_delivery(shared: &Shared, attempt: &FinishedAttempt) {
    let lease = &attempt.lease;
    let sendable_at = shared.lease_gate.sendable_at(lease.late_from);
    let lateness = (attempt.finished_at - sendable_at).to_std().unwrap_or_default();
    counter!("bday_events_delivered_total", "kind" => lease.kind.clone()).increment(1);
    histogram!("bday_lateness_seconds").record(lateness.as_secs_f64());
    shared.delivery_stats.delivered(lateness);
}

/// The log lines hold no names and no bodies.
fn report_failure(shared: &Shared, attempt: &FinishedAttempt, failure: &FailedAttempt, now: DateTime<Utc>) {
    let (reason, user_id) = (failure.reason, attempt.lease.user_id);
    counter!("bday_attempts_failed_total", "reason" => reason.as_str()).increment(1);
    let retry_in_secs = failure.retry_at.map(|at| (at - now).num_seconds());
    let EndedAttempt { event_id, attempt, status, .. } = &failure.ended;
    tracing::warn!(
        %event_id,
        %user_id,
        attempt,
        outcome = failure.outcome.as_str(),
        %reason,
        status,
        error = failure.error,
        retry_in_secs,
        "attempt failed"
    );
    let dead = failure.is_last();
    shared.delivery_stats.failed(dead);
    if dead {
        counter!("bday_events_dead_total", "reason" => reason.as_str()).increment(1);
        tracing::warn!(%event_id, %user_id, %reason, "event dead");
    }
}
