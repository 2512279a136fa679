//! The events received so far, to tell a duplicate from a retry.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EventHistory {
    pub(super) attempts: u32,
    pub(super) accepted: bool,
}

/// The last `capacity` events, by the hash of their name: about 30 bytes each.
#[derive(Debug)]
pub(super) struct RecentEvents {
    capacity: usize,
    histories: HashMap<u64, EventHistory>,
    oldest_first: VecDeque<u64>,
    hasher: RandomState,
}

impl RecentEvents {
    pub(super) fn new(capacity: usize) -> Self {
        let (histories, oldest_first) = (HashMap::new(), VecDeque::new());
        Self { capacity, histories, oldest_first, hasher: RandomState::new() }
    }

    /// Returns the history of `event`. A new event replaces the oldest one when the capacity is reached.
    pub(super) fn entry(&mut self, event: &str) -> &mut EventHistory {
        let key = self.hasher.hash_one(event);
        if !self.histories.contains_key(&key) {
            if self.histories.len() == self.capacity
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.histories.remove(&oldest);
            }
            self.oldest_first.push_back(key);
        }
        self.histories.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_event_is_forgotten_when_the_capacity_is_reached() {
        let mut events = RecentEvents::new(10);
        events.entry("first").attempts = 7;
        for n in 0..9 {
            events.entry(&format!("later {n}")).attempts = 1;
        }
        assert_eq!(events.entry("first").attempts, 7);
        events.entry("one more").attempts = 1;
        assert_eq!(events.entry("first").attempts, 0);
        assert_eq!((events.histories.len(), events.oldest_first.len()), (10, 10));
    }
}
