//! Settle: packs whose events are leased leave the outbox and the queue; events that could not be leased stay in the outbox.

use std::sync::Arc;

use super::buffer::Settled;
use super::{Batches, Shared};
use crate::pipeline::queue::Receipt;
use crate::store::chain;
use crate::store::{DeferredPack, Pack, Result};

pub(super) async fn run(shared: Arc<Shared>, settled: Batches<Settled>) -> anyhow::Result<()> {
    while let Some(batch) = settled.next().await {
        settle(&shared, batch).await;
    }
    Ok(())
}

async fn settle(shared: &Shared, batch: Vec<Settled>) {
    let now = shared.clock.now();
    let receipts: Vec<Receipt> = batch.iter().map(|one| one.receipt.clone()).collect();
    let (mut done, mut deferred) = (Vec::with_capacity(batch.len()), Vec::new());
    for one in batch {
        // A message without a pack was sent by hand. Its events that are still queued are in a pack of their own.
        let Some(id) = one.message.pack else { continue };
        let pack = Pack { id, event_ids: one.message.event_ids.clone() };
        let (queued, wait) = one.take_later();
        if queued.is_empty() {
            done.push(pack);
        } else {
            deferred.push(DeferredPack { pack, queued, available_at: now + wait });
        }
    }
    // A message must not be acked before its pack is deferred: nothing would lead to those events.
    if !deferred.is_empty()
        && let Err(error) = shared.store.defer_packs(&deferred).await
    {
        let packs = deferred.len();
        return tracing::warn!(error = chain(&error), packs, "packs not deferred; they are received again");
    }
    let (deleted, acked) = tokio::join!(delete(shared, &done), shared.queue.ack(&receipts));
    if let Err(error) = deleted {
        tracing::warn!(error = chain(&error), packs = done.len(), "packs not deleted; they are sent again");
    }
    if let Err(error) = acked {
        tracing::warn!(%error, "ack failed; the messages are received again and find their events leased");
    }
}

async fn delete(shared: &Shared, packs: &[Pack]) -> Result<()> {
    if packs.is_empty() { Ok(()) } else { shared.store.delete_packs(packs).await }
}
