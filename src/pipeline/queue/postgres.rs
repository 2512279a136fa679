//! The queue in PostgreSQL, for installations without AWS: workers take packs from the outbox, and dead letters stay there.
//!
//! A waiting poll holds no connection. It receives packs claimed by this process at once, others within [`POLL_INTERVAL`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{
    DeadLetter, DeadMessage, Depth, Message, Pack, Queue, QueueError, Receipt, Received, Result, encode,
};
use crate::clock::SharedClock;
use crate::store::{Store, StoreError, chain};

const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub struct PostgresQueue {
    store: Store,
    clock: SharedClock,
    visibility: Duration,
    claimed: Arc<Notify>,
}

impl PostgresQueue {
    /// Received packs are hidden from other workers for `visibility`.
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, visibility: Duration) -> Self {
        Self { store, clock, visibility, claimed: Arc::default() }
    }
}

impl From<StoreError> for QueueError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(chain(&error))
    }
}

#[async_trait]
impl Queue for PostgresQueue {
    async fn create(&self) -> Result<()> {
        Ok(())
    }

    fn is_outbox(&self) -> bool {
        true
    }

    async fn send(&self, _: &[Pack]) -> Result<Vec<i64>> {
        self.claimed.notify_waiters();
        Ok(Vec::new())
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>> {
        // A timer, not a number of reads: a read of a slow database takes long.
        let mut timeout = std::pin::pin!(tokio::time::sleep(wait));
        loop {
            let claimed = self.claimed.notified();
            let now = self.clock.now();
            let packs = self.store.take_packs(now, now + self.visibility, max).await?;
            if !packs.is_empty() || wait.is_zero() {
                let received = packs.into_iter().map(|pack| Received {
                    receipt: Receipt(pack.id.to_string()),
                    claim: pack.claim(),
                    message: Ok(Message { pack: Some(pack.id), event_ids: pack.event_ids }),
                });
                return Ok(received.collect());
            }
            tokio::select! {
                biased;
                () = &mut timeout => return Ok(Vec::new()),
                _ = tokio::time::timeout(POLL_INTERVAL, claimed) => {}
            }
        }
    }

    /// Nothing to do: the worker that leases the events deletes the pack.
    async fn ack(&self, _: &[Receipt]) -> Result<()> {
        Ok(())
    }

    async fn send_dead_letters(&self, _: &[DeadLetter]) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }

    /// Hides no message: only operators read dead letters.
    async fn dead_letters(
        &self,
        after: Option<&DeadMessage>,
        max: usize,
        _: Duration,
    ) -> Result<Vec<DeadMessage>> {
        let after = after.and_then(|message| message.id.parse().ok()).unwrap_or(0);
        let rows = self.store.kept_dead_letters(after, max).await?;
        let message = |row: crate::store::DeadLetterRow| DeadMessage {
            receipt: Receipt(row.id.to_string()),
            id: row.id.to_string(),
            body: encode(&Message { pack: None, event_ids: vec![row.event_id] }),
            reason: Some(row.reason),
        };
        Ok(rows.into_iter().map(message).collect())
    }

    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64> {
        let ids: Vec<i64> = receipts.iter().filter_map(|receipt| receipt.0.parse().ok()).collect();
        Ok(self.store.delete_outbox(&ids).await?)
    }

    async fn depth(&self) -> Result<Depth> {
        let depth = self.store.outbox_depth(self.clock.now()).await?;
        Ok(Depth {
            visible: depth.available.unsigned_abs(),
            in_flight: depth.taken.unsigned_abs(),
            dead_letters: depth.dead_letters.unsigned_abs(),
        })
    }
}
