//! Which events have been seen before, and whether one of them was accepted: what tells a duplicate from an attempt.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

/// What is known of one event.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sighting {
    /// How many requests carried it.
    pub(super) attempts: u32,
    /// Whether one of them was answered with 2xx.
    pub(super) accepted: bool,
}

/// An event's name, hashed: a number a request can carry through its life, and two names in a million million
/// million share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EventKey(u64);

/// The events seen, in two generations: when the younger is full it becomes the older one, and the events that had
/// not been seen for that long are forgotten. So at least the last `generation` events are known, at 17 bytes or so each.
#[derive(Debug)]
pub(super) struct Sightings {
    young: HashMap<EventKey, Sighting>,
    old: HashMap<EventKey, Sighting>,
    generation: usize,
    hasher: RandomState,
}

impl Sightings {
    pub(super) fn new(generation: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation, hasher: RandomState::new() }
    }

    /// Forgets everything, and keeps naming events as before.
    pub(super) fn clear(&mut self) {
        self.young = HashMap::new();
        self.old = HashMap::new();
    }

    /// How events are named. Cloned out once, so that hashing needs no lock.
    pub(super) fn namer(&self) -> Namer {
        Namer(self.hasher.clone())
    }

    /// What is known of an event, to be read and changed.
    pub(super) fn entry(&mut self, key: EventKey) -> &mut Sighting {
        if !self.young.contains_key(&key) && self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_default())
    }
}

/// Turns event names into keys.
#[derive(Debug)]
pub(super) struct Namer(RandomState);

impl Namer {
    pub(super) fn key(&self, name: &str) -> EventKey {
        EventKey(self.0.hash_one(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_remembered_for_a_generation_and_forgotten_after_two() {
        let mut sightings = Sightings::new(10);
        let namer = sightings.namer();
        sightings.entry(namer.key("first")).attempts = 7;
        for n in 0..10 {
            sightings.entry(namer.key(&format!("later {n}"))).attempts = 1;
        }
        assert_eq!(sightings.entry(namer.key("first")).attempts, 7);
        for n in 0..20 {
            sightings.entry(namer.key(&format!("much later {n}"))).attempts = 1;
        }
        assert_eq!(sightings.entry(namer.key("first")).attempts, 0);
        assert!(sightings.young.len() + sightings.old.len() <= 20);
    }
}
