//! What is in flight, and the heartbeat that keeps it ours: visibility and lease are extended together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::counter;
use uuid::Uuid;

use super::Shared;
use crate::model::Lease;
use crate::queue::Receipt;

#[derive(Debug, Clone)]
struct Flight {
    attempt: i16,
    receipt: Receipt,
    /// When lease and visibility were set last.
    since: Instant,
}

/// The leases that this process holds, from lease to record.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Uuid, Flight>>);

impl Flights {
    pub(super) fn begin(&self, lease: &Lease, receipt: &Receipt, since: Instant) {
        let flight = Flight {
            attempt: lease.attempt,
            receipt: receipt.clone(),
            since,
        };
        self.lock().insert(lease.event_id, flight);
    }

    pub(super) fn end(&self, event_id: Uuid, attempt: i16) {
        let mut flights = self.lock();
        if flights
            .get(&event_id)
            .is_some_and(|flight| flight.attempt == attempt)
        {
            flights.remove(&event_id);
        }
    }

    fn older_than(&self, age: Duration, now: Instant) -> Vec<(Uuid, Flight)> {
        let old = |flight: &Flight| now.duration_since(flight.since) >= age;
        self.lock()
            .iter()
            .filter(|(_, flight)| old(flight))
            .map(|(id, flight)| (*id, flight.clone()))
            .collect()
    }

    fn extended(&self, ids: &[(Uuid, Flight)], now: Instant) {
        let mut flights = self.lock();
        for (id, _) in ids {
            if let Some(flight) = flights.get_mut(id) {
                flight.since = now;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extends what has been in flight for a third of its time, again and again.
pub(super) async fn heartbeat(shared: &Shared) {
    let third = shared.options.visibility / 3;
    loop {
        tokio::time::sleep(third / 2).await;
        beat(shared, third).await;
    }
}

async fn beat(shared: &Shared, age: Duration) {
    let mut old = shared.flights.older_than(age, shared.clock.monotonic());
    if old.is_empty() {
        return;
    }
    let leases: Vec<(Uuid, i16)> = old.iter().map(|(id, flight)| (*id, flight.attempt)).collect();
    let until = shared.clock.now() + shared.options.visibility;
    match shared.store.extend_leases(shared.holder, until, &leases).await {
        Ok(lost) => {
            // Somebody else has these now: their messages are no longer ours to hide.
            for (id, attempt) in leases.iter().filter(|(id, _)| lost.contains(id)) {
                shared.flights.end(*id, *attempt);
            }
            old.retain(|(id, _)| !lost.contains(id));
        }
        // With the database away nobody else can lease either; hiding the messages saves their receives.
        Err(error) => tracing::warn!(error = crate::scheduler::chain(&error), "cannot extend leases"),
    }
    let receipts: Vec<_> = old
        .iter()
        .map(|(_, flight)| (flight.receipt.clone(), shared.options.visibility))
        .collect();
    counter!("bday_leases_extended_total").increment(receipts.len() as u64);
    if !receipts.is_empty()
        && let Err(error) = shared.queue.hide(&receipts).await
    {
        tracing::warn!(%error, "cannot extend visibility");
    }
    shared.flights.extended(&old, shared.clock.monotonic());
}
