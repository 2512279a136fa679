//! The leases of this process, and the heartbeat that extends them. A lease is a row for a batch of events.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::counter;
use uuid::Uuid;

use super::Shared;
use crate::store::chain;

/// Extends within the time of a lease: some may fail, and the clocks of two processes may differ.
const BEATS: u32 = 6;

#[derive(Debug, Default)]
struct Held {
    open: HashMap<Uuid, usize>,
    finished: Vec<Uuid>,
}

#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Held>);

impl Leases {
    pub(super) fn add(&self, id: Uuid, events: usize) {
        self.lock().open.insert(id, events);
    }

    /// Notes that the outcome of one event of each of `leases` is committed.
    pub(super) fn recorded(&self, leases: impl Iterator<Item = Uuid>) {
        let mut held = self.lock();
        for id in leases {
            if let Some(open) = held.open.get_mut(&id) {
                *open -= 1;
                if *open == 0 {
                    held.open.remove(&id);
                    held.finished.push(id);
                }
            }
        }
    }

    pub(super) fn take_finished(&self) -> Vec<Uuid> {
        std::mem::take(&mut self.lock().finished)
    }

    pub(super) fn give_back(&self, finished: Vec<Uuid>) {
        self.lock().finished.extend(finished);
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.lock().open.remove(&id);
    }

    fn ids(&self) -> Vec<Uuid> {
        self.lock().open.keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn heartbeat(shared: &Shared) {
    loop {
        tokio::time::sleep(shared.options.visibility / BEATS).await;
        let ids = shared.leases.ids();
        if !ids.is_empty() {
            extend(shared, &ids).await;
        }
        delete_finished(shared).await;
    }
}

/// Extends leases; returns whether all are still held. After an error they count as lost.
pub(super) async fn extend(shared: &Shared, ids: &[Uuid]) -> bool {
    let Some(now) = shared.gate.now(&*shared.clock) else {
        return false;
    };
    let extended = shared.store.extend_leases(now + shared.options.visibility, ids);
    let kept = match tokio::time::timeout(shared.options.visibility / BEATS, extended).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), leases = ids.len(), "extending leases failed");
            return false;
        }
        Err(_) => {
            tracing::warn!(leases = ids.len(), "extending leases timed out");
            return false;
        }
    };
    counter!("bday_leases_extended_total").increment(kept.len() as u64);
    let still_open = shared.leases.ids();
    for id in ids.iter().filter(|id| !kept.contains(id) && still_open.contains(id)) {
        tracing::warn!(lease_id = %id, "lease lost");
        shared.leases.forget(*id);
    }
    kept.len() == ids.len()
}

/// Deletes the finished leases. One that cannot be deleted expires, and holds no event.
pub(super) async fn delete_finished(shared: &Shared) {
    let finished = shared.leases.take_finished();
    if finished.is_empty() {
        return;
    }
    if let Err(error) = shared.store.record_deliveries(&[], &finished).await {
        tracing::debug!(error = chain(&error), "leases not deleted");
    }
}
