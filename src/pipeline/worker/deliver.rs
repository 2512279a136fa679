//! Deliver: one attempt for each lease, through the channel.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::admission::Admission;
use super::channels::{ChannelPermit, WorkerChannel};
use super::{AttemptResult, FinishedAttempt, LeasedEvent, RunUntil, Shared, spans};
use crate::model::{AttemptOutcome, ChannelName, Lease, Reason, SpanContext};
use crate::pipeline::channel::{Disposition, Greeting, OnUnknown, Recipient, SendResult};
use crate::pipeline::trace::child_of;
use crate::store::{StoreError, chain};

/// The lease tasks and all requests hold it; the channel to the record stage closes when they have ended.
#[derive(Debug)]
pub(super) struct DeliverStage {
    pub(super) shared: Arc<Shared>,
    pub(super) run_until: RunUntil,
    pub(super) finished: mpsc::Sender<FinishedAttempt>,
    pub(super) hard: CancellationToken,
}

impl DeliverStage {
    /// Makes one attempt. Its slot is free again as soon as the request has ended.
    pub(super) async fn deliver(
        self: Arc<Self>,
        lease_id: Uuid,
        LeasedEvent { lease, span }: LeasedEvent,
        admission: Admission,
    ) {
        let shared = &self.shared;
        let Admission { slot, permit } = admission;
        let (started_at, result) = match self.admit(&lease, permit).await {
            Ok((channel, permit)) => {
                let started_at = shared.clock.now();
                let request = span.map(child_of);
                let result = self.attempt(&lease, channel, permit, request).await;
                if let Some((parent, request)) = span.zip(request) {
                    let times = (started_at, shared.clock.now());
                    spans::deliver(shared, &lease, parent, request, times, &result);
                }
                (started_at, AttemptResult::Sent(result))
            }
            Err(wait) => (shared.clock.now(), AttemptResult::Postponed(wait)),
        };
        let finished_at = shared.clock.now();
        // Where recording is behind, this waits and holds its slot, so that polling stops too.
        if let Ok(recording) = self.finished.reserve().await {
            recording.send(FinishedAttempt { lease, span, lease_id, result, started_at, finished_at });
        }
        drop(slot);
        shared.capacity.release(1);
    }

    /// The error is how long to postpone the event.
    async fn admit(
        &self,
        lease: &Lease,
        permit: Option<ChannelPermit>,
    ) -> Result<(&WorkerChannel, ChannelPermit), Duration> {
        // The lease statement leases events of the channels of this worker only.
        let channel = self.shared.channels.get(lease.channel).ok_or(Duration::from_secs(1))?;
        if let Some(permit) = permit.or_else(|| self.permit_at_once(channel)) {
            return Ok((channel, permit));
        }
        let admitted = self.hard.run_until_cancelled(Box::pin(channel.admit())).await;
        Ok((channel, admitted.unwrap_or(Err(Duration::ZERO))?))
    }

    fn permit_at_once(&self, channel: &WorkerChannel) -> Option<ChannelPermit> {
        (self.run_until == RunUntil::QueueEmpty).then(|| channel.admit_always())
    }

    async fn attempt(
        &self,
        lease: &Lease,
        channel: &WorkerChannel,
        permit: ChannelPermit,
        span: Option<SpanContext>,
    ) -> SendResult {
        self.shared.in_flight.increment(1);
        let mut result = self.send(lease, channel, span).await;
        self.shared.in_flight.decrement(1);
        match (result.disposition, result.reason) {
            // These say nothing about the receiver.
            (_, Some(Reason::Shutdown | Reason::Template)) => drop(permit),
            // An answer about this person or this message: the channel works.
            (Disposition::Unreachable(_), _) | (_, Some(Reason::Rejected)) => permit.record(true),
            (disposition, _) => permit.record(disposition == Disposition::Delivered),
        }
        let retried = matches!(result.disposition, Disposition::Retry(_));
        if retried && result.outcome == AttemptOutcome::Unknown && channel.on_unknown == OnUnknown::GiveUp {
            result.disposition = Disposition::Dead;
        }
        result
    }

    async fn send(&self, lease: &Lease, channel: &WorkerChannel, span: Option<SpanContext>) -> SendResult {
        let unsubscribe_url = match self.unsubscribe_url(lease).await {
            Ok(url) => url,
            Err(error) => {
                let text = format!("no link to unsubscribe: {}", chain(&error));
                let defer = Disposition::Defer(None);
                return SendResult::failed(AttemptOutcome::Failed, defer, Reason::ChannelDown, text);
            }
        };
        let message = match self.shared.messages.render(lease, unsubscribe_url.as_deref().unwrap_or_default())
        {
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
        let greeting = Greeting { event_id, user_id, due_at, message, recipient, unsubscribe_url, span };
        let sent = self.hard.run_until_cancelled(channel.channel.send(&greeting)).await;
        sent.unwrap_or_else(cancelled)
    }

    /// Returns the link to unsubscribe of a mail, if there is one.
    async fn unsubscribe_url(&self, lease: &Lease) -> Result<Option<String>, StoreError> {
        match (&self.shared.options.unsubscribe, &lease.address_hash) {
            (Some(links), Some(hash)) if lease.channel == ChannelName::Mail => {
                // Boxed: every task would have room for this statement, and be three times as large.
                Box::pin(links.link(hash)).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn cancelled() -> SendResult {
    let error = "the process was stopped before a response arrived".to_owned();
    let retry = Disposition::Retry(Some(Duration::ZERO));
    SendResult::failed(AttemptOutcome::Unknown, retry, Reason::Shutdown, error)
}
