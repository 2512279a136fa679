//! Receive: only with room to work, a database that answers, a clock that is right, and a receiver that is not down.
//!
//! The first poll waits for messages all the time. The others sleep until a poll comes back full, so that an idle process asks
//! the queue three times a minute, and a busy one as fast as it can work.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::buffer::OpenPack;
use super::{Polling, Shared};
use crate::pipeline::queue::{DeadLetter, Receipt, Received};

/// The most messages of one receive.
const MAX_MESSAGES: usize = 10;
/// How often a poll that is held back on purpose touches the beat.
const HELD_BACK: Duration = Duration::from_secs(10);
/// How long a stop waits for a poll in flight. Messages of a poll that is broken off stay hidden until their visibility ends.
const GRACE: Duration = Duration::from_millis(300);
/// Between two polls that fail. What falls due right after an outage waits no longer.
const MAX_PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn run(
    shared: Arc<Shared>,
    number: usize,
    polling: Polling,
    busy: Arc<Notify>,
    packs: mpsc::Sender<Arc<OpenPack>>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    let mut asleep = number > 0 && polling == Polling::UntilStopped;
    let (mut wait, mut failures) = (Duration::ZERO, 0_u32);
    loop {
        let admitted = async {
            if asleep {
                busy.notified().await;
            }
            admit(&shared, polling).await
        };
        let Some(reserved) = soft.run_until_cancelled(admitted).await else {
            return Ok(());
        };
        let room = reserved.messages;
        let Some(received) = or_stopped(&soft, shared.queue.receive(room, wait)).await else {
            return Ok(());
        };
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => {
                drop(reserved);
                shared.beat.turn();
                failures = failures.saturating_add(1);
                let pause = Duration::from_secs(1 << failures.min(3)).min(MAX_PAUSE);
                tracing::warn!(%error, retry_in_secs = pause.as_secs(), "receive failed");
                soft.run_until_cancelled(tokio::time::sleep(pause)).await;
                continue;
            }
        };
        failures = 0;
        shared.beat.touch();
        counter!("bday_messages_received_total").increment(messages.len() as u64);
        if messages.is_empty() && polling == Polling::UntilEmpty {
            return Ok(());
        }
        // The first poll answers at once: the sooner it is known that the queue does.
        wait = if number == 0 && polling == Polling::UntilStopped {
            shared.options.wait
        } else {
            Duration::ZERO
        };
        let full = messages.len() >= room;
        asleep = number > 0 && !full && polling == Polling::UntilStopped;
        if full {
            busy.notify_one();
        }
        let (opened, unreadable) = open(&shared, messages);
        reserved.used(opened.len(), opened.iter().map(|pack| pack.event_ids.len()).sum());
        drop(reserved);
        for one in opened {
            if packs.send(one).await.is_err() {
                anyhow::bail!("the lease lanes ended");
            }
        }
        bury(&shared, unreadable).await;
    }
}

/// Waits until messages may be received.
async fn admit(shared: &Shared, polling: Polling) -> super::buffer::Reserved<'_> {
    let admit = async {
        if polling == Polling::UntilStopped {
            shared.gate.opened().await;
            shared.breaker.ready().await;
        }
        shared.buffer.reserve(MAX_MESSAGES).await
    };
    let mut admit = std::pin::pin!(admit);
    loop {
        match tokio::time::timeout(HELD_BACK, &mut admit).await {
            Ok(reserved) => return reserved,
            Err(_) => shared.beat.touch(),
        }
    }
}

/// What `poll` returns, or nothing if it lasts for longer than [`GRACE`] after a stop.
async fn or_stopped<T>(soft: &CancellationToken, poll: impl Future<Output = T>) -> Option<T> {
    let mut poll = std::pin::pin!(poll);
    tokio::select! {
        polled = &mut poll => Some(polled),
        () = soft.cancelled() => tokio::time::timeout(GRACE, poll).await.ok(),
    }
}

/// Splits messages into those that can be read, and the others.
fn open(shared: &Shared, messages: Vec<Received>) -> (Vec<Arc<OpenPack>>, Vec<(Receipt, DeadLetter)>) {
    let received_at = shared.clock.monotonic();
    let (mut opened, mut unreadable) = (Vec::with_capacity(messages.len()), Vec::new());
    for Received { receipt, message } in messages {
        match message {
            Ok(message) => opened.push(OpenPack::new(message.pack, message.event_ids, receipt, received_at)),
            Err((body, error)) => {
                tracing::warn!(%error, "unreadable message moved to the dead-letter queue");
                counter!("bday_messages_unreadable_total").increment(1);
                let reason = format!("unreadable: {error}");
                unreadable.push((receipt, DeadLetter { body, reason }));
            }
        }
    }
    (opened, unreadable)
}

/// Moves messages to the dead-letter queue at once: they would fail each time. A message that cannot be moved now is received
/// again.
async fn bury(shared: &Shared, messages: Vec<(Receipt, DeadLetter)>) {
    if messages.is_empty() {
        return;
    }
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
