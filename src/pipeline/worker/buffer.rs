//! The buffer: received packs whose events are not leased yet, and the room for more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::pipeline::queue::{Message, Receipt};

#[derive(Debug)]
pub(super) struct Buffer {
    places: Arc<Semaphore>,
    /// Events that polls have asked for, that are in the buffer, or in flight.
    events: AtomicUsize,
    limit: usize,
    usual_pack: AtomicUsize,
    room: Notify,
}

impl Buffer {
    /// With places for `max_in_flight` requests. Under a rate limit it holds no more events than can be sent in a second.
    pub(super) fn new(max_in_flight: usize, max_per_second: u32) -> Self {
        let limit = match max_per_second {
            0 => max_in_flight,
            cap => max_in_flight.min(cap as usize),
        };
        Self {
            places: Arc::new(Semaphore::new(max_in_flight)),
            events: AtomicUsize::new(0),
            limit,
            usual_pack: AtomicUsize::new(1),
            room: Notify::new(),
        }
    }

    pub(super) async fn reserve(&self, most: usize) -> Reserved<'_> {
        loop {
            let changed = self.room.notified();
            let room = self.limit.saturating_sub(self.events.load(Ordering::Relaxed));
            if room > 0 {
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
        let more = most.saturating_sub(1).min(self.free_places());
        if let Ok(more) = Arc::clone(&self.places).try_acquire_many_owned(more as u32) {
            places.merge(more);
        }
        Some(places)
    }

    pub(super) fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Removes events that were not leased, or whose request has ended.
    pub(super) fn remove(&self, events: usize) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        self.room.notify_one();
    }
}

/// Room for the messages of a poll. Room that is not used is given back.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    buffer: &'a Buffer,
    events: usize,
    pub(super) messages: usize,
}

impl Reserved<'_> {
    /// Puts the `events` of received `messages` into the buffer, until [`Buffer::remove`].
    pub(super) fn fill(self, messages: usize, events: usize) {
        self.buffer.events.fetch_add(events, Ordering::Relaxed);
        if messages > 0 {
            self.buffer.usual_pack.store(events.div_ceil(messages), Ordering::Relaxed);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.buffer.remove(self.events);
    }
}

/// A received message, until all of its events are settled: leased, to be received again later, or none of these.
#[derive(Debug)]
pub(super) struct OpenPack {
    pub(super) message: Message,
    pub(super) receipt: Receipt,
    pub(super) received_at: Instant,
    state: Mutex<PackState>,
}

#[derive(Debug, Default)]
struct PackState {
    settled: usize,
    later: Vec<Uuid>,
    later_by: Duration,
    unknown: bool,
}

pub(super) type Settled = Arc<OpenPack>;

impl OpenPack {
    pub(super) fn new(message: Message, receipt: Receipt, received_at: Instant) -> Arc<Self> {
        Arc::new(Self { message, receipt, received_at, state: Mutex::default() })
    }

    /// Settles an event that was leased, or that needs no work. Returns the pack if this was its last event.
    pub(super) fn done(self: &Arc<Self>) -> Option<Settled> {
        self.settle(|_| {})
    }

    pub(super) fn later(self: &Arc<Self>, event: Uuid, wait: Duration) -> Option<Settled> {
        self.settle(|state| {
            state.later.push(event);
            state.later_by = state.later_by.max(wait);
        })
    }

    /// Settles an event of unknown state: the message stays in the queue, and is received again.
    pub(super) fn unknown(self: &Arc<Self>) -> Option<Settled> {
        self.settle(|state| state.unknown = true)
    }

    pub(super) fn take_later(&self) -> (Vec<Uuid>, Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut state.later), state.later_by)
    }

    fn settle(self: &Arc<Self>, change: impl FnOnce(&mut PackState)) -> Option<Settled> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.settled += 1;
        (state.settled == self.message.event_ids.len() && !state.unknown).then(|| Arc::clone(self))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn pack(events: usize) -> Arc<OpenPack> {
        let message = Message { pack: Some(7), event_ids: vec![Uuid::nil(); events] };
        OpenPack::new(message, Receipt("r".to_owned()), SystemClock.monotonic())
    }

    #[test]
    fn polls_reserve_no_more_than_there_is_room_for() {
        let buffer = Buffer::new(100, 0);
        let reserve = || buffer.reserve(10).now_or_never();
        let first = reserve().expect("there is room");
        assert_eq!(first.messages, 10);
        // Ten messages brought sixty events: so a pack has six, and there is room for six more messages.
        first.fill(10, 60);
        let second = reserve().expect("there is room");
        assert_eq!((second.messages, second.events), (6, 36));
        let third = reserve().expect("a little room");
        assert_eq!((third.messages, third.events), (1, 4));
        assert!(reserve().is_none());
        drop((second, third));
        buffer.remove(60);
        assert!(reserve().is_some());
    }

    #[test]
    fn a_pack_is_settled_with_its_last_event() {
        let (pack, wait) = (pack(3), Duration::from_secs(5));
        assert!(pack.done().is_none());
        assert!(pack.later(Uuid::from_u128(2), wait).is_none());
        let settled = pack.done().expect("it was the last");
        assert_eq!(settled.take_later(), (vec![Uuid::from_u128(2)], wait));
    }

    #[test]
    fn a_pack_with_an_event_of_unknown_state_is_not_settled() {
        let pack = pack(2);
        assert!(pack.unknown().is_none());
        assert!(pack.done().is_none());
    }
}
