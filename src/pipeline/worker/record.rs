//! Record: a batch of outcomes in one statement, fenced by lease and attempt.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Batches, Finished, Shared, backoff};
use crate::model::Reason;
use crate::pipeline::channel::Disposition;
use crate::store::chain;
use crate::store::{EndedAttempt, FailedAttempt, RecordResult, Result};

const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(
    shared: Arc<Shared>,
    finished: Arc<Batches<Finished>>,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    // Outcomes whose event another transaction holds.
    let mut locked: Vec<Finished> = Vec::new();
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
            () = tokio::time::sleep(PAUSE), if !locked.is_empty() => std::mem::take(&mut locked),
        };
        locked.append(&mut record(&shared, batch, &hard).await);
        if hard.is_cancelled() {
            return Ok(());
        }
    }
    Ok(())
}

async fn record(shared: &Shared, batch: Vec<Finished>, hard: &CancellationToken) -> Vec<Finished> {
    let now = shared.clock.now();
    let mut locked = Vec::new();
    let (delivered, failed): (Vec<Finished>, Vec<Finished>) =
        batch.into_iter().partition(|one| one.sent.verdict == Disposition::Done);
    if !delivered.is_empty() {
        let outcomes = Outcomes::Delivered(delivered.iter().map(ended_attempt).collect());
        if let Some(recorded) = until_recorded(shared, hard, &outcomes).await {
            let note = |_, finished: &Finished| note_delivery(shared, finished);
            end(shared, delivered, &recorded, &mut locked, note);
        }
    }
    if !failed.is_empty() {
        let failures: Vec<FailedAttempt> = failed.iter().map(|one| failure(shared, one, now)).collect();
        let outcomes = Outcomes::Failed(&failures);
        if let Some(recorded) = until_recorded(shared, hard, &outcomes).await {
            let note = |at: usize, finished: &Finished| note_failure(shared, finished, &failures[at], now);
            end(shared, failed, &recorded, &mut locked, note);
        }
    }
    locked
}

/// Ends the recorded and the lost outcomes of a batch, calls `note` with the position of each recorded one, and keeps the locked ones.
fn end(
    shared: &Shared,
    batch: Vec<Finished>,
    recorded: &RecordResult,
    locked: &mut Vec<Finished>,
    note: impl Fn(usize, &Finished),
) {
    let mut leases = Vec::with_capacity(batch.len());
    for (at, one) in batch.into_iter().enumerate() {
        let event_id = one.lease.event_id;
        if recorded.locked.contains(&event_id) {
            locked.push(one);
            continue;
        }
        leases.push(one.lease_id);
        if recorded.events.contains(&event_id) {
            note(at, &one);
        } else {
            counter!("bday_leases_lost_total").increment(1);
            tracing::warn!(%event_id, attempt = one.lease.attempt, "lease lost before the record");
        }
    }
    shared.leases.recorded(leases.into_iter());
}

enum Outcomes<'a> {
    Delivered(Vec<EndedAttempt>),
    Failed(&'a [FailedAttempt]),
}

impl Outcomes<'_> {
    async fn write(&self, shared: &Shared, ended: &[Uuid]) -> Result<RecordResult> {
        match self {
            Self::Delivered(deliveries) => shared.store.record_deliveries(deliveries, ended).await,
            Self::Failed(failures) => shared.store.record_failures(failures, ended).await,
        }
    }
}

/// Retries until the outcomes are recorded; meanwhile the heartbeat extends the leases. None: the process must end first.
async fn until_recorded(
    shared: &Shared,
    hard: &CancellationToken,
    outcomes: &Outcomes<'_>,
) -> Option<RecordResult> {
    loop {
        let ended = shared.leases.take_finished();
        match outcomes.write(shared, &ended).await {
            Ok(recorded) => {
                shared.heartbeat.progress();
                return Some(recorded);
            }
            Err(error) => {
                shared.leases.give_back(ended);
                // Waiting for the database is not being stuck.
                shared.heartbeat.alive();
                tracing::warn!(error = chain(&error), "recording failed");
            }
        }
        if hard.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            tracing::error!("shut down before recording outcomes; the events will be retried");
            return None;
        }
    }
}

fn ended_attempt(finished: &Finished) -> EndedAttempt {
    EndedAttempt {
        event_id: finished.lease.event_id,
        lease_id: finished.lease_id,
        attempt: finished.lease.attempt,
        status: finished.sent.status,
        started_at: finished.started_at,
        finished_at: finished.finished_at,
    }
}

fn failure(shared: &Shared, finished: &Finished, now: DateTime<Utc>) -> FailedAttempt {
    let sent = &finished.sent;
    let reason = sent.reason.unwrap_or(Reason::Status);
    let attempts = u32::try_from(finished.lease.attempts_since_redrive).unwrap_or(0);
    let retry_at = match sent.verdict {
        // A request that this process broke off says nothing about the receiver, so it is never the last.
        _ if reason == Reason::Shutdown => Some(now),
        Disposition::Retry(asked) if attempts < shared.options.max_attempts => {
            Some(now + backoff::wait(&shared.options.schedule, attempts, asked, fastrand::f64()))
        }
        Disposition::Retry(_) | Disposition::Done | Disposition::GiveUp => None,
    };
    FailedAttempt {
        ended: ended_attempt(finished),
        outcome: sent.outcome,
        reason,
        error: sent.error.clone(),
        response: sent.response.clone(),
        retry_at,
    }
}

fn note_delivery(shared: &Shared, finished: &Finished) {
    let lease = &finished.lease;
    let sendable_at = shared.gate.sendable_at(lease.late_from);
    let lateness = (finished.finished_at - sendable_at).to_std().unwrap_or_default();
    counter!("bday_events_delivered_total", "kind" => lease.kind.clone()).increment(1);
    histogram!("bday_lateness_seconds").record(lateness.as_secs_f64());
    shared.report.delivered(lateness);
}

/// Writes metrics, and a log line without names and bodies.
fn note_failure(shared: &Shared, finished: &Finished, failure: &FailedAttempt, now: DateTime<Utc>) {
    let (reason, user_id) = (failure.reason, finished.lease.user_id);
    counter!("bday_attempts_failed_total", "reason" => reason.as_str()).increment(1);
    let retry_in_secs = failure.retry_at.map(|at| (at - now).num_seconds());
    let EndedAttempt { event_id, attempt, status, .. } = failure.ended;
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
    shared.report.failed(dead);
    if dead {
        counter!("bday_events_dead_total", "reason" => reason.as_str()).increment(1);
        tracing::warn!(%event_id, %user_id, %reason, "event dead");
    }
}
