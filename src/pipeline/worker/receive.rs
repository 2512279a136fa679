//! Receive: polls only with room to work, a database that answers, a clock that is right, and a receiver that is not down.
//!
//! The first poll waits for messages all the time. The others sleep until a poll comes back full, so that an idle process asks the
//! queue three times a minute, and a busy one as fast as it can work.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::buffer::{OpenPack, Reserved};
use super::{Polling, Shared};
use crate::pipeline::queue::{DeadLetter, Receipt, Received};

const MAX_MESSAGES: usize = 10;
/// How often a poll that is held back on purpose touches the beat.
const HELD_BACK: Duration = Duration::from_secs(10);
/// How long a stop waits for a poll in flight. Messages of a cancelled poll stay hidden until their visibility ends.
const GRACE: Duration = Duration::from_millis(300);
/// The longest pause between two polls that fail. Events that fall due right after an outage wait no longer.
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct Polls {
    pub(super) shared: Arc<Shared>,
    pub(super) polling: Polling,
    pub(super) busy: Arc<Notify>,
    pub(super) packs: mpsc::Sender<Arc<OpenPack>>,
    pub(super) soft: CancellationToken,
}

impl Polls {
    pub(super) async fn run(self, number: usize) -> anyhow::Result<()> {
        let Self { shared, soft, .. } = &self;
        let goes_on = self.polling == Polling::UntilStopped;
        let mut asleep = number > 0 && goes_on;
        let (mut wait, mut failures) = (Duration::ZERO, 0_u32);
        loop {
            let Some(reserved) = soft.run_until_cancelled(self.admit(asleep)).await else {
                return Ok(());
            };
            let room = reserved.messages;
            let Some(received) = self.or_stopped(shared.queue.receive(room, wait)).await else {
                return Ok(());
            };
            let messages = match received {
                Ok(messages) => messages,
                Err(error) => {
                    drop(reserved);
                    shared.heartbeat.alive();
                    failures = failures.saturating_add(1);
                    let pause = Duration::from_secs(1 << failures.min(3)).min(MAX_PAUSE);
                    tracing::warn!(%error, retry_in_secs = pause.as_secs(), "receive failed");
                    soft.run_until_cancelled(tokio::time::sleep(pause)).await;
                    continue;
                }
            };
            failures = 0;
            shared.heartbeat.progress();
            counter!("bday_messages_received_total").increment(messages.len() as u64);
            if messages.is_empty() && !goes_on {
                return Ok(());
            }
            // The first receive does not wait, so that health soon shows that the queue answers.
            wait = if number == 0 && goes_on { shared.options.wait } else { Duration::ZERO };
            let full = messages.len() >= room;
            asleep = number > 0 && !full && goes_on;
            if full {
                self.busy.notify_one();
            }
            self.pass_on(reserved, messages).await?;
        }
    }

    async fn admit(&self, asleep: bool) -> Reserved<'_> {
        if asleep {
            self.busy.notified().await;
        }
        let admit = async {
            if self.polling == Polling::UntilStopped {
                self.shared.gate.opened().await;
                self.shared.breaker.ready().await;
            }
            self.shared.buffer.reserve(MAX_MESSAGES).await
        };
        let mut admit = std::pin::pin!(admit);
        loop {
            match tokio::time::timeout(HELD_BACK, &mut admit).await {
                Ok(reserved) => return reserved,
                Err(_) => self.shared.heartbeat.progress(),
            }
        }
    }

    /// The result of `poll`; none if it takes longer than [`GRACE`] after a stop.
    async fn or_stopped<T>(&self, poll: impl Future<Output = T>) -> Option<T> {
        let mut poll = std::pin::pin!(poll);
        tokio::select! {
            polled = &mut poll => Some(polled),
            () = self.soft.cancelled() => tokio::time::timeout(GRACE, poll).await.ok(),
        }
    }

    async fn pass_on(&self, reserved: Reserved<'_>, messages: Vec<Received>) -> anyhow::Result<()> {
        let received_at = self.shared.clock.monotonic();
        let (mut opened, mut unreadable) = (Vec::with_capacity(messages.len()), Vec::new());
        for Received { receipt, message } in messages {
            match message {
                Ok(message) => opened.push(OpenPack::new(message, receipt, received_at)),
                Err((body, error)) => {
                    tracing::warn!(%error, "unreadable message moved to the dead-letter queue");
                    counter!("bday_messages_unreadable_total").increment(1);
                    let reason = format!("unreadable: {error}");
                    unreadable.push((receipt, DeadLetter { body, reason }));
                }
            }
        }
        reserved.fill(opened.len(), opened.iter().map(|pack| pack.message.event_ids.len()).sum());
        for one in opened {
            anyhow::ensure!(self.packs.send(one).await.is_ok(), "the lease lanes ended");
        }
        if !unreadable.is_empty() {
            bury(&self.shared, unreadable).await;
        }
        Ok(())
    }
}

/// Moves messages to the dead-letter queue at once: they would fail each time. A message that cannot be moved is received again.
async fn bury(shared: &Shared, messages: Vec<(Receipt, DeadLetter)>) {
    let (receipts, letters): (Vec<Receipt>, Vec<DeadLetter>) = messages.into_iter().unzip();
    let moved = match shared.queue.send_dead_letters(&letters).await {
        Ok(moved) => moved,
        Err(error) => return tracing::warn!(%error, "dead letters not sent"),
    };
    let moved: Vec<Receipt> = moved.into_iter().filter_map(|at| receipts.get(at).cloned()).collect();
    if let Err(error) = shared.queue.ack(&moved).await {
        tracing::warn!(%error, "ack failed");
    }
}
