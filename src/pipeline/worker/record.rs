//! Record: a batch of outcomes in one statement, fenced by lease and attempt.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, histogram};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AttemptResult, BatchReceiver, FinishedAttempt, Shared, backoff};
use crate::model::{ContactStatus, Lease, Reason};
use crate::pipeline::channel::{Disposition, SendResult};
use crate::store::{
    EndedAttempt, FailedAttempt, PostponedEvent, RecordResult, RefusedContact, Result, chain,
};

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
        if attempts.is_empty() {
            continue;
        }
        let outcomes = Outcomes::of(shared, &attempts, now);
        if let Some(recorded) = record_with_retries(shared, hard, &outcomes).await {
            locked.append(&mut finish(shared, attempts, &outcomes, &recorded, now));
        }
    }
    locked
}

/// Splits a batch into the parts that one statement each records.
fn by_outcome(batch: Vec<FinishedAttempt>) -> [Vec<FinishedAttempt>; 4] {
    let mut parts = [const { Vec::new() }; 4];
    for attempt in batch {
        let part = match &attempt.result {
            AttemptResult::Sent(result) => match result.disposition {
                Disposition::Delivered => 0,
                Disposition::Unreachable(_) => 2,
                Disposition::Retry(_) | Disposition::Defer(_) | Disposition::Dead => 1,
            },
            AttemptResult::Postponed(_) => 3,
        };
        parts[part].push(attempt);
    }
    parts
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
    for (at, attempt) in batch.into_iter().enumerate() {
        let event_id = attempt.lease.event_id;
        if recorded.result.locked.contains(&event_id) {
            locked.push(attempt);
            continue;
        }
        leases.push(attempt.lease_id);
        if recorded.result.events.contains(&event_id) {
            report(shared, &attempt, outcomes, at, recorded, now);
        } else {
            counter!("bday_leases_lost_total").increment(1);
            tracing::warn!(%event_id, attempt = attempt.lease.attempt, "lease lost before the outcome was recorded");
        }
    }
    shared.held_leases.recorded(leases.into_iter());
    locked
}

enum Outcomes {
    Delivered(Vec<EndedAttempt>),
    Failed(Vec<FailedAttempt>),
    Refused(Vec<RefusedContact>),
    Postponed(Vec<PostponedEvent>),
}

#[derive(Default)]
struct Recorded {
    result: RecordResult,
    /// Events whose contact was refused and that no other channel reaches.
    dead: HashSet<Uuid>,
}

impl Outcomes {
    /// Returns the outcomes of one part of [`by_outcome`].
    fn of(shared: &Shared, attempts: &[FinishedAttempt], now: DateTime<Utc>) -> Self {
        let sent = || attempts.iter().filter_map(|attempt| Some((attempt, attempt.sent()?)));
        match &attempts[0].result {
            AttemptResult::Postponed(_) => {
                Self::Postponed(attempts.iter().filter_map(|attempt| postponed_event(attempt, now)).collect())
            }
            AttemptResult::Sent(result) => match result.disposition {
                Disposition::Delivered => {
                    Self::Delivered(sent().map(|(attempt, result)| ended_attempt(attempt, result)).collect())
                }
                Disposition::Unreachable(_) => {
                    Self::Refused(sent().map(|(attempt, result)| refused(shared, attempt, result)).collect())
                }
                _ => Self::Failed(
                    sent().map(|(attempt, result)| failed_attempt(shared, attempt, result, now)).collect(),
                ),
            },
        }
    }

