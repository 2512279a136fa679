//! A received message until each of its events is settled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::model::SpanContext;
use crate::pipeline::queue::{Message, Receipt};

/// A received message, until each of its events is settled. The methods that settle an event return the pack with its last one.
#[derive(Debug)]
pub(super) struct ReceivedPack {
    pub(super) message: Message,
    pub(super) receipt: Receipt,
    /// The span of the claim.
    pub(super) claim: Option<SpanContext>,
    pub(super) received_at: Instant,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    settled: usize,
    deferred: Vec<Uuid>,
    defer_for: Duration,
    abandoned: bool,
}

impl ReceivedPack {
    pub(super) fn new(
        message: Message,
        receipt: Receipt,
        claim: Option<SpanContext>,
        received_at: Instant,
    ) -> Arc<Self> {
        Arc::new(Self { message, receipt, claim, received_at, progress: Mutex::default() })
    }

    /// Settles an event that was leased, or that needs no work.
    pub(super) fn complete(self: &Arc<Self>) -> Option<Arc<Self>> {
        self.settle(|_| {})
    }

    /// Settles an event that is to be received again after `wait`.
    pub(super) fn defer(self: &Arc<Self>, event: Uuid, wait: Duration) -> Option<Arc<Self>> {
        self.settle(|progress| {
            progress.deferred.push(event);
            progress.defer_for = progress.defer_for.max(wait);
        })
    }

    /// Settles an event of unknown state: the message stays in the queue, and is received again.
    pub(super) fn abandon(self: &Arc<Self>) -> Option<Arc<Self>> {
        self.settle(|progress| progress.abandoned = true)
    }

    pub(super) fn take_deferred(&self) -> (Vec<Uuid>, Duration) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut progress.deferred), progress.defer_for)
    }

    fn settle(self: &Arc<Self>, change: impl FnOnce(&mut Progress)) -> Option<Arc<Self>> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut progress);
        progress.settled += 1;
        let last = progress.settled == self.message.event_ids.len();
        (last && !progress.abandoned).then(|| Arc::clone(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn pack(events: usize) -> Arc<ReceivedPack> {
        let message = Message { pack: Some(7), event_ids: vec![Uuid::nil(); events] };
        ReceivedPack::new(message, Receipt("r".to_owned()), None, SystemClock.monotonic())
    }

    #[test]
    fn a_pack_is_settled_with_its_last_event() {
        let (pack, wait) = (pack(3), Duration::from_secs(5));
        assert!(pack.complete().is_none());
        assert!(pack.defer(Uuid::from_u128(2), wait).is_none());
        let settled = pack.complete().expect("this was the last event");
        assert_eq!(settled.take_deferred(), (vec![Uuid::from_u128(2)], wait));
    }

    #[test]
    fn a_pack_with_an_event_of_unknown_state_is_not_settled() {
        let pack = pack(2);
        assert!(pack.abandon().is_none());
        assert!(pack.complete().is_none());
    }
}
