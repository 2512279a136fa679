//! Lease a batch in one statement, and begin a request for each lease.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::give_back::give_back;
use super::{Batches, Finished, Job, Shared, flight};
use crate::pipeline::channel::{Greeting, Sent, Verdict};
use crate::model::{AttemptOutcome, Lease, Reason};
use crate::pipeline::queue::Receipt;
use crate::store::{LeaseRequest, Refusal, Refused};

/// Between two attempts at a lease when the database is away or contended.
const PAUSE: Duration = Duration::from_millis(500);
/// Before another look at an event whose claim has not committed yet: a claim takes some tens of milliseconds.
const SOON: Duration = Duration::from_millis(15);

/// Before another look at what the cap held back. The bucket holds four times as much, so nothing is lost by it.
const MOMENT: Duration = Duration::from_millis(25);

/// Before another look at one whose claim is still open after many looks.
const LATER: Duration = Duration::from_secs(2);

pub(super) async fn run(
    shared: Arc<Shared>,
    jobs: Batches<Job>,
    finished: mpsc::Sender<Finished>,
    soft: CancellationToken,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    let mut requests = JoinSet::new();
    let mut again: JoinSet<Vec<Job>> = JoinSet::new();
    let mut open = true;
    // What a stop leaves unworked. It goes back when nobody polls any more: a poll that is still under way would take it once
    // more, and spend a receive on it.
    let mut unworked = Vec::new();
    // Outlives the rounds, since it may hold messages.
    let mut next = std::pin::pin!(jobs.next());
    loop {
        if !open && !unworked.is_empty() {
            give_back(&shared, std::mem::take(&mut unworked), Duration::ZERO).await;
        }
        let mut batch = tokio::select! {
            batch = &mut next, if open => {
                let Some(batch) = batch else { open = false; continue };
                next.set(jobs.next());
                batch
            }
            Some(soon) = again.join_next() => soon?,
            // Reaped here, so that a request that panicked ends the process.
            Some(ended) = requests.join_next() => { ended?; continue }
            else => return Ok(()),
        };
        while let Some(ended) = requests.try_join_next() {
            ended?;
        }
        if soft.is_cancelled() {
            unworked.append(&mut batch);
            continue;
        }
        if *shared.paused.borrow() {
            give_back(&shared, batch, Duration::ZERO).await;
            continue;
        }
        let since = shared.clock.monotonic();
        let (allowed, wait) = match shared.sending.take_now(batch.len()) {
            Ok(allowed) => (allowed, MOMENT),
            Err(wait) => (0, wait.max(MOMENT)),
        };
        let rest = batch.split_off(allowed);
        if !rest.is_empty() {
            // Held back on purpose is not stuck.
            shared.beat.touch();
            again.spawn(later(rest, wait, soft.clone()));
        }
        if batch.is_empty() {
            continue;
        }
        let (leased, soon) = lease(&shared, batch, &soft).await;
        shared.sending.give_back(allowed - leased.len());
        shared.sending.used(leased.len(), since);
        for (lease, job) in leased {
            requests.spawn(deliver(
                Arc::clone(&shared),
                lease,
                job,
                finished.clone(),
                hard.clone(),
            ));
        }
        if !soon.is_empty() {
            again.spawn(later(soon, SOON, soft.clone()));
        }
    }
}

/// These, after `wait`, or at a stop, which gives them back.
async fn later(jobs: Vec<Job>, wait: Duration, soft: CancellationToken) -> Vec<Job> {
    soft.run_until_cancelled(tokio::time::sleep(wait)).await;
    jobs
}

/// Leases what can be sent, and does with the other messages what the store says. Gives those to look at again soon.
async fn lease(shared: &Shared, batch: Vec<Job>, soft: &CancellationToken) -> (Vec<(Lease, Job)>, Vec<Job>) {
    let mut by_event: HashMap<Uuid, Job> = HashMap::with_capacity(batch.len());
    let mut copies = Vec::new();
    for job in batch {
        // Of an event that is leased now, a second copy is left alone: it may be the very same message, so an ack
        // would take both. It comes again when its visibility ends, and by then the event may be finished.
        match by_event.entry(job.event_id) {
            Entry::Vacant(first) => {
                first.insert(job);
            }
            Entry::Occupied(_) => copies.push(job),
        }
    }
    // In order, so that two processes that hold copies of the same messages do not lock each other out.
    let mut ids: Vec<Uuid> = by_event.keys().copied().collect();
    ids.sort_unstable();
    let (mut leases, refused, mut since) = loop {
        let (now, since) = (shared.clock.now(), shared.clock.monotonic());
        let request = LeaseRequest {
            holder: shared.holder,
            now,
            until: shared.lease_until(),
            late_before: now - shared.options.late_max,
        };
        match shared.store.lease(request, &ids).await {
            Ok((leases, refused)) => break (leases, refused, since),
            Err(error) => {
                // All places may be taken by messages that wait for this, and then no poll goes round.
                shared.beat.turn();
                let error = crate::telemetry::chain(&error);
                tracing::warn!(error, messages = ids.len(), "cannot lease; trying again");
                if soft
                    .run_until_cancelled(tokio::time::sleep(PAUSE))
                    .await
                    .is_none()
                {
                    // At a stop, nothing is leased any more.
                    return (Vec::new(), by_event.into_values().collect());
                }
            }
        }
    };
    // A lease counts from when it was asked for. One that a slow database gave late may be over before the request is,
    // so it is renewed first, and not used where that fails: its message comes again.
    let third = shared.options.visibility / 3;
    if shared.clock.monotonic().duration_since(since) > third && !leases.is_empty() {
        let held: Vec<(Uuid, i16)> = leases
            .iter()
            .map(|lease| (lease.event_id, lease.attempt))
            .collect();
        since = shared.clock.monotonic();
        let lost = flight::extend(shared, &held, third).await;
        leases.retain(|lease| lost.as_ref().is_some_and(|lost| !lost.contains(&lease.event_id)));
    }
    let mut taken = Vec::with_capacity(leases.len());
    for lease in leases {
        if let Some(job) = by_event.remove(&lease.event_id) {
            job.hold.leased(&lease, since);
            taken.push((lease, job));
        }
    }
    let others = by_event.into_values().chain(copies).collect();
    let soon = refuse(shared, &refused, others).await;
    (taken, soon)
}

