//! The leases that this process holds, and the heartbeat that extends them. A lease is a row for a batch of events.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::counter;
use uuid::Uuid;

use super::Shared;
use crate::store::chain;

/// How often a lease is extended before it would expire: some extensions may fail, and clocks may differ.
const EXTENSIONS_PER_LEASE: u32 = 6;

#[derive(Debug, Default)]
struct State {
    /// Events of each lease whose outcome is not committed.
    open: HashMap<Uuid, usize>,
    finished: Vec<Uuid>,
}

#[derive(Debug, Default)]
pub(super) struct HeldLeases(Mutex<State>);

impl HeldLeases {
    pub(super) fn add(&self, id: Uuid, events: usize) {
        self.lock().open.insert(id, events);
    }

    /// Records that the outcome of one event of each of `leases` is committed.
    pub(super) fn recorded(&self, leases: impl Iterator<Item = Uuid>) {
        let mut state = self.lock();
        for id in leases {
            if let Some(open) = state.open.get_mut(&id) {
                *open -= 1;
                if *open == 0 {
                    state.open.remove(&id);
                    state.finished.push(id);
                }
            }
        }
    }

    pub(super) fn take_finished(&self) -> Vec<Uuid> {
        std::mem::take(&mut self.lock().finished)
    }

    pub(super) fn restore_finished(&self, finished: Vec<Uuid>) {
        self.lock().finished.extend(finished);
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.lock().open.remove(&id);
    }

    fn ids(&self) -> Vec<Uuid> {
        self.lock().open.keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn run(shared: &Shared) {
    loop {
        tokio::time::sleep(shared.options.visibility / EXTENSIONS_PER_LEASE).await;
        let ids = shared.held_leases.ids();
        if !ids.is_empty() {
            extend(shared, &ids).await;
        }
        delete_finished(shared).await;
    }
}

/// Extends leases; returns whether all are still held, `false` also after an error.
pub(super) async fn extend(shared: &Shared, ids: &[Uuid]) -> bool {
    let Some(now) = shared.lease_gate.trusted_now(&*shared.clock) else {
        return false;
    };
    let extended = shared.store.extend_leases(now + shared.options.visibility, ids);
    let kept = match tokio::time::timeout(shared.options.visibility / EXTENSIONS_PER_LEASE, extended).await {
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
    let still_open = shared.held_leases.ids();
    for id in ids.iter().filter(|id| !kept.contains(id) && still_open.contains(id)) {
        tracing::warn!(lease_id = %id, "lease lost");
        shared.held_leases.forget(*id);
    }
    kept.len() == ids.len()
}

/// Deletes the finished leases. A lease that cannot be deleted expires, and no event refers to it.
pub(super) async fn delete_finished(shared: &Shared) {
    let finished = shared.held_leases.take_finished();
    if finished.is_empty() {
        return;
    }
    if let Err(error) = shared.store.record_deliveries(&[], &finished).await {
        tracing::debug!(error = chain(&error), "leases not deleted");
    }
}
