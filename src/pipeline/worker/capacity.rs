//! The capacity of this process: slots for requests in flight, and room for received events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(super) struct Capacity {
    slots: Arc<Semaphore>,
    /// Events that polls have asked for, that wait for a lease, or that are in flight.
    events: AtomicUsize,
    max_events: usize,
    /// As of the last poll that received packs.
    events_per_pack: AtomicUsize,
    released: Notify,
}

impl Capacity {
    /// Under a rate limit there is room for no more events than can be sent in a second. `max_per_second` 0 is no limit.
    pub(super) fn new(max_in_flight: usize, max_per_second: u32) -> Self {
        let max_events = match max_per_second {
            0 => max_in_flight,
            limit => max_in_flight.min(limit as usize),
        };
        Self {
            slots: Arc::new(Semaphore::new(max_in_flight)),
            events: AtomicUsize::new(0),
            max_events,
            events_per_pack: AtomicUsize::new(1),
            released: Notify::new(),
        }
    }

    /// Waits for room, and reserves it for up to `max` messages.
    pub(super) async fn reserve(&self, max: usize) -> Reservation<'_> {
        loop {
            let released = self.released.notified();
            let room = self.max_events.saturating_sub(self.events.load(Ordering::Relaxed));
            if room > 0 {
                let per_pack = self.events_per_pack.load(Ordering::Relaxed).max(1);
                let messages = (room / per_pack).clamp(1, max);
                let events = (messages * per_pack).min(room);
                self.events.fetch_add(events, Ordering::Relaxed);
                return Reservation { capacity: self, events, messages };
            }
            released.await;
        }
    }

    /// Waits for a slot, and takes up to `max` of those that are free.
    pub(super) async fn acquire_slots(&self, max: usize) -> Option<OwnedSemaphorePermit> {
        let mut slots = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        let more = max.saturating_sub(1).min(self.free_slots());
        if let Ok(more) = Arc::clone(&self.slots).try_acquire_many_owned(more as u32) {
            slots.merge(more);
        }
        Some(slots)
    }

    pub(super) fn free_slots(&self) -> usize {
        self.slots.available_permits()
    }

    /// Releases the room of events that were not leased, or whose request has ended.
    pub(super) fn release(&self, events: usize) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        self.released.notify_one();
    }
}

/// Room for the messages of a poll. Released when dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    capacity: &'a Capacity,
    events: usize,
    pub(super) messages: usize,
}

impl Reservation<'_> {
    /// Replaces the reservation by the room that the received `events` take until [`Capacity::release`].
    pub(super) fn fill(self, messages: usize, events: usize) {
        self.capacity.events.fetch_add(events, Ordering::Relaxed);
        if messages > 0 {
            self.capacity.events_per_pack.store(events.div_ceil(messages), Ordering::Relaxed);
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.capacity.release(self.events);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn polls_reserve_no_more_than_there_is_room_for() {
        let capacity = Capacity::new(100, 0);
        let reserve = || capacity.reserve(10).now_or_never();
        let first = reserve().expect("there is room");
        assert_eq!(first.messages, 10);
        // Ten messages with sixty events: a pack has six, so there is room for six more messages.
        first.fill(10, 60);
        let second = reserve().expect("there is room");
        assert_eq!((second.messages, second.events), (6, 36));
        let third = reserve().expect("there is room for four events");
        assert_eq!((third.messages, third.events), (1, 4));
        assert!(reserve().is_none());
        drop((second, third));
        capacity.release(60);
        assert!(reserve().is_some());
    }
}
