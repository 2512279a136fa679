//! Ack: what was recorded leaves the queue, waits there, or becomes a dead letter.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::bury::bury;
use super::give_back::replace;
use super::{Batches, Disposal, Shared};

/// Batches whose dead letters are under way at once, in each lane.
const BURIALS: usize = 4;

pub(super) async fn run(shared: Arc<Shared>, disposals: Batches<Disposal>) -> anyhow::Result<()> {
    // Beside the acks: what a slow dead-letter queue holds up would show again, and be received once more.
    let mut burials = JoinSet::new();
    while let Some(batch) = disposals.next().await {
        let (mut acks, mut hides) = (Vec::with_capacity(batch.len()), Vec::new());
        let (mut last, mut buried) = (Vec::new(), Vec::new());
        for disposal in batch {
            match disposal {
                Disposal::Ack(receipt) => acks.push(receipt),
                Disposal::Hide(receipt, wait) => hides.push((receipt, wait)),
                Disposal::Replace(event_id, message) => last.push((event_id, message)),
                Disposal::Bury(message, reason) => buried.push((message, reason)),
            }
        }
        // Whatever fails here costs a receive, not a greeting: the event's state decides what a message means.
        let ack = async {
            if !acks.is_empty()
                && let Err(error) = shared.queue.ack(&acks).await
            {
                tracing::warn!(%error, messages = acks.len(), "messages cannot be acked; they come again and are dropped");
            }
        };
        let hide = async {
            if !hides.is_empty()
                && let Err(error) = shared.queue.hide(&hides).await
            {
                tracing::warn!(%error, messages = hides.len(), "messages cannot be put off; they come when their visibility ends");
            }
        };
        let replace = async {
            if !last.is_empty() {
                replace(&shared, last).await;
            }
        };
        tokio::join!(ack, hide, replace);
        if !buried.is_empty() {
            let shared = Arc::clone(&shared);
            burials.spawn(async move { bury(&shared, buried).await });
        }
        while let Some(ended) = burials.try_join_next() {
            ended?;
        }
        while burials.len() >= BURIALS
            && let Some(ended) = burials.join_next().await
        {
            ended?;
        }
    }
    while let Some(ended) = burials.join_next().await {
        ended?;
    }
    Ok(())
}
