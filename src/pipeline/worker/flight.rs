//! What this process holds, and the heartbeat that keeps it ours: visibility and lease are extended together.
//!
//! A message is held from its receive on, before there is a lease: while the database is away it stays hidden, so an
//! outage spends no receive counts. A [`Hold`] gives up by being dropped, so no path can forget to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::counter;
use uuid::Uuid;

use super::Shared;
use crate::model::Lease;
use crate::pipeline::queue::Receipt;

#[derive(Debug, Clone)]
struct Flight {
    receipt: Receipt,
    /// When visibility was set last.
    hidden: Instant,
    lease: Option<Leased>,
}

#[derive(Debug, Clone, Copy)]
struct Leased {
    event_id: Uuid,
    attempt: i16,
    /// Not later than when the lease was set last.
    since: Instant,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    flights: HashMap<u64, Flight>,
}

/// The messages that this process holds, and their leases.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights(Arc<Mutex<Held>>);

/// Keeps one message hidden, and its event leased, as long as it lives.
#[derive(Debug)]
pub(super) struct Hold {
    flights: Flights,
    key: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.flights.lock().flights.remove(&self.key);
    }
}

impl Hold {
    /// The event is leased, too, not later than `since`.
    pub(super) fn leased(&self, lease: &Lease, since: Instant) {
        if let Some(flight) = self.flights.lock().flights.get_mut(&self.key) {
            flight.lease = Some(Leased {
                event_id: lease.event_id,
                attempt: lease.attempt,
                since,
            });
        }
    }
}

impl Flights {
    /// Holds a message that was received at `since`.
    pub(super) fn hold(&self, receipt: &Receipt, since: Instant) -> Hold {
        let mut held = self.lock();
        let key = held.next;
        held.next += 1;
        let flight = Flight {
            receipt: receipt.clone(),
            hidden: since,
            lease: None,
        };
        held.flights.insert(key, flight);
        Hold {
            flights: self.clone(),
            key,
        }
    }

    /// What was set last before `before`: as messages, or as leases.
    fn older(&self, before: Instant, set: impl Fn(&Flight) -> Option<Instant>) -> Vec<(u64, Flight)> {
        self.lock()
            .flights
            .iter()
            .filter(|(_, flight)| set(flight).is_some_and(|at| at <= before))
            .map(|(key, flight)| (*key, flight.clone()))
            .collect()
    }

    fn change(&self, flights: &[(u64, Flight)], change: impl Fn(&mut Flight)) {
        let mut held = self.lock();
        for (key, _) in flights {
            if let Some(flight) = held.flights.get_mut(key) {
                change(flight);
            }
        }
    }

    fn forget(&self, key: u64) {
        self.lock().flights.remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extends what was set a third of its time ago, again and again. Leases and messages each by themselves: a database
/// that hangs must not let the messages go, nor a queue that hangs the leases.
pub(super) async fn heartbeat(shared: &Shared) {
    let third = shared.options.visibility / 3;
    let leases = async {
        loop {
            tokio::time::sleep(third / 2).await;
            extend_leases(shared, third).await;
        }
    };
    let messages = async {
        loop {
            tokio::time::sleep(third / 2).await;
            extend_visibility(shared, third).await;
        }
    };
    tokio::join!(leases, messages);
}

async fn extend_leases(shared: &Shared, third: Duration) {
    let now = shared.clock.monotonic();
    let Some(before) = now.checked_sub(third) else {
        return;
    };
    let old = shared
        .flights
        .older(before, |flight| flight.lease.map(|lease| lease.since));
    let leases: Vec<(Uuid, i16)> = old
        .iter()
        .filter_map(|(_, flight)| flight.lease)
        .map(|lease| (lease.event_id, lease.attempt))
        .collect();
    if leases.is_empty() {
        return;
    }
    let Some(lost) = extend(shared, &leases, third / 2).await else {
        return;
    };
    counter!("bday_leases_extended_total").increment((leases.len() - lost.len()) as u64);
    let (gone, kept): (Vec<_>, Vec<_>) = old
        .into_iter()
        .partition(|(_, flight)| flight.lease.is_some_and(|lease| lost.contains(&lease.event_id)));
    shared.flights.change(&kept, |flight| {
        if let Some(lease) = &mut flight.lease {
            lease.since = now;
        }
    });
    // Somebody else has these now: their messages are no longer ours to hide.
    for (key, _) in gone {
        shared.flights.forget(key);
    }
}

async fn extend_visibility(shared: &Shared, third: Duration) {
    let now = shared.clock.monotonic();
    let Some(before) = now.checked_sub(third) else {
        return;
    };
    let old = shared.flights.older(before, |flight| Some(flight.hidden));
    let receipts: Vec<_> = old
        .iter()
        .map(|(_, flight)| (flight.receipt.clone(), shared.options.visibility))
        .collect();
    if receipts.is_empty() {
        return;
    }
    match tokio::time::timeout(third, shared.queue.hide(&receipts)).await {
        Ok(Ok(())) => shared.flights.change(&old, |flight| flight.hidden = now),
        Ok(Err(error)) => tracing::warn!(%error, "cannot extend visibility"),
        Err(_) => tracing::warn!(
            patience_ms = third.as_millis() as u64,
            "cannot extend visibility in time"
        ),
    }
}

/// Extends these leases from now on, and gives the events whose lease was lost; none when nothing is known.
pub(super) async fn extend(shared: &Shared, leases: &[(Uuid, i16)], patience: Duration) -> Option<Vec<Uuid>> {
    let until = shared.lease_until();
    let extended = shared.store.extend_leases(shared.holder, until, leases);
    match tokio::time::timeout(patience, extended).await {
        Ok(Ok(lost)) => Some(lost),
        Ok(Err(error)) => {
            tracing::warn!(error = crate::telemetry::chain(&error), "cannot extend leases");
            None
        }
        Err(_) => {
            tracing::warn!(
                patience_ms = patience.as_millis() as u64,
                "cannot extend leases in time"
            );
            None
        }
    }
}
