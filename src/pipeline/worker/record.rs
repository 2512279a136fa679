//! Record a batch of outcomes in one statement; only then are its messages acked.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Batches, Disposal, Finished, Shared, backoff};
use crate::pipeline::channel::Verdict;
use crate::model::{AttemptOutcome, Reason};
use crate::store::{NextStep, Outcome};

const PAUSE: Duration = Duration::from_millis(500);

/// What becomes of one attempt: the event's next step, and how long its message waits if there is a next attempt.
struct Decision {
    outcome: Outcome,
    wait: Option<Duration>,
}

pub(super) async fn run(
    shared: Arc<Shared>,
    finished: Batches<Finished>,
    disposals: mpsc::Sender<Disposal>,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    while let Some(batch) = finished.next().await {
        let now = shared.clock.now();
        let (decisions, batch): (Vec<Decision>, Vec<Finished>) = batch
            .into_iter()
            .map(|finished| (decide(&shared, &finished, now), finished))
            .unzip();
        let (outcomes, waits): (Vec<Outcome>, Vec<Option<Duration>>) = decisions
            .into_iter()
            .map(|decision| (decision.outcome, decision.wait))
            .unzip();
        let lost = loop {
            match shared.store.record(shared.holder, &outcomes).await {
                Ok(lost) => break Some(lost),
                Err(error) => {
                    // As in the lease: nothing is stuck here but the database.
                    shared.beat.turn();
                    let error = crate::telemetry::chain(&error);
                    tracing::warn!(error, outcomes = outcomes.len(), "cannot record; trying again");
                }
            }
            // What was sent must be written down, so this goes on as long as the process may live. Meanwhile the
            // heartbeat keeps the messages hidden.
            if hard
                .run_until_cancelled(tokio::time::sleep(PAUSE))
                .await
                .is_none()
            {
                break None;
            }
        };
        let Some(lost) = lost else {
            tracing::error!(
                outcomes = outcomes.len(),
                "stopped before the outcomes could be recorded; those events go again"
            );
            continue;
        };
        shared.beat.touch();
        for ((finished, outcome), wait) in batch.into_iter().zip(outcomes).zip(waits) {
            if lost.contains(&(outcome.event_id, outcome.attempt)) {
                counter!("bday_leases_lost_total").increment(1);
                tracing::warn!(event_id = %outcome.event_id, attempt = outcome.attempt, "the lease was lost before the outcome was recorded");
                continue;
            }
            note(&shared, &finished, &outcome, wait);
            if disposals
                .send(disposal(&shared, finished, &outcome, wait))
                .await
                .is_err()
            {
                anyhow::bail!("nobody acks any more");
            }
        }
    }
    Ok(())
}

/// The one place where an outcome becomes the event's fate.
fn decide(shared: &Shared, finished: &Finished, now: DateTime<Utc>) -> Decision {
    let Finished {
        lease,
        message,
        sent,
        started_at,
        finished_at,
        ..
    } = finished;
    let reason = sent.reason.unwrap_or(Reason::Status);
    let (next, wait) = match sent.verdict {
        Verdict::Done => (NextStep::Delivered, None),
        Verdict::GiveUp => (NextStep::Dead(reason), None),
        // The queue counts: there is no receive after this one. But a request that our own stop broke off says nothing of
        // the receiver, which may have accepted it: its message is replaced.
        Verdict::Retry(_) if reason != Reason::Shutdown && shared.is_last(message) => {
            (NextStep::Dead(reason), None)
        }
        Verdict::Retry(asked) => {
            let wait = if reason == Reason::Shutdown {
                Duration::ZERO
            } else {
                backoff::wait(
                    &shared.options.schedule,
                    message.receive_count,
                    asked,
                    fastrand::f64(),
                )
            };
            (
                NextStep::Retry(now + wait + shared.options.lost_after),
                Some(wait),
            )
        }
    };
    let outcome = Outcome {
        event_id: lease.event_id,
        attempt: lease.attempt,
        outcome: sent.outcome,
        status: sent.status,
        reason: sent.reason,
        error: sent.error.clone(),
        response: sent.response.clone(),
        started_at: *started_at,
        finished_at: *finished_at,
        next,
    };
    Decision { outcome, wait }
}

fn disposal(shared: &Shared, finished: Finished, outcome: &Outcome, wait: Option<Duration>) -> Disposal {
    let Finished {
        message, sent, hold, ..
    } = finished;
    // First of all: a heartbeat must not put the message off once more.
    drop(hold);
    match outcome.next {
        NextStep::Delivered => Disposal::Ack(message.receipt),
        // After its last receive the queue itself moves the message, as soon as it is visible again.
        NextStep::Dead(_) if sent.verdict != Verdict::GiveUp => {
            Disposal::Hide(message.receipt, Duration::ZERO)
        }
        NextStep::Dead(reason) => Disposal::Bury(message, reason.as_str().to_owned()),
        NextStep::Retry(_) if shared.is_last(&message) => Disposal::Replace(outcome.event_id, message),
        NextStep::Retry(_) => Disposal::Hide(message.receipt, wait.unwrap_or_default()),
    }
}

/// Metrics, and a line for each attempt that failed. No names, no bodies.
fn note(shared: &Shared, finished: &Finished, outcome: &Outcome, wait: Option<Duration>) {
    let lease = &finished.lease;
    if outcome.outcome == AttemptOutcome::Delivered {
        let sendable_at = shared.last_pause.delays(lease.sendable_at);
        let lateness = (outcome.finished_at - sendable_at).to_std().unwrap_or_default();
        counter!("bday_events_delivered_total", "kind" => lease.kind.clone()).increment(1);
        histogram!("bday_lateness_seconds").record(lateness.as_secs_f64());
        shared.report.delivered(lateness);
        return;
    }
    let reason = outcome.reason.map_or("status", Reason::as_str);
    counter!("bday_attempts_failed_total", "reason" => reason).increment(1);
    shared.report.failed();
    tracing::warn!(
        event_id = %outcome.event_id,
        user_id = %lease.user_id,
        attempt = outcome.attempt,
        receive_count = finished.message.receive_count,
        outcome = outcome.outcome.as_str(),
        reason,
        status = outcome.status,
        error = outcome.error,
        retry_in_secs = wait.map(|wait| wait.as_secs()),
        "attempt failed"
    );
    if let NextStep::Dead(reason) = outcome.next {
        counter!("bday_events_dead_total", "reason" => reason.as_str()).increment(1);
        shared.report.dead();
        tracing::warn!(event_id = %outcome.event_id, user_id = %lease.user_id, %reason, "event dead");
    }
}
