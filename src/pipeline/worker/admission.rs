//! Admission: an event is leased only when its request may start at once. It waits for the lease gate, a slot, its channel and the
//! rate limit, in this order. With several channels, it waits for its channel after the lease.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::capacity::Capacity;
use super::channels::ChannelPermit;
use super::{RunUntil, Shared};

/// With fewer slots than this and more events, a batch waits a moment for more slots: a statement costs nearly the same for dozens of
/// events as for one.
const GATHER: usize = 64;
const GATHER_TIME: Duration = Duration::from_millis(2);

/// The right to make one request.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) slot: OwnedSemaphorePermit,
    /// None if the channel is not known before the lease.
    pub(super) permit: Option<ChannelPermit>,
}

/// Waits for the first admission; returns up to `max`, or `None` if the capacity is closed.
pub(super) async fn admit(shared: &Shared, run_until: RunUntil, max: usize) -> Option<Vec<Admission>> {
    let Shared { capacity, channels, lease_gate, rate_limiter, .. } = shared;
    if run_until == RunUntil::QueueEmpty {
        let slots = capacity.acquire_slots(max).await?;
        let permits = std::iter::repeat_with(|| None).take(slots.num_permits()).collect();
        return Some(admissions(slots, permits));
    }
    lease_gate.wait_until_open().await;
    let slots = gather_slots(capacity, max).await?;
    let mut permits = channels.admit(slots.num_permits()).await;
    permits.truncate(rate_limiter.acquire(permits.len()).await);
    Some(admissions(slots, permits))
}

async fn gather_slots(capacity: &Capacity, max: usize) -> Option<OwnedSemaphorePermit> {
    let mut slots = capacity.acquire_slots(max).await?;
    if slots.num_permits() < max.min(GATHER) {
        tokio::time::sleep(GATHER_TIME).await;
        let more = (max - slots.num_permits()).min(capacity.free_slots());
        if more > 0
            && let Some(gathered) = capacity.acquire_slots(more).await
        {
            slots.merge(gathered);
        }
    }
    Some(slots)
}

fn admissions(mut slots: OwnedSemaphorePermit, permits: Vec<Option<ChannelPermit>>) -> Vec<Admission> {
    let admission = |permit| Some(Admission { slot: slots.split(1)?, permit });
    permits.into_iter().filter_map(admission).collect()
}
