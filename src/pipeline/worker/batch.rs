//! What gathers in front of a stage, and becomes a batch: a statement costs nearly the same for one row as for a
//! hundred, so it pays to wait a moment for company.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

/// How many messages or outcomes one statement takes.
pub(super) const STATEMENT_BATCH: usize = 512;

/// Who waits for company, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Fewer than this do not wait: a single greeting is nothing to gain by, and should be on its way.
    pub(super) least: usize,
    /// Shorter than anybody would notice.
    pub(super) wait: Duration,
}

impl Patience {
    /// Takes what is there.
    pub(super) const NONE: Self = Self {
        least: usize::MAX,
        wait: Duration::ZERO,
    };
}

/// The receiving end of a channel that several lanes take batches from.
#[derive(Debug)]
pub(super) struct Batches<T> {
    receiver: Arc<Mutex<mpsc::Receiver<T>>>,
    patience: Patience,
}

impl<T> Clone for Batches<T> {
    fn clone(&self) -> Self {
        Self {
            receiver: Arc::clone(&self.receiver),
            patience: self.patience,
        }
    }
}

impl<T> Batches<T> {
    pub(super) fn new(receiver: mpsc::Receiver<T>, patience: Patience) -> Self {
        Self {
            receiver: Arc::new(Mutex::new(receiver)),
            patience,
        }
    }

    /// Takes what has gathered, up to a statement's worth; none when the channel is closed and empty.
    ///
    /// Not to be dropped before it is ready: it may hold a batch that waits for company.
    pub(super) async fn next(&self) -> Option<Vec<T>> {
        let mut batch = Vec::new();
        // Held while we wait, so that one batch grows, and not one in each lane.
        let mut receiver = self.receiver.lock().await;
        if receiver.recv_many(&mut batch, STATEMENT_BATCH).await == 0 {
            return None;
        }
        if (self.patience.least..STATEMENT_BATCH).contains(&batch.len()) {
            tokio::time::sleep(self.patience.wait).await;
            while batch.len() < STATEMENT_BATCH
                && let Ok(one) = receiver.try_recv()
            {
                batch.push(one);
            }
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn three_waiting(least: usize) -> (mpsc::Sender<u8>, Batches<u8>) {
        let (sender, receiver) = mpsc::channel(10);
        for n in 0..3 {
            sender.send(n).await.expect("there is room");
        }
        let wait = Duration::from_millis(1);
        (sender, Batches::new(receiver, Patience { least, wait }))
    }

    #[tokio::test]
    async fn a_few_wait_for_nobody() {
        let (_sender, batches) = three_waiting(4).await;
        assert_eq!(batches.next().now_or_never(), Some(Some(vec![0, 1, 2])));
    }

    #[tokio::test]
    async fn a_crowd_waits_for_company() {
        let (sender, batches) = three_waiting(3).await;
        let mut next = std::pin::pin!(batches.next());
        assert_eq!(next.as_mut().now_or_never(), None);
        sender.send(3).await.expect("there is room");
        assert_eq!(next.await, Some(vec![0, 1, 2, 3]));
    }

    #[tokio::test]
    async fn nothing_is_left_behind_when_the_channel_closes() {
        let (sender, batches) = three_waiting(3).await;
        drop(sender);
        assert_eq!(batches.next().await, Some(vec![0, 1, 2]));
        assert_eq!(batches.next().await, None);
    }
}
