//! Lease lanes: a batch of events is leased in one statement, and a request begins for each lease.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::STATEMENT_BATCH;
use super::breaker::Ticket;
use super::buffer::{OpenPack, Settled};
use super::{Finished, Polling, Shared, leases};
use crate::model::{AttemptOutcome, EventState, Lease, Reason};
use crate::pipeline::channel::{Greeting, Sent, Verdict};
use crate::store::{LeaseRequest, NotLeased};
use crate::telemetry::chain;

/// Between two attempts at a statement.
const PAUSE: Duration = Duration::from_millis(500);
/// Until events that another transaction held are received again.
const LOCKED_FOR: Duration = Duration::from_secs(5);
/// Until events of kinds that this process does not know are received again, perhaps by another.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// With fewer places than this and more events, a lane waits a moment for more places: statements are cheaper by the dozen.
const GATHER: usize = 64;
const GATHER_FOR: Duration = Duration::from_millis(2);

/// Events that were received and wait for a place.
#[derive(Debug)]
pub(super) struct Incoming {
    state: Mutex<IncomingState>,
    polling: Polling,
}

#[derive(Debug)]
struct IncomingState {
    packs: mpsc::Receiver<Arc<OpenPack>>,
    waiting: VecDeque<Event>,
}

type Event = (Arc<OpenPack>, Uuid);

/// The packs of each event of a batch; nearly always one.
type Packs = HashMap<Uuid, Vec<Arc<OpenPack>>>;

/// What a lane does next.
enum Work {
    /// Lease these events; there is a place and a ticket for each.
    Lease(Vec<Event>, OwnedSemaphorePermit, Vec<Ticket>),
    /// Leave these events to the outbox: they waited for long, or the process stops.
    Return(Vec<Event>),
}

impl IncomingState {
    fn push(&mut self, pack: &Arc<OpenPack>) {
        let events = pack.event_ids.iter();
        self.waiting.extend(events.map(|event| (Arc::clone(pack), *event)));
    }
}

impl Incoming {
    pub(super) fn new(packs: mpsc::Receiver<Arc<OpenPack>>, polling: Polling) -> Arc<Self> {
        let state = IncomingState { packs, waiting: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), polling })
    }

    /// The next work; none when all polls have ended and nothing waits. One lane at a time: the other waits behind it.
    async fn next(&self, shared: &Shared, soft: &CancellationToken) -> Option<Work> {
        let mut state = self.state.lock().await;
        loop {
            while let Ok(pack) = state.packs.try_recv() {
                state.push(&pack);
            }
            let Some((first, _)) = state.waiting.front() else {
                let pack = state.packs.recv().await?;
                state.push(&pack);
                continue;
            };
            let waited = shared.clock.monotonic().saturating_duration_since(first.received_at);
            let left = (shared.options.visibility / 3).saturating_sub(waited);
            if soft.is_cancelled() || left.is_zero() {
                let old = Arc::clone(first);
                let all = soft.is_cancelled();
                return Some(Work::Return(take_old(&mut state.waiting, &old, all)));
            }
            let most = state.waiting.len().min(STATEMENT_BATCH);
            tokio::select! {
                admitted = admit(shared, self.polling, most) => {
                    let (places, tickets) = admitted?;
                    let events = state.waiting.drain(..tickets.len().min(most)).collect();
                    return Some(Work::Lease(events, places, tickets));
                }
                () = tokio::time::sleep(left) => {}
                () = soft.cancelled() => {}
            }
        }
    }
}

/// Takes the events of `old` from the front, or all.
fn take_old(waiting: &mut VecDeque<Event>, old: &Arc<OpenPack>, all: bool) -> Vec<Event> {
    if all {
        return waiting.drain(..).collect();
    }
    let n = waiting.iter().take_while(|(pack, _)| Arc::ptr_eq(pack, old)).count();
    waiting.drain(..n).collect()
}

/// Waits for a place, and for whatever else must allow a request. Returns places and as many tickets.
async fn admit(
    shared: &Shared,
    polling: Polling,
    most: usize,
) -> Option<(OwnedSemaphorePermit, Vec<Ticket>)> {
    if polling == Polling::UntilEmpty {
        let places = shared.buffer.places(most).await?;
        let tickets = shared.breaker.bypass(places.num_permits());
        return Some((places, tickets));
    }
    shared.gate.opened().await;
    let mut places = shared.buffer.places(most).await?;
    if places.num_permits() < most.min(GATHER) {
        tokio::time::sleep(GATHER_FOR).await;
        let more = (most - places.num_permits()).min(shared.buffer.free_places());
        if more > 0
            && let Some(gathered) = shared.buffer.places(more).await
        {
            places.merge(gathered);
        }
    }
    let mut tickets = shared.breaker.admit(places.num_permits()).await;
    let allowed = shared.rate.take(tickets.len()).await;
    tickets.truncate(allowed);
    let spare = places.num_permits() - tickets.len();
    drop(places.split(spare));
    Some((places, tickets))
}

