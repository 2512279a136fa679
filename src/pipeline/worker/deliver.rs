//! Deliver: one attempt for each lease, through the channel.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::admission::Admission;
use super::{FinishedAttempt, Shared};
use crate::model::{AttemptOutcome, Lease, Reason};
use crate::pipeline::channel::{Disposition, Greeting, Recipient, SendResult};

/// The lease tasks and all requests hold it; the channel to the record stage closes when they have ended.
#[derive(Debug)]
pub(super) struct DeliverStage {
    pub(super) shared: Arc<Shared>,
    pub(super) finished: mpsc::Sender<FinishedAttempt>,
    pub(super) hard: CancellationToken,
}

impl DeliverStage {
    /// Makes one attempt. Its slot is free again as soon as the request has ended.
    pub(super) async fn deliver(self: Arc<Self>, lease_id: Uuid, lease: Lease, admission: Admission) {
        let shared = &self.shared;
        let started_at = shared.clock.now();
        gauge!("bday_in_flight").increment(1);
        let result = self.send(&lease).await;
        gauge!("bday_in_flight").decrement(1);
        let Admission { slot, permit } = admission;
        match result.reason {
            // These say nothing about the receiver.
            Some(Reason::Shutdown | Reason::Template) => drop(permit),
            _ => permit.record(result.disposition == Disposition::Delivered),
        }
        let finished_at = shared.clock.now();
        let attempt = FinishedAttempt { lease, lease_id, result, started_at, finished_at };
        // Where recording is behind, this waits and holds its slot, so that polling stops too.
        let _ = self.finished.send(attempt).await;
        drop(slot);
        shared.capacity.release(1);
    }

    async fn send(&self, lease: &Lease) -> SendResult {
        let message = match self.shared.messages.render(lease) {
            Ok(message) => message,
            Err(error) => {
                return SendResult::failed(
                    AttemptOutcome::Failed,
                    Disposition::Dead,
                    Reason::Template,
                    error,
                );
            }
        };
        let Lease { event_id, user_id, due_at, .. } = *lease;
        let recipient = lease.address.clone().zip(lease.address_hash.clone());
        let recipient = recipient.map(|(address, address_hash)| Recipient { address, address_hash });
        let greeting = Greeting { event_id, user_id, kind: lease.kind.clone(), due_at, message, recipient };
        let sent = self.hard.run_until_cancelled(self.shared.channel.send(&greeting)).await;
        sent.unwrap_or_else(cancelled)
    }
}

fn cancelled() -> SendResult {
    let error = "the process was stopped before a response arrived".to_owned();
    let retry = Disposition::Retry(Some(Duration::ZERO));
    SendResult::failed(AttemptOutcome::Unknown, retry, Reason::Shutdown, error)
}
