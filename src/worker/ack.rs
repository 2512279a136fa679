//! Ack: what was recorded leaves the queue, waits there, or becomes a dead letter.

use std::sync::Arc;

use super::give_back::replace;
use super::{Batches, Disposal, Shared};

pub(super) async fn run(shared: Arc<Shared>, disposals: Batches<Disposal>) -> anyhow::Result<()> {
    while let Some(batch) = disposals.next().await {
        let (mut acks, mut hides) = (Vec::with_capacity(batch.len()), Vec::new());
        let mut last = Vec::new();
        for disposal in batch {
            match disposal {
                Disposal::Ack(receipt) => acks.push(receipt),
                Disposal::Hide(receipt, wait) => hides.push((receipt, wait)),
                Disposal::Replace(event_id, message) => last.push((event_id, message)),
                Disposal::Bury(message, reason) => {
                    if let Err(error) = shared.queue.dead_letter(&message, &reason).await {
                        tracing::warn!(%error, "a message cannot be moved to the dead-letter queue; it is dropped when it comes again");
                    }
                }
            }
        }
        // Whatever fails here costs a receive, not a greeting: the event's state decides what a message means.
        if !acks.is_empty()
            && let Err(error) = shared.queue.ack(&acks).await
        {
            tracing::warn!(%error, messages = acks.len(), "messages cannot be acked; they come again and are dropped");
        }
        if !hides.is_empty()
            && let Err(error) = shared.queue.hide(&hides).await
        {
            tracing::warn!(%error, messages = hides.len(), "messages cannot be put off; they come when their visibility ends");
        }
        if !last.is_empty() {
            replace(&shared, last).await;
        }
    }
    Ok(())
}
