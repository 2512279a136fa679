//! Receive: only when there is room to work.
//!
//! The first poll waits for messages all the time. The others sleep until a poll comes back full, so an idle process
//! asks the queue three times a minute, and a busy one as fast as it can work.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{AcquireError, Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::breaker::Ticket;
use super::bury::bury;
use super::{Job, Polling, Shared};
use crate::pipeline::queue::{Received, decode};

/// What the polls share.
#[derive(Debug)]
pub(super) struct Polls {
    /// Wakes those that sleep.
    busy: Notify,
    permits: Arc<Semaphore>,
    /// Whose turn it is to wait for places: two that gather at once would keep them from each other.
    gathers: Mutex<()>,
}

impl Polls {
    /// With places for `room` messages in flight.
    pub(super) fn new(room: usize) -> Self {
        Self {
            busy: Notify::new(),
            permits: Arc::new(Semaphore::new(room)),
            gathers: Mutex::new(()),
        }
    }

    /// Places for up to `limit` messages: at least for `least`, or, when that takes long, for as few as there are.
    async fn places(&self, least: usize, limit: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        let places = |n: usize| Arc::clone(&self.permits).acquire_many_owned(n as u32);
        let _turn = self.gathers.lock().await;
        let mut gathered = match tokio::time::timeout(GATHER, places(least)).await {
            Ok(places) => places?,
            Err(_) => places(1).await?,
        };
        let more = limit
            .saturating_sub(gathered.num_permits())
            .min(self.permits.available_permits());
        if let Ok(more) = Arc::clone(&self.permits).try_acquire_many_owned(more as u32) {
            gathered.merge(more);
        }
        Ok(gathered)
    }
}

/// How often a poll that is held back says that it lives.
const HOLD: Duration = Duration::from_secs(10);
/// How long a poll waits for enough places to be free, before it asks for fewer messages. While a slow receiver holds the
/// places, calls for one message each would cost as much as those for ten.
const GATHER: Duration = Duration::from_millis(200);
/// How long a stop waits for a poll that is under way. Messages of one that is broken off may be handed out to nobody,
/// and stay hidden until their visibility ends.
const GRACE: Duration = Duration::from_millis(300);

pub(super) async fn run(
    shared: Arc<Shared>,
    number: usize,
    polling: Polling,
    polls: Arc<Polls>,
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
                polls.busy.notified().await;
            }
            polls.places(least, limit).await
        });
        let Some(Ok(mut places)) = room.await else {
            return Ok(());
        };
        let tickets = match polling {
            // What is given back comes again at once, so there would be no end.
            Polling::UntilEmpty if *shared.paused.borrow() => return Ok(()),
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
            .receiving
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
                    polls.busy.notify_one();
                }
                asleep = number > 0 && !full && polling == Polling::UntilStopped;
                let (readable, unreadable) = read(&shared, messages, &mut places, &mut tickets);
                for job in readable {
                    // The channel has room for every permit, so this never waits.
                    if jobs.send(job).await.is_err() {
                        anyhow::bail!("nobody leases any more");
                    }
                }
                if !unreadable.is_empty() {
                    // Others may have what this poll did not need, however slow the dead-letter queue is.
                    drop((places, tickets));
                    bury(&shared, unreadable).await;
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
        let allowed = shared.receiving.take(tickets.len()).await;
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

/// What was received, and can be read; and what cannot, which is a dead letter at once, since it would fail each time.
fn read(
    shared: &Shared,
    messages: Vec<Received>,
    places: &mut OwnedSemaphorePermit,
    tickets: &mut Vec<Ticket>,
) -> (Vec<Job>, Vec<(Received, String)>) {
    let received_at = shared.clock.monotonic();
    let (mut jobs, mut unreadable) = (Vec::with_capacity(messages.len()), Vec::new());
    for message in messages {
        match decode(&message.body) {
            Ok(event_id) => {
                // There are as many as were asked for.
                let (Some(permit), Some(ticket)) = (places.split(1), tickets.pop()) else {
                    continue;
                };
                jobs.push(Job {
                    event_id,
                    permit,
                    ticket,
                    hold: shared.flights.hold(&message.receipt, received_at),
                    message,
                    received_at,
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a message cannot be read, and goes to the dead-letter queue");
                counter!("bday_messages_unreadable_total").increment(1);
                unreadable.push((message, format!("unreadable: {error}")));
            }
        }
    }
    (jobs, unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poll_takes_many_places_or_after_a_while_as_few_as_there_are() {
        let polls = Polls::new(25);
        let taken = async |least| polls.places(least, 10).await.expect("open");
        let first = taken(3).await;
        let second = taken(10).await;
        assert_eq!((first.num_permits(), second.num_permits()), (10, 10));
        assert_eq!(taken(10).await.num_permits(), 5);
        drop((first, second));
        // Two at once do not share what one could have.
        let (one, two) = tokio::join!(taken(10), taken(10));
        assert_eq!((one.num_permits(), two.num_permits()), (10, 10));
    }
}
