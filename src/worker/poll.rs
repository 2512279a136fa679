//! Receive: only when there is room to work.
//!
//! The first poll waits for messages all the time. The others sleep until a poll comes back full, so an idle process
//! asks the queue three times a minute, and a busy one as fast as it can work.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Job, Polling, Shared};
use crate::queue::{Received, decode};

/// Wakes the polls that sleep.
#[derive(Debug, Default)]
pub(super) struct Busy(Notify);

pub(super) async fn run(
    shared: Arc<Shared>,
    number: usize,
    polling: Polling,
    busy: Arc<Busy>,
    permits: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    // A stop ends the poll at once. Messages that the queue hands out at that moment come back by themselves.
    soft.run_until_cancelled(poll(&shared, number, polling, &busy, permits, &jobs))
        .await;
    Ok(())
}

async fn poll(
    shared: &Arc<Shared>,
    number: usize,
    polling: Polling,
    busy: &Busy,
    permits: Arc<Semaphore>,
    jobs: &mpsc::Sender<Job>,
) {
    let limit = shared.queue.receive_limit().min(shared.options.max_in_flight);
    // A receiver that hangs may hold most places: a poll for a few is better than none.
    let least = limit.min(shared.options.max_in_flight.div_ceil(8));
    let mut failures = 0_u32;
    let until_empty = polling == Polling::UntilEmpty;
    let mut asleep = number > 0 && !until_empty;
    loop {
        if asleep {
            busy.0.notified().await;
        }
        let Ok(mut places) = Arc::clone(&permits).acquire_many_owned(least as u32).await else {
            return;
        };
        if let Ok(more) = Arc::clone(&permits).try_acquire_many_owned((limit - least) as u32) {
            places.merge(more);
        }
        let wait = if number == 0 && !until_empty {
            shared.options.wait
        } else {
            Duration::ZERO
        };
        let room = places.num_permits();
        match shared.queue.receive(room, wait).await {
            Ok(messages) => {
                shared.beat.touch();
                failures = 0;
                counter!("bday_messages_received_total").increment(messages.len() as u64);
                if messages.is_empty() && until_empty {
                    return;
                }
                let full = messages.len() >= room;
                if full {
                    busy.0.notify_one();
                }
                asleep = number > 0 && !full && !until_empty;
                for message in messages {
                    let Some(job) = admit(shared, message, &mut places).await else {
                        continue;
                    };
                    // The channel has room for every permit, so this never waits for long.
                    if let Err(refused) = jobs.send(job).await {
                        give_back(shared, vec![refused.0.message]).await;
                        return;
                    }
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let pause = Duration::from_secs(1 << failures.min(5));
                tracing::warn!(%error, retry_in_secs = pause.as_secs(), "cannot receive from the queue");
                drop(places);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Reads a message. One that cannot be read is a dead letter at once: it would fail each time.
async fn admit(
    shared: &Shared,
    message: Received,
    places: &mut tokio::sync::OwnedSemaphorePermit,
) -> Option<Job> {
    match decode(&message.body) {
        Ok(event_id) => Some(Job {
            event_id,
            message,
            permit: places.split(1)?,
        }),
        Err(error) => {
            tracing::warn!(%error, "a message cannot be read, and goes to the dead-letter queue");
            counter!("bday_messages_unreadable_total").increment(1);
            if let Err(error) = shared
                .queue
                .dead_letter(&message, &format!("unreadable: {error}"))
                .await
            {
                tracing::warn!(%error, "it cannot be moved there now; it comes again");
            }
            None
        }
    }
}

/// Makes messages visible again that nobody will work on.
pub(super) async fn give_back(shared: &Shared, messages: Vec<Received>) {
    let receipts: Vec<_> = messages
        .into_iter()
        .map(|message| (message.receipt, Duration::ZERO))
        .collect();
    if receipts.is_empty() {
        return;
    }
    if let Err(error) = shared.queue.hide(&receipts).await {
        tracing::warn!(%error, "messages cannot be given back; they come again when their visibility ends");
    }
}
