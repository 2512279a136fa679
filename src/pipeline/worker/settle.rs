//! Settle: packs whose events are all leased leave the outbox and the queue; events that could not be leased stay in the outbox.

use std::sync::Arc;

use super::received_pack::ReceivedPack;
use super::{BatchReceiver, Shared};
use crate::pipeline::queue::Receipt;
use crate::store::{DeferredPack, Pack, Result, chain};

pub(super) async fn run(
    shared: Arc<Shared>,
    settled: BatchReceiver<Arc<ReceivedPack>>,
) -> anyhow::Result<()> {
    while let Some(batch) = settled.next().await {
        settle(&shared, batch).await;
    }
    Ok(())
}

async fn settle(shared: &Shared, batch: Vec<Arc<ReceivedPack>>) {
    let now = shared.clock.now();
    let receipts: Vec<Receipt> = batch.iter().map(|received| received.receipt.clone()).collect();
    let (mut done, mut deferred) = (Vec::with_capacity(batch.len()), Vec::new());
    for received in batch {
        // A message without a pack was sent by hand. Its events that are still queued are in a pack of their own.
        let Some(id) = received.message.pack else { continue };
        let pack = Pack { id, event_ids: received.message.event_ids.clone(), traceparent: None };
        let (queued, wait) = received.take_deferred();
        if queued.is_empty() {
            done.push(pack);
        } else {
            deferred.push(DeferredPack { pack, queued, available_at: now + wait });
        }
    }
    // A message must not be acked before its pack is deferred: no other message or row has those events.
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
        tracing::warn!(%error, "ack failed; the messages are received again");
    }
}

async fn delete(shared: &Shared, packs: &[Pack]) -> Result<()> {
    if packs.is_empty() { Ok(()) } else { shared.store.delete_packs(packs).await }
}