/// Does with each message what the store says of its event. A copy whose event was leased is not mentioned there.
async fn refuse(shared: &Shared, refused: &[Refused], jobs: Vec<Job>) -> Vec<Job> {
    let (mut drops, mut waits) = (Vec::new(), Vec::new());
    let (mut soon, mut later) = (Vec::new(), Vec::new());
    let now = shared.clock.now();
    for Refused { event_id, refusal } in refused {
        if let Refusal::Ended(state, reason) = refusal {
            counter!(format!("bday_events_{state}_total"), "reason" => reason.as_str()).increment(1);
            tracing::info!(%event_id, %state, %reason, "event ended without an attempt");
        }
    }
    let refused: HashMap<Uuid, Refusal> = refused.iter().map(|r| (r.event_id, r.refusal)).collect();
    // A message that has been here for long must not become visible while we look at it.
    let patience = shared.options.visibility / 3;
    for job in jobs {
        match refused.get(&job.event_id) {
            None => {}
            Some(Refusal::Drop | Refusal::Ended(..)) => drops.push(job.message.receipt),
            Some(Refusal::Soon) if shared.clock.monotonic().duration_since(job.received_at) < patience => {
                soon.push(job);
            }
            Some(Refusal::Soon) => later.push(job),
            Some(Refusal::Wait(until)) => {
                // A second more: the lease must have run out when the message is back.
                let left = (*until - now)
                    .to_std()
                    .unwrap_or_default()
                    .min(shared.options.visibility);
                waits.push((job.message.receipt, left + Duration::from_secs(1)));
            }
        }
    }
    drop_messages(shared, drops).await;
    if !later.is_empty() {
        counter!("bday_messages_deferred_total").increment(later.len() as u64);
        give_back(shared, later, LATER).await;
    }
    if !waits.is_empty() {
        counter!("bday_messages_deferred_total").increment(waits.len() as u64);
        if let Err(error) = shared.queue.hide(&waits).await {
            tracing::warn!(%error, "messages cannot be put off; they come again when their visibility ends");
        }
    }
    soon
}

async fn drop_messages(shared: &Shared, receipts: Vec<Receipt>) {
    if receipts.is_empty() {
        return;
    }
    counter!("bday_messages_dropped_total").increment(receipts.len() as u64);
    if let Err(error) = shared.queue.ack(&receipts).await {
        tracing::warn!(%error, "messages cannot be dropped; they come again");
    }
}

/// One attempt. Its place is free again as soon as the request has ended.
async fn deliver(
    shared: Arc<Shared>,
    lease: Lease,
    job: Job,
    finished: mpsc::Sender<Finished>,
    hard: CancellationToken,
) {
    let Job {
        message,
        permit,
        ticket,
        hold,
        ..
    } = job;
    let started_at = shared.clock.now();
    gauge!("bday_in_flight").increment(1);
    let sent = match shared.messages.text(&lease) {
        Ok(text) => {
            let greeting = Greeting {
                event_id: lease.event_id,
                user_id: lease.user_id,
                message: text,
                due_at: lease.due_at,
            };
            hard.run_until_cancelled(shared.channel.send(&greeting))
                .await
                .unwrap_or_else(|| {
                    let text = "the process was stopped before an answer came".to_owned();
                    let again = Verdict::Retry(Some(Duration::ZERO));
                    Sent::failed(AttemptOutcome::Unknown, again, Reason::Shutdown, text)
                })
        }
        Err(text) => Sent::failed(AttemptOutcome::Failed, Verdict::GiveUp, Reason::Template, text),
    };
    gauge!("bday_in_flight").decrement(1);
    let finished_at = shared.clock.now();
    match sent.reason {
        // These say nothing of the receiver.
        Some(Reason::Shutdown | Reason::Template) => drop(ticket),
        _ => ticket.note(sent.verdict == Verdict::Done),
    }
    // Where recording is behind, this waits, holding its place: so polling stops too.
    let _ = finished
        .send(Finished {
            lease,
            message,
            hold,
            sent,
            started_at,
            finished_at,
        })
        .await;
    drop(permit);
}