pub(super) async fn run(
    shared: Arc<Shared>,
    incoming: Arc<Incoming>,
    finished: mpsc::Sender<Finished>,
    settled: mpsc::Sender<Settled>,
    soft: CancellationToken,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    let mut requests = JoinSet::new();
    let mut open = true;
    let mut next = std::pin::pin!(incoming.next(&shared, &soft));
    loop {
        let work = tokio::select! {
            work = &mut next, if open => {
                let Some(work) = work else { open = false; continue };
                next.set(incoming.next(&shared, &soft));
                work
            }
            // Reaped here, so that a request that panicked ends the process.
            Some(ended) = requests.join_next() => { ended?; continue }
            else => return Ok(()),
        };
        while let Some(ended) = requests.try_join_next() {
            ended?;
        }
        match work {
            Work::Return(events) => {
                shared.buffer.left(events.len());
                let packs = events.iter().filter_map(|(pack, id)| pack.later(*id, Duration::ZERO));
                settle(packs, &settled).await?;
            }
            Work::Lease(events, places, tickets) => {
                shared.buffer.left(events.len());
                let (leased, packs) = lease(&shared, events, &soft).await;
                begin(&shared, &mut requests, leased, places, tickets, &finished, &hard);
                settle(packs.into_iter(), &settled).await?;
            }
        }
    }
}

async fn settle(packs: impl Iterator<Item = Settled>, settled: &mpsc::Sender<Settled>) -> anyhow::Result<()> {
    for pack in packs {
        anyhow::ensure!(settled.send(pack).await.is_ok(), "the settle stage ended");
    }
    Ok(())
}

/// Begins a request for each lease.
fn begin(
    shared: &Arc<Shared>,
    requests: &mut JoinSet<()>,
    (lease_id, leases): (Uuid, Vec<Lease>),
    mut places: OwnedSemaphorePermit,
    mut tickets: Vec<Ticket>,
    finished: &mpsc::Sender<Finished>,
    hard: &CancellationToken,
) {
    for lease in leases {
        // There is one of each for each event.
        let (Some(place), Some(ticket)) = (places.split(1), tickets.pop()) else {
            return;
        };
        let (shared, finished, hard) = (Arc::clone(shared), finished.clone(), hard.clone());
        requests.spawn(deliver(shared, lease_id, lease, place, ticket, finished, hard));
    }
}

