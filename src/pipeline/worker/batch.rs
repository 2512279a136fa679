//! Batches: items that gather before a stage become one statement, which costs nearly the same for a hundred rows as for one.

use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

/// The maximum of events, packs or outcomes in one statement.
pub(super) const STATEMENT_BATCH: usize = 512;

#[derive(Debug)]
pub(super) struct BatchReceiver<T> {
    receiver: Mutex<mpsc::Receiver<T>>,
    linger: Duration,
}

impl<T> BatchReceiver<T> {
    pub(super) fn new(receiver: mpsc::Receiver<T>, linger: Duration) -> Self {
        Self { receiver: Mutex::new(receiver), linger }
    }

    /// Waits for an item, then `linger` for more. Returns `None` when the channel is closed and empty. Not cancel-safe: the future may
    /// hold items.
    pub(super) async fn next(&self) -> Option<Vec<T>> {
        let mut batch = Vec::new();
        // Held during the wait, so that one batch grows, and not one in each task.
        let mut receiver = self.receiver.lock().await;
        if receiver.recv_many(&mut batch, STATEMENT_BATCH).await == 0 {
            return None;
        }
        if !self.linger.is_zero() && batch.len() < STATEMENT_BATCH {
            tokio::time::sleep(self.linger).await;
            while batch.len() < STATEMENT_BATCH
                && let Ok(item) = receiver.try_recv()
            {
                batch.push(item);
            }
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn three_waiting(linger: Duration) -> (mpsc::Sender<u8>, BatchReceiver<u8>) {
        let (sender, receiver) = mpsc::channel(10);
        for n in 0..3 {
            sender.send(n).await.expect("there is room");
        }
        (sender, BatchReceiver::new(receiver, linger))
    }

    #[tokio::test]
    async fn without_linger_a_batch_holds_the_waiting_items() {
        let (_sender, batches) = three_waiting(Duration::ZERO).await;
        assert_eq!(batches.next().now_or_never(), Some(Some(vec![0, 1, 2])));
    }

    #[tokio::test]
    async fn with_linger_later_items_join_the_batch() {
        let (sender, batches) = three_waiting(Duration::from_millis(1)).await;
        let mut next = std::pin::pin!(batches.next());
        assert_eq!(next.as_mut().now_or_never(), None);
        sender.send(3).await.expect("there is room");
        assert_eq!(next.await, Some(vec![0, 1, 2, 3]));
    }

    #[tokio::test]
    async fn a_closed_channel_is_emptied_first() {
        let (sender, batches) = three_waiting(Duration::from_millis(1)).await;
        drop(sender);
        assert_eq!(batches.next().await, Some(vec![0, 1, 2]));
        assert_eq!(batches.next().await, None);
    }
}
