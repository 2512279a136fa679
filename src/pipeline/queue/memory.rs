//! A queue in this process, with the clock it is given: for simulated years and for tests. It keeps the contract, and
//! forgets everything when the process ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{DeadLetter, Depth, Queue, Receipt, Received, Result, encode};
use crate::clock::SharedClock;

#[derive(Debug)]
struct Stored {
    body: String,
    visible_at: DateTime<Utc>,
    receive_count: u32,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    messages: BTreeMap<u64, Stored>,
    dead: BTreeMap<u64, Dead>,
}

#[derive(Debug)]
struct Dead {
    body: String,
    reason: String,
    visible_at: DateTime<Utc>,
}

impl State {
    fn bury(&mut self, id: u64, reason: &str, now: DateTime<Utc>) {
        if let Some(old) = self.messages.remove(&id) {
            let dead = Dead {
                body: old.body,
                reason: reason.to_owned(),
                visible_at: now,
            };
            self.dead.insert(id, dead);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct MemoryQueue {
    state: Mutex<State>,
    sent: Notify,
    clock: SharedClock,
    visibility: Duration,
    max_receives: u32,
}

impl MemoryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: SharedClock, visibility: Duration, max_receives: u32) -> Self {
        Self {
            state: Mutex::default(),
            sent: Notify::new(),
            clock,
            visibility,
            max_receives,
        }
    }

    /// Puts any text on the queue, as a stranger might.
    pub fn put(&self, body: String) {
        let now = self.clock.now();
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.messages.insert(
            id,
            Stored {
                body,
                visible_at: now,
                receive_count: 0,
            },
        );
        drop(state);
        self.sent.notify_waiters();
    }

    /// The texts in the dead-letter queue, each with its reason.
    #[must_use]
    pub fn buried(&self) -> Vec<(String, String)> {
        let pair = |dead: &Dead| (dead.body.clone(), dead.reason.clone());
        self.lock().dead.values().map(pair).collect()
    }

    /// When the next message is, or becomes, visible, UTC: for whoever sets the clock.
    #[must_use]
    pub fn next_visible_at(&self) -> Option<DateTime<Utc>> {
        self.lock()
            .messages
            .values()
            .map(|message| message.visible_at)
            .min()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, max: usize) -> Vec<Received> {
        let now = self.clock.now();
        let until = now + self.visibility;
        let mut guard = self.lock();
        let state = &mut *guard;
        let due: Vec<u64> = state
            .messages
            .iter()
            .filter(|(_, message)| message.visible_at <= now)
            .map(|(id, _)| *id)
            .take(max)
            .collect();
        let mut received = Vec::with_capacity(due.len());
        for id in due {
            let Some(message) = state.messages.get_mut(&id) else {
                continue;
            };
            if message.receive_count >= self.max_receives {
                state.bury(id, "max_receives", now);
                continue;
            }
            message.receive_count += 1;
            message.visible_at = until;
            received.push(Received {
                receipt: Receipt(id.to_string()),
                body: message.body.clone(),
                receive_count: message.receive_count,
            });
        }
        received
    }
}

fn id(receipt: &Receipt) -> u64 {
    receipt.0.parse().unwrap_or(u64::MAX)
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn create(&self) -> Result<()> {
        Ok(())
    }

    async fn send(&self, event_ids: &[Uuid]) -> Result<Vec<Uuid>> {
        for event_id in event_ids {
            self.put(encode(*event_id));
        }
        Ok(event_ids.to_vec())
    }

    fn receive_limit(&self) -> usize {
        100
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>> {
        let sent = self.sent.notified();
        let received = self.take(max);
        if !received.is_empty() || wait.is_zero() {
            return Ok(received);
        }
        let _ = tokio::time::timeout(wait, sent).await;
        Ok(self.take(max))
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        let mut state = self.lock();
        for receipt in receipts {
            state.messages.remove(&id(receipt));
        }
        Ok(())
    }

    async fn hide(&self, receipts: &[(Receipt, Duration)]) -> Result<()> {
        let now = self.clock.now();
        let mut state = self.lock();
        for (receipt, wait) in receipts {
            if let Some(message) = state.messages.get_mut(&id(receipt)) {
                message.visible_at = now + *wait;
            }
        }
        drop(state);
        self.sent.notify_waiters();
        Ok(())
    }

    async fn dead_letter(&self, message: &Received, reason: &str) -> Result<()> {
        let now = self.clock.now();
        self.lock().bury(id(&message.receipt), reason, now);
        Ok(())
    }

    async fn dead_letters(&self, max: usize, hidden: Duration) -> Result<Vec<DeadLetter>> {
        let now = self.clock.now();
        let mut state = self.lock();
        let due = state.dead.iter_mut().filter(|(_, dead)| dead.visible_at <= now);
        let look = |(id, dead): (&u64, &mut Dead)| {
            dead.visible_at = now + hidden;
            DeadLetter {
                receipt: Receipt(id.to_string()),
                id: id.to_string(),
                body: dead.body.clone(),
                reason: Some(dead.reason.clone()),
            }
        };
        Ok(due.take(max).map(look).collect())
    }

    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64> {
        let mut state = self.lock();
        let gone = receipts
            .iter()
            .filter(|receipt| state.dead.remove(&id(receipt)).is_some());
        Ok(gone.count() as u64)
    }

    async fn release_dead_letters(&self, receipts: &[Receipt]) -> Result<()> {
        let now = self.clock.now();
        let mut state = self.lock();
        for receipt in receipts {
            if let Some(dead) = state.dead.get_mut(&id(receipt)) {
                dead.visible_at = now;
            }
        }
        Ok(())
    }

    async fn depth(&self) -> Result<Depth> {
        let now = self.clock.now();
        let state = self.lock();
        let visible = state
            .messages
            .values()
            .filter(|message| message.visible_at <= now)
            .count() as u64;
        Ok(Depth {
            visible,
            in_flight: state.messages.len() as u64 - visible,
            dead_letters: state.dead.len() as u64,
        })
    }
}