    async fn write(&self, shared: &Shared, finished: &[Uuid]) -> Result<Recorded> {
        let store = &shared.store;
        let result = match self {
            Self::Delivered(deliveries) => store.record_deliveries(deliveries, finished).await?,
            Self::Failed(failures) => store.record_failures(failures, finished).await?,
            Self::Postponed(postponed) => store.postpone(postponed, finished).await?,
            Self::Refused(refused) => {
                let routes = shared.routes.as_ref();
                let (result, dead) = store.record_refused_contacts(refused, routes, finished).await?;
                return Ok(Recorded { result, dead });
            }
        };
        Ok(Recorded { result, ..Recorded::default() })
    }
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

impl FinishedAttempt {
    fn sent(&self) -> Option<&SendResult> {
        match &self.result {
            AttemptResult::Sent(result) => Some(result),
            AttemptResult::Postponed(_) => None,
        }
    }
}

fn ended_attempt(attempt: &FinishedAttempt, result: &SendResult) -> EndedAttempt {
    EndedAttempt {
        event_id: attempt.lease.event_id,
        lease_id: attempt.lease_id,
        attempt: attempt.lease.attempt,
        channel: attempt.lease.channel,
        status: result.status,
        provider_id: result.provider_id.clone(),
        started_at: attempt.started_at,
        finished_at: attempt.finished_at,
    }
}

fn failed_attempt(
    shared: &Shared,
    attempt: &FinishedAttempt,
    result: &SendResult,
    now: DateTime<Utc>,
) -> FailedAttempt {
    let reason = result.reason.unwrap_or(Reason::Status);
    let attempts = attempts_made(attempt);
    let retry_after =
        |after| now + backoff::delay(&shared.options.schedule, attempts, after, fastrand::f64());
    let retry_at = match result.disposition {
        // A request that this process cancelled says nothing about the receiver, so it is never the last.
        Disposition::Retry(_) if reason == Reason::Shutdown => Some(now),
        Disposition::Retry(after) if attempts < shared.options.max_attempts => Some(retry_after(after)),
        Disposition::Defer(after) => Some(retry_after(after)),
        _ => None,
    };
    FailedAttempt {
        ended: ended_attempt(attempt, result),
        outcome: result.outcome,
        reason,
        error: result.error.clone(),
        response: result.response.clone(),
        retry_at,
        counts: !matches!(result.disposition, Disposition::Defer(_)),
    }
}

fn refused(shared: &Shared, attempt: &FinishedAttempt, result: &SendResult) -> RefusedContact {
    let status = match result.disposition {
        Disposition::Unreachable(status) => status,
        _ => ContactStatus::Bounced,
    };
    RefusedContact {
        ended: ended_attempt(attempt, result),
        status,
        address_hash: attempt.lease.address_hash.clone().unwrap_or_default(),
        reason: result.reason.unwrap_or(Reason::Bounced),
        error: result.error.clone(),
        response: result.response.clone(),
        last: attempts_made(attempt) >= shared.options.max_attempts,
    }
}

fn postponed_event(attempt: &FinishedAttempt, now: DateTime<Utc>) -> Option<PostponedEvent> {
    let AttemptResult::Postponed(wait) = attempt.result else { return None };
    let FinishedAttempt { lease, lease_id, .. } = attempt;
    Some(PostponedEvent {
        event_id: lease.event_id,
        lease_id: *lease_id,
        attempt: lease.attempt,
        until: now + wait,
    })
}

fn attempts_made(attempt: &FinishedAttempt) -> u32 {
    u32::try_from(attempt.lease.attempts_since_redrive).unwrap_or(0)
}

/// Reports the recorded attempt at position `at` of `outcomes`.
fn report(
    shared: &Shared,
    attempt: &FinishedAttempt,
    outcomes: &Outcomes,
    at: usize,
    recorded: &Recorded,
    now: DateTime<Utc>,
) {
    let channel = attempt.lease.channel.as_str();
    match outcomes {
        Outcomes::Delivered(_) => report_delivery(shared, attempt),
        Outcomes::Postponed(_) => {
            counter!("bday_events_postponed_total", "channel" => channel).increment(1);
        }
        Outcomes::Failed(failures) => {
            let retry_in = failures[at].retry_at.map(|retry_at| retry_at - now);
            report_failure(shared, attempt, failures[at].reason, retry_in);
        }
        Outcomes::Refused(refused) => {
            let dead = recorded.dead.contains(&attempt.lease.event_id);
            counter!("bday_contacts_refused_total", "channel" => channel).increment(1);
            report_failure(shared, attempt, refused[at].reason, (!dead).then(TimeDelta::zero));
        }
    }
}

fn report_delivery(shared: &Shared, attempt: &FinishedAttempt) {
    let lease = &attempt.lease;
    let sendable_at = shared.lease_gate.sendable_at(lease.late_from);
    let lateness = (attempt.finished_at - sendable_at).to_std().unwrap_or_default();
    let (kind, channel) = (lease.kind.clone(), lease.channel.as_str());
    counter!("bday_events_delivered_total", "kind" => kind, "channel" => channel).increment(1);
    histogram!("bday_lateness_seconds").record(lateness.as_secs_f64());
    shared.delivery_stats.delivered(lateness);
}

/// The event is dead if it is not retried. The log lines hold no names, addresses and bodies.
fn report_failure(shared: &Shared, attempt: &FinishedAttempt, reason: Reason, retry_in: Option<TimeDelta>) {
    let Some(result) = attempt.sent() else { return };
    let Lease { event_id, user_id, channel, attempt: number, .. } = &attempt.lease;
    counter!("bday_attempts_failed_total", "reason" => reason.as_str(), "channel" => channel.as_str())
        .increment(1);
    tracing::warn!(
        %event_id,
        %user_id,
        %channel,
        attempt = number,
        outcome = result.outcome.as_str(),
        %reason,
        status = result.status,
        error = result.error,
        retry_in_secs = retry_in.map(|wait| wait.num_seconds()),
        "attempt failed"
    );
    let dead = retry_in.is_none();
    shared.delivery_stats.failed(dead);
    if dead {
        counter!("bday_events_dead_total", "reason" => reason.as_str()).increment(1);
        tracing::warn!(%event_id, %user_id, %reason, "event dead");
    }
}