/// Leases what can be sent now. Returns the leases, and the packs that are settled by it.
async fn lease(
    shared: &Shared,
    events: Vec<Event>,
    soft: &CancellationToken,
) -> ((Uuid, Vec<Lease>), Vec<Settled>) {
    // An event can be in several packs, or twice in one.
    let mut packs: Packs = HashMap::with_capacity(events.len());
    let mut settled = Vec::new();
    for (pack, id) in events {
        packs.entry(id).or_default().push(pack);
    }
    let ids: Vec<Uuid> = packs.keys().copied().collect();
    let mut lease_id = Uuid::now_v7();
    let mut leases = loop {
        if soft.is_cancelled() {
            break Vec::new();
        }
        match try_lease(shared, lease_id, &ids).await {
            Ok(Some(leases)) => break leases,
            Ok(None) => drop(soft.run_until_cancelled(shared.gate.opened()).await),
            Err(error) => {
                // All places may wait for this, and then no poll makes progress.
                shared.beat.turn();
                tracing::warn!(error = chain(&error), events = ids.len(), "lease failed");
                soft.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        lease_id = Uuid::now_v7();
    };
    leases.retain(|lease| {
        packs.remove(&lease.event_id).is_some_and(|packs| {
            settled.extend(packs.iter().filter_map(|pack| pack.done()));
            true
        })
    });
    if !packs.is_empty() {
        settle_others(shared, packs, soft, &mut settled).await;
    }
    ((lease_id, leases), settled)
}

/// One statement. None: the clock is not to be trusted at this moment.
async fn try_lease(shared: &Shared, id: Uuid, ids: &[Uuid]) -> crate::store::Result<Option<Vec<Lease>>> {
    let since = shared.clock.monotonic();
    let Some(request) = request(shared, id) else {
        return Ok(None);
    };
    let leases = shared.store.lease(request, ids).await?;
    if leases.is_empty() {
        return Ok(Some(leases));
    }
    shared.leases.add(id, leases.len());
    // A lease counts from when it was asked for. One that a slow database granted late may have expired, so it is extended first;
    // where that fails, its events are retried when it expires.
    let late = shared.clock.monotonic().saturating_duration_since(since) > shared.options.visibility / 3;
    if late && !leases::extend(shared, &[id]).await {
        shared.leases.forget(id);
        return Ok(Some(Vec::new()));
    }
    Ok(Some(leases))
}

fn request(shared: &Shared, id: Uuid) -> Option<LeaseRequest<'_>> {
    let now = shared.gate.now(&*shared.clock)?;
    Some(LeaseRequest {
        id,
        holder: shared.holder,
        now,
        until: now + shared.options.visibility,
        kinds: &shared.kinds,
        kinds_with_years: &shared.kinds_with_years,
        late_before: now - shared.options.late_max,
    })
}

/// Settles events that were not leased.
async fn settle_others(shared: &Shared, packs: Packs, soft: &CancellationToken, settled: &mut Vec<Settled>) {
    let ids: Vec<Uuid> = packs.keys().copied().collect();
    let looked = match request(shared, Uuid::nil()).filter(|_| !soft.is_cancelled()) {
        Some(request) => shared.store.not_leased(request, &ids).await,
        None => Ok(NotLeased { locked: ids, ..NotLeased::default() }),
    };
    let NotLeased { ended, locked, unknown_kind } = match looked {
        Ok(looked) => looked,
        Err(error) => {
            tracing::warn!(error = chain(&error), events = packs.len(), "lease check failed");
            settled.extend(packs.values().flatten().filter_map(|pack| pack.unknown()));
            return;
        }
    };
    note(&ended);
    let wait = if soft.is_cancelled() { Duration::ZERO } else { LOCKED_FOR };
    let mut left: HashMap<Uuid, Duration> = locked.into_iter().map(|id| (id, wait)).collect();
    left.extend(unknown_kind.into_iter().map(|id| (id, UNKNOWN_FOR)));
    counter!("bday_events_deferred_total").increment(left.len() as u64);
    for (id, packs) in packs {
        settled.extend(packs.iter().filter_map(|pack| match left.get(&id) {
            Some(wait) => pack.later(id, *wait),
            None => pack.done(),
        }));
    }
}

fn note(ended: &[(Uuid, EventState)]) {
    for (event_id, state) in ended {
        let reason = if *state == EventState::Cancelled { Reason::UserDeleted } else { Reason::Late };
        counter!(format!("bday_events_{state}_total"), "reason" => reason.as_str()).increment(1);
        tracing::info!(%event_id, %state, %reason, "event ended without an attempt");
    }
}

/// One attempt. Its place is free again as soon as the request has ended.
async fn deliver(
    shared: Arc<Shared>,
    lease_id: Uuid,
    lease: Lease,
    place: OwnedSemaphorePermit,
    ticket: Ticket,
    finished: mpsc::Sender<Finished>,
    hard: CancellationToken,
) {
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
            hard.run_until_cancelled(shared.channel.send(&greeting)).await.unwrap_or_else(broken_off)
        }
        Err(text) => Sent::failed(AttemptOutcome::Failed, Verdict::GiveUp, Reason::Template, text),
    };
    gauge!("bday_in_flight").decrement(1);
    match sent.reason {
        // These say nothing of the receiver.
        Some(Reason::Shutdown | Reason::Template) => drop(ticket),
        _ => ticket.note(sent.verdict == Verdict::Done),
    }
    let outcome = Finished { lease, lease_id, sent, started_at, finished_at: shared.clock.now() };
    // Where recording is behind, this waits and holds its place, so that polling stops too.
    let _ = finished.send(outcome).await;
    drop(place);
    shared.buffer.freed();
}

fn broken_off() -> Sent {
    let text = "the process was stopped before an answer came".to_owned();
    let again = Verdict::Retry(Some(Duration::ZERO));
    Sent::failed(AttemptOutcome::Unknown, again, Reason::Shutdown, text)
}
