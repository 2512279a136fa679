//! Receive: only when there is room to work.
//!
//! The first poll waits for messages all the time. The others sleep until a poll comes back full, so an idle process
//! asks the queue three times a minute, and a busy one as fast as it can work.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::breaker::Ticket;
use super::{Job, Polling, Shared};
use crate::queue::{Received, decode};

/// Wakes the polls that sleep.
#[derive(Debug, Default)]
pub(super) struct Busy(Notify);

/// How often a poll that is held back says that it lives.
const HOLD: Duration = Duration::from_secs(10);
/// How long a stop waits for a poll that is under way. Messages of one that is broken off may be handed out to nobody,
/// and stay hidden until their visibility ends.
const GRACE: Duration = Duration::from_millis(300);

pub(super) async fn run(
    shared: Arc<Shared>,
    number: usize,
    polling: Polling,
    busy: Arc<Busy>,
    permits: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    let limit = shared.queue.receive_limit().min(shared.options.max_in_flight);
    // A receiver that hangs may hold most places: a poll for a few is better than none.
    let least = limit.min(shared.options.max_in_flight.div_ceil(8));
    let waits = number == 0 && polling == Polling::UntilStopped;
    let (mut first, mut failures) = (true, 0_u32);
    let mut asleep = number > 0 && polling == Polling::UntilStopped;
    loop {
        let room = soft.run_until_cancelled(async {
            if asleep {
                busy.0.notified().await;
            }
            Arc::clone(&permits).acquire_many_owned(least as u32).await
        });
        let Some(Ok(mut places)) = room.await else {
            return Ok(());
        };
        if let Ok(more) = Arc::clone(&permits).try_acquire_many_owned((limit - least) as u32) {
            places.merge(more);
        }
        let tickets = match polling {
            Polling::UntilEmpty => Some(shared.breaker.bypass(places.num_permits())),
            Polling::UntilStopped => {
                soft.run_until_cancelled(admitted(&shared, places.num_permits()))
                    .await
            }
        };
        let Some(mut tickets) = tickets else {
            return Ok(());
        };
        // The first does not wait: the sooner it answers, the sooner it is known that the queue does.
        let wait = if waits && !first {
            shared.options.wait
        } else {
            Duration::ZERO
        };
        first = false;
        let room = tickets.len();
        let Some(received) = or_stopped(&soft, shared.queue.receive(room, wait)).await else {
            return Ok(());
        };
        shared
            .rate
            .give_back(room - received.as_ref().map_or(0, Vec::len));
        match received {
            Ok(messages) => {
                failures = 0;
                shared.beat.touch();
                counter!("bday_messages_received_total").increment(messages.len() as u64);
                if messages.is_empty() && polling == Polling::UntilEmpty {
                    return Ok(());
                }
                let full = messages.len() >= room;
                if full {
                    busy.0.notify_one();
                }
                asleep = number > 0 && !full && polling == Polling::UntilStopped;
                for message in messages {
                    let Some(job) = read(&shared, message, &mut places, &mut tickets).await else {
                        continue;
                    };
                    // The channel has room for every permit, so this never waits.
                    if jobs.send(job).await.is_err() {
                        anyhow::bail!("nobody leases any more");
                    }
                }
            }
            Err(error) => {
                shared.beat.turn();
                failures = failures.saturating_add(1);
                let pause = Duration::from_secs(1 << failures.min(5));
                tracing::warn!(%error, retry_in_secs = pause.as_secs(), "cannot receive from the queue");
                drop(places);
                soft.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
        }
    }
}

/// What `poll` gives, or nothing if it goes on for longer than [`GRACE`] after a stop.
async fn or_stopped<T>(soft: &CancellationToken, poll: impl Future<Output = T>) -> Option<T> {
    let mut poll = std::pin::pin!(poll);
    tokio::select! {
        polled = &mut poll => Some(polled),
        () = soft.cancelled() => tokio::time::timeout(GRACE, poll).await.ok(),
    }
}

/// Waits until messages may be received: sending is not paused, the breaker admits them, the rate allows them.
async fn admitted(shared: &Shared, most: usize) -> Vec<Ticket> {
    let mut paused = shared.paused.subscribe();
    let admit = async {
        // The sender lives as long as the pool.
        let _ = paused.wait_for(|paused| !paused).await;
        let mut tickets = shared.breaker.admit(most).await;
        let allowed = shared.rate.take(tickets.len()).await;
        tickets.truncate(allowed);
        tickets
    };
    let mut admit = std::pin::pin!(admit);
    loop {
        match tokio::time::timeout(HOLD, &mut admit).await {
            Ok(tickets) => return tickets,
            // Held back on purpose is not stuck.
            Err(_) => shared.beat.touch(),
        }
    }
}

/// Reads a message. One that cannot be read is a dead letter at once: it would fail each time.
async fn read(
    shared: &Shared,
    message: Received,
    places: &mut tokio::sync::OwnedSemaphorePermit,
    tickets: &mut Vec<Ticket>,
) -> Option<Job> {
    match decode(&message.body) {
        Ok(event_id) => {
            let received_at = shared.clock.monotonic();
            Some(Job {
                event_id,
                permit: places.split(1)?,
                ticket: tickets.pop()?,
                hold: shared.flights.hold(&message.receipt, received_at),
                message,
                received_at,
            })
        }
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
