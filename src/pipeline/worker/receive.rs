//! Receive: polls only with room to work, a database that answers, a clock that is right, and a channel that is not down.
//!
//! The first poller waits for messages all the time. The others sleep until a poll comes back full, so that an idle process asks the
//! queue three times a minute, and a busy process as fast as it can work.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::capacity::Reservation;
use super::received_pack::ReceivedPack;
use super::{RunUntil, Shared};
use crate::pipeline::queue::{DeadLetter, QueueError, Receipt, Received};

const MAX_MESSAGES: usize = 10;
/// How often a poller that is held back on purpose reports progress.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// How long a stop waits for a poll in flight. Messages of a cancelled poll stay hidden until their visibility ends.
const STOP_GRACE: Duration = Duration::from_millis(300);
/// Events that fall due right after an outage wait no longer than this.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct Poller {
    pub(super) shared: Arc<Shared>,
    pub(super) run_until: RunUntil,
    pub(super) full_poll: Arc<Notify>,
    pub(super) packs: mpsc::Sender<Arc<ReceivedPack>>,
    pub(super) soft: CancellationToken,
}

impl Poller {
    pub(super) async fn run(self, number: usize) -> anyhow::Result<()> {
        let (first, continuous) = (number == 0, self.run_until == RunUntil::Stopped);
        // The first receive does not wait, so that health soon shows that the queue answers.
        let (mut wait, mut failures) = (Duration::ZERO, 0_u32);
        let mut idle = !first && continuous;
        loop {
            let Some(reservation) = self.soft.run_until_cancelled(self.reserve(idle)).await else {
                return Ok(());
            };
            let room = reservation.messages;
            let Some(received) = self.until_stopped(self.shared.queue.receive(room, wait)).await else {
                return Ok(());
            };
            let messages = match received {
                Ok(messages) => messages,
                Err(error) => {
                    drop(reservation);
                    failures = failures.saturating_add(1);
                    self.pause_after(&error, failures).await;
                    continue;
                }
            };
            failures = 0;
            self.shared.heartbeat.progress();
            counter!("bday_messages_received_total").increment(messages.len() as u64);
            if messages.is_empty() && !continuous {
                return Ok(());
            }
            if first && continuous {
                wait = self.shared.options.wait;
            }
            let full = messages.len() >= room;
            idle = !first && !full && continuous;
            if full {
                self.full_poll.notify_one();
            }
            self.forward(reservation, messages).await?;
        }
    }

    async fn reserve(&self, idle: bool) -> Reservation<'_> {
        if idle {
            self.full_poll.notified().await;
        }
        let reserve = async {
            if self.run_until == RunUntil::Stopped {
                self.shared.lease_gate.wait_until_open().await;
                self.shared.channels.ready().await;
            }
            self.shared.capacity.reserve(MAX_MESSAGES).await
        };
        let mut reserve = std::pin::pin!(reserve);
        loop {
            match tokio::time::timeout(HEARTBEAT_INTERVAL, &mut reserve).await {
                Ok(reservation) => return reservation,
                Err(_) => self.shared.heartbeat.progress(),
            }
        }
    }

    /// Returns the result of `poll`; `None` if it takes longer than [`STOP_GRACE`] after a stop.
    async fn until_stopped<T>(&self, poll: impl Future<Output = T>) -> Option<T> {
        let mut poll = std::pin::pin!(poll);
        tokio::select! {
            polled = &mut poll => Some(polled),
            () = self.soft.cancelled() => tokio::time::timeout(STOP_GRACE, poll).await.ok(),
        }
    }

    async fn pause_after(&self, error: &QueueError, failures: u32) {
        self.shared.heartbeat.alive();
        let pause = Duration::from_secs(1 << failures.min(3)).min(MAX_RETRY_PAUSE);
        tracing::warn!(%error, retry_in_secs = pause.as_secs(), "receive failed");
        self.soft.run_until_cancelled(tokio::time::sleep(pause)).await;
    }

    /// Passes the packs to the lease stage, and unreadable messages to the dead-letter queue.
    async fn forward(&self, reservation: Reservation<'_>, messages: Vec<Received>) -> anyhow::Result<()> {
        let received_at = self.shared.clock.monotonic();
        let (mut packs, mut unreadable) = (Vec::with_capacity(messages.len()), Vec::new());
        for Received { receipt, message, claim } in messages {
            match message {
                Ok(message) => packs.push(ReceivedPack::new(message, receipt, claim, received_at)),
                Err((body, error)) => {
                    tracing::warn!(%error, "unreadable message moved to the dead-letter queue");
                    counter!("bday_messages_unreadable_total").increment(1);
                    let reason = format!("unreadable: {error}");
                    unreadable.push((receipt, DeadLetter { body, reason }));
                }
            }
        }
        reservation.fill(packs.len(), packs.iter().map(|pack| pack.message.event_ids.len()).sum());
        for pack in packs {
            anyhow::ensure!(self.packs.send(pack).await.is_ok(), "the lease stage ended");
        }
        if !unreadable.is_empty() {
            move_to_dead_letter_queue(&self.shared, unreadable).await;
        }
        Ok(())
    }
}

/// Moves messages at once: they would fail each time. A message that cannot be moved is received again.
async fn move_to_dead_letter_queue(shared: &Shared, messages: Vec<(Receipt, DeadLetter)>) {
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
