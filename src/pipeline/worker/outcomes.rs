//! The outcomes of a batch of attempts, as the store records them.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{AttemptResult, FinishedAttempt, Shared, backoff};
use crate::model::{ContactStatus, Reason};
use crate::pipeline::channel::{Disposition, SendResult};
use crate::store::{EndedAttempt, FailedAttempt, PostponedEvent, RecordResult, RefusedContact, Result};

pub(super) enum Outcomes {
    Delivered(Vec<EndedAttempt>),
    Failed(Vec<FailedAttempt>),
    Refused(Vec<RefusedContact>),
    Postponed(Vec<PostponedEvent>),
}

#[derive(Default)]
pub(super) struct Recorded {
    pub(super) result: RecordResult,
    /// Events whose contact was refused and that no other channel reaches.
    pub(super) dead: HashSet<Uuid>,
}

impl Outcomes {
    /// Returns the outcomes of one part of [`by_outcome`].
    pub(super) fn of(shared: &Shared, attempts: &[FinishedAttempt], now: DateTime<Utc>) -> Self {
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

    pub(super) async fn write(&self, shared: &Shared, finished: &[Uuid]) -> Result<Recorded> {
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

/// Splits a batch into the parts that one statement each records. A batch with one outcome, as most are, stays as it is.
pub(super) fn by_outcome(mut batch: Vec<FinishedAttempt>) -> Vec<Vec<FinishedAttempt>> {
    batch.sort_by_key(part);
    let mut parts = Vec::new();
    while let Some(first) = batch.first() {
        let first = part(first);
        let end = batch.partition_point(|attempt| part(attempt) <= first);
        let rest = batch.split_off(end);
        parts.push(std::mem::replace(&mut batch, rest));
    }
    parts
}

fn part(attempt: &FinishedAttempt) -> u8 {
    match &attempt.result {
        AttemptResult::Sent(result) => match result.disposition {
            Disposition::Delivered => 0,
            Disposition::Retry(_) | Disposition::Defer(_) | Disposition::Dead => 1,
            Disposition::Unreachable(_) => 2,
        },
        AttemptResult::Postponed(_) => 3,
    }
}

impl FinishedAttempt {
    pub(super) fn sent(&self) -> Option<&SendResult> {
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
        trace_id: attempt.span.map(|span| span.trace_id),
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
