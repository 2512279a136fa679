//! Give back: messages that were received, and that this process does not work on after all.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::{Job, Shared};
use crate::pipeline::queue::Received;

/// Gives messages back that nobody worked on: each is visible again after `wait`.
///
/// One at its last receive is replaced by a new one. Visible again it would be a dead letter, which rings the alarm, while
/// its event waits as `queued` until the sweeper misses it. The new message has all its receives before it, so its event
/// may have more attempts than there are receives: better than one too few. Where it cannot be sent, the old one stays hidden
/// until its visibility ends, and the sweeper it is.
pub(super) async fn give_back(shared: &Shared, jobs: Vec<Job>, wait: Duration) {
    // Places and holds end here: a heartbeat must not put a message off once more.
    let (last, others): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .map(|job| (job.event_id, job.message))
        .partition(|(_, message)| shared.is_last(message));
    if !last.is_empty() {
        replace(shared, last).await;
    }
    if others.is_empty() {
        return;
    }
    let receipts: Vec<_> = others
        .into_iter()
        .map(|(_, message)| (message.receipt, wait))
        .collect();
    if let Err(error) = shared.queue.hide(&receipts).await {
        tracing::warn!(%error, "messages cannot be given back; they come again when their visibility ends");
    }
}

/// First the new, then the old: whatever happens in between leaves one too many, which the lease makes harmless.
pub(super) async fn replace(shared: &Shared, messages: Vec<(Uuid, Received)>) {
    let events: HashSet<Uuid> = messages.iter().map(|(event_id, _)| *event_id).collect();
    let events: Vec<Uuid> = events.into_iter().collect();
    let sent: HashSet<Uuid> = match shared.queue.send(&events).await {
        Ok(sent) => sent.into_iter().collect(),
        Err(error) => {
            let messages = messages.len();
            tracing::warn!(%error, messages, "messages at their last receive cannot be replaced; their events wait for the sweeper");
            return;
        }
    };
    let receipts: Vec<_> = messages
        .into_iter()
        .filter(|(event_id, _)| sent.contains(event_id))
        .map(|(_, message)| message.receipt)
        .collect();
    tracing::info!(
        messages = receipts.len(),
        "messages at their last receive were replaced, since their events are to go again"
    );
    if let Err(error) = shared.queue.ack(&receipts).await {
        tracing::warn!(%error, "messages that were replaced cannot be acked; they become dead letters whose event is not dead");
    }
}
