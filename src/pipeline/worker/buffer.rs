//! Packs that were received and whose events are not leased yet, and the room for more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};
use uuid::Uuid;

use crate::pipeline::queue::Receipt;

/// How many events are here, and places for requests in flight.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Places in flight; a request holds one.
    places: Arc<Semaphore>,
    /// Events in the buffer, or asked for by polls.
    events: AtomicUsize,
    /// The most events in the buffer and in flight.
    limit: usize,
    max_in_flight: usize,
    /// Events in a message, lately.
    usual_pack: AtomicUsize,
    /// Woken when there is room again.
    room: Notify,
}

impl Buffer {
    /// With places for `max_in_flight` requests. Under a cap no more is held than can be sent in a second.
    pub(super) fn new(max_in_flight: usize, max_per_second: u32) -> Self {
        let limit = match max_per_second {
            0 => max_in_flight,
            cap => max_in_flight.min(cap as usize),
        };
        Self {
            places: Arc::new(Semaphore::new(max_in_flight)),
            events: AtomicUsize::new(0),
            limit,
            max_in_flight,
            usual_pack: AtomicUsize::new(1),
            room: Notify::new(),
        }
    }

    /// Waits for room, and reserves it for up to `most` messages.
    pub(super) async fn reserve(self: &Buffer, most: usize) -> Reserved<'_> {
        loop {
            let changed = self.room.notified();
            let taken = self.events.load(Ordering::Relaxed) + self.in_flight();
            if let Some(room @ 1..) = self.limit.checked_sub(taken) {
                let usual = self.usual_pack.load(Ordering::Relaxed).max(1);
                let messages = (room / usual).clamp(1, most);
                let events = (messages * usual).min(room);
                self.events.fetch_add(events, Ordering::Relaxed);
                return Reserved { buffer: self, events, messages };
            }
            changed.await;
        }
    }

    /// Waits for a place in flight, and takes up to `most` of those that are free.
    pub(super) async fn places(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        let mut places = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let more = most.saturating_sub(1).min(self.places.available_permits());
        match Arc::clone(&self.places).try_acquire_many_owned(more as u32) {
            Ok(more) => places.merge(more),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {}
        }
        Some(places)
    }

    /// Free places in flight.
    pub(super) fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Events left the buffer.
    pub(super) fn left(&self, events: usize) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        self.room.notify_one();
    }

    /// A place in flight is free again.
    pub(super) fn freed(&self) {
        self.room.notify_one();
    }

    fn in_flight(&self) -> usize {
        self.max_in_flight - self.places.available_permits()
    }
}

/// Room for messages that a poll asks for. What is not used is given back.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    buffer: &'a Buffer,
    events: usize,
    /// So many messages.
    pub(super) messages: usize,
}

impl Reserved<'_> {
    /// Received `messages` with `events` in all, which stay in the buffer until [`Buffer::left`].
    pub(super) fn used(&self, messages: usize, events: usize) {
        self.buffer.events.fetch_add(events, Ordering::Relaxed);
        if messages > 0 {
            self.buffer.usual_pack.store(events.div_ceil(messages), Ordering::Relaxed);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.buffer.left(self.events);
    }
}

/// A message that was received, until all of its events have been leased or left alone.
#[derive(Debug)]
pub(super) struct OpenPack {
    /// The row of the outbox, if the message names one.
    pub(super) pack: Option<i64>,
    /// All events of the message.
    pub(super) event_ids: Vec<Uuid>,
    receipt: Receipt,
    /// When it was received.
    pub(super) received_at: Instant,
    state: Mutex<PackState>,
}

#[derive(Debug)]
struct PackState {
    open: usize,
    later: Vec<Uuid>,
    later_by: std::time::Duration,
    unknown: bool,
}

/// A message all of whose events are settled.
#[derive(Debug)]
pub(super) struct Settled {
    /// The row of the outbox.
    pub(super) pack: Option<i64>,
    /// All events of the message.
    pub(super) event_ids: Vec<Uuid>,
    /// The message.
    pub(super) receipt: Receipt,
    /// Events that stay in the pack, and are to be received again.
    pub(super) later: Vec<Uuid>,
    /// After this time.
    pub(super) later_by: std::time::Duration,
}

impl OpenPack {
    pub(super) fn new(
        pack: Option<i64>,
        event_ids: Vec<Uuid>,
        receipt: Receipt,
        received_at: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            pack,
            receipt,
            received_at,
            state: Mutex::new(PackState {
                open: event_ids.len(),
                later: Vec::new(),
                later_by: std::time::Duration::ZERO,
                unknown: false,
            }),
            event_ids,
        })
    }

    /// Settles an event that was leased, or that nothing is to be done for.
    pub(super) fn done(&self) -> Option<Settled> {
        self.settle(|_| {})
    }

    /// Settles an event that is to be received again after `wait`.
    pub(super) fn later(&self, event: Uuid, wait: std::time::Duration) -> Option<Settled> {
        self.settle(|state| {
            state.later.push(event);
            state.later_by = state.later_by.max(wait);
        })
    }

    /// Settles an event of which nothing is known: the message stays in the queue, and is received again.
    pub(super) fn unknown(&self) -> Option<Settled> {
        self.settle(|state| state.unknown = true)
    }

    fn settle(&self, change: impl FnOnce(&mut PackState)) -> Option<Settled> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.open = state.open.saturating_sub(1);
        (state.open == 0 && !state.unknown).then(|| Settled {
            pack: self.pack,
            event_ids: self.event_ids.clone(),
            receipt: self.receipt.clone(),
            later: std::mem::take(&mut state.later),
            later_by: state.later_by,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn polls_reserve_no_more_than_there_is_room_for() {
        let buffer = Buffer::new(100, 0);
        let reserve = || buffer.reserve(10).now_or_never();
        let first = reserve().expect("there is room");
        assert_eq!(first.messages, 10);
        // Ten messages brought sixty events: so a pack has six, and there is room for six more messages.
        first.used(10, 60);
        drop(first);
        let second = reserve().expect("there is room");
        assert_eq!((second.messages, second.events), (6, 36));
        let third = reserve().expect("a little room");
        assert_eq!((third.messages, third.events), (1, 4));
        assert!(reserve().is_none());
        drop((second, third));
        buffer.left(60);
        assert!(reserve().is_some());
    }

    #[test]
    fn a_pack_is_settled_with_its_last_event() {
        let wait = Duration::from_secs(5);
        let pack =
            OpenPack::new(Some(7), vec![Uuid::nil(); 3], Receipt("r".to_owned()), SystemClock.monotonic());
        assert!(pack.done().is_none());
        assert!(pack.later(Uuid::from_u128(2), wait).is_none());
        let settled = pack.done().expect("it was the last");
        assert_eq!((settled.pack, settled.later), (Some(7), vec![Uuid::from_u128(2)]));
    }

    #[test]
    fn a_pack_with_an_event_of_unknown_state_is_not_settled() {
        let pack =
            OpenPack::new(Some(7), vec![Uuid::nil(); 2], Receipt("r".to_owned()), SystemClock.monotonic());
        assert!(pack.unknown().is_none());
        assert!(pack.done().is_none());
    }
}
