//! Reports recorded attempts: metrics, statistics and log lines. They hold no names, addresses and bodies.

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, histogram};

use super::outcomes::{Outcomes, Recorded};
use super::{FinishedAttempt, Shared};
use crate::model::{Lease, Reason};

/// Reports the recorded attempt at position `at` of `outcomes`.
pub(super) fn report(
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

/// The event is dead if it is not retried.
fn report_failure(shared: &Shared, attempt: &FinishedAttempt, reason: Reason, retry_in: Option<TimeDelta>) {
    let Some(result) = attempt.sent() else { return };
    let Lease { event_id, user_id, channel, attempt: number, .. } = &*attempt.lease;
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
        trace_id = attempt.span.map(|span| tracing::field::display(span.trace_id)),
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
