//! Settle: packs whose events are leased leave the outbox and the queue; what could not be leased stays in the outbox.

use std::sync::Arc;

use chrono::TimeDelta;

use super::buffer::Settled;
use super::{Batches, Shared};
use crate::pipeline::queue::Receipt;
use crate::store::{Deferred, Pack};
use crate::telemetry::chain;

pub(super) async fn run(shared: Arc<Shared>, settled: Batches<Settled>) -> anyhow::Result<()> {
    while let Some(batch) = settled.next().await {
        settle(&shared, batch).await;
    }
    Ok(())
}

async fn settle(shared: &Shared, batch: Vec<Settled>) {
    let now = shared.clock.now();
    let (mut done, mut deferred) = (Vec::with_capacity(batch.len()), Vec::new());
    let mut receipts: Vec<Receipt> = Vec::with_capacity(batch.len());
    for one in batch {
        let pack = one.pack.map(|id| Pack { id, event_ids: one.event_ids });
        match (pack, one.later.is_empty()) {
            (Some(pack), true) => done.push(pack),
            (Some(pack), false) => deferred.push(Deferred {
                pack,
                later: one.later,
                available_at: now + TimeDelta::from_std(one.later_by).unwrap_or_default(),
            }),
            // A message without a pack was put there by hand. What of it is still queued is in a pack of its own.
            (None, _) => {}
        }
        receipts.push(one.receipt);
    }
    let write = async {
        if !deferred.is_empty() {
            shared.store.defer_packs(&deferred).await?;
        }
        if !done.is_empty() {
            shared.store.delete_packs(&done).await?;
        }
        Ok::<_, crate::store::StoreError>(())
    };
    // A message must not go before its pack is deferred: nothing would lead to those events.
    if deferred.is_empty() {
        let (written, acked) = tokio::join!(write, shared.queue.ack(&receipts));
        if let Err(error) = written {
            tracing::warn!(
                error = chain(&error),
                packs = done.len(),
                "packs not deleted; they are sent again"
            );
        }
        warn_of(acked);
        return;
    }
    match write.await {
        Ok(()) => warn_of(shared.queue.ack(&receipts).await),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                packs = deferred.len(),
                "packs not deferred; they are received again"
            );
        }
    }
}

fn warn_of(acked: crate::pipeline::queue::Result<()>) {
    if let Err(error) = acked {
        tracing::warn!(%error, "ack failed; the messages are received again and find their events leased");
    }
}
