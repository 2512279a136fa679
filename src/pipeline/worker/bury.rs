//! Bury: messages that go to the dead-letter queue at once.

use futures_util::{StreamExt as _, stream};

use super::Shared;
use crate::pipeline::queue::Received;

/// Calls to the dead-letter queue that are under way at once. It may be slow, and each is for one message.
const AT_ONCE: usize = 10;

/// Moves each message to the dead-letter queue, with its reason. Whatever fails here is tried when the message comes
/// again, or is dropped then, if its event is dead already.
pub(super) async fn bury(shared: &Shared, messages: Vec<(Received, String)>) {
    stream::iter(messages)
        .for_each_concurrent(AT_ONCE, async |(message, reason)| {
            if let Err(error) = shared.queue.dead_letter(&message, &reason).await {
                tracing::warn!(%error, "a message cannot be moved to the dead-letter queue now; it comes again");
            }
        })
        .await;
}
