//! Lease lanes: each leases a batch of events in one statement, and begins a request for each lease.

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
use crate::pipeline::channel::{Disposition, Greeting, Sent};
use crate::store::chain;
use crate::store::{LeaseRequest, Result, UnleasedEvents};

const PAUSE: Duration = Duration::from_millis(500);
const LOCKED_FOR: Duration = Duration::from_secs(5);
/// Until events of kinds that this process does not know are received again, perhaps by another.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// With fewer places than this and more events, a lane waits a moment for more places: statements cost less per event by the dozen.
const GATHER: usize = 64;
const GATHER_FOR: Duration = Duration::from_millis(2);

/// What the lanes share. The channels to the later stages close when all lanes and requests have ended.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) shared: Arc<Shared>,
    pub(super) polling: Polling,
    pub(super) incoming: Mutex<Incoming>,
    pub(super) finished: mpsc::Sender<Finished>,
    pub(super) settled: mpsc::Sender<Settled>,
    pub(super) soft: CancellationToken,
    pub(super) hard: CancellationToken,
}

#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) packs: mpsc::Receiver<Arc<OpenPack>>,
    pub(super) waiting: VecDeque<Event>,
}

type Event = (Arc<OpenPack>, Uuid);

/// The packs of each event of a batch; nearly always one.
type Packs = HashMap<Uuid, Vec<Arc<OpenPack>>>;

#[derive(Debug)]
struct Admission {
    place: OwnedSemaphorePermit,
    ticket: Ticket,
}

enum Work {
    Lease(Vec<Event>, Vec<Admission>),
    /// Leave these events to the outbox: they waited for long, or the process stops.
    Return(Vec<Event>),
}

impl Incoming {
    fn push(&mut self, pack: &Arc<OpenPack>) {
        self.waiting.extend(pack.message.event_ids.iter().map(|event| (Arc::clone(pack), *event)));
    }
}

impl Lanes {
    /// Runs one lane until all polls have ended and no event waits, and its requests have ended.
    pub(super) async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        let mut requests = JoinSet::new();
        let mut open = true;
        let mut next = std::pin::pin!(self.next());
        loop {
            let work = tokio::select! {
                work = &mut next, if open => {
                    let Some(work) = work else { open = false; continue };
                    next.set(self.next());
                    work
                }
                // A request that panicked ends the process.
                Some(ended) = requests.join_next() => { ended?; continue }
                else => return Ok(()),
            };
            while let Some(ended) = requests.try_join_next() {
                ended?;
            }
            let settled = match work {
                Work::Return(events) => {
                    self.shared.buffer.remove(events.len());
                    events.iter().filter_map(|(pack, id)| pack.later(*id, Duration::ZERO)).collect()
                }
                Work::Lease(events, admissions) => {
                    let all = events.len();
                    let (lease_id, leases, settled) = self.lease(events).await;
                    self.shared.buffer.remove(all - leases.len());
                    for (lease, admission) in leases.into_iter().zip(admissions) {
                        requests.spawn(Arc::clone(&self).deliver(lease_id, lease, admission));
                    }
                    settled
                }
            };
            for pack in settled {
                anyhow::ensure!(self.settled.send(pack).await.is_ok(), "the settle stage ended");
            }
        }
    }

    /// Returns the next work; none when all polls have ended and no event waits. Serves one lane at a time.
    async fn next(&self) -> Option<Work> {
        let mut incoming = self.incoming.lock().await;
        loop {
            while let Ok(pack) = incoming.packs.try_recv() {
                incoming.push(&pack);
            }
            let Some(first) = incoming.waiting.front() else {
                let pack = incoming.packs.recv().await?;
                incoming.push(&pack);
                continue;
            };
            let now = self.shared.clock.monotonic();
            let left = |(pack, _): &Event| {
                let waited = now.saturating_duration_since(pack.received_at);
                if self.soft.is_cancelled() {
                    Duration::ZERO
                } else {
                    (self.shared.options.visibility / 3).saturating_sub(waited)
                }
            };
            let wait = left(first);
            if wait.is_zero() {
                let n = incoming.waiting.iter().take_while(|event| left(event).is_zero()).count();
                return Some(Work::Return(incoming.waiting.drain(..n).collect()));
            }
            let most = incoming.waiting.len().min(STATEMENT_BATCH);
            tokio::select! {
                admissions = self.admit(most) => {
                    let admissions = admissions?;
                    let events = incoming.waiting.drain(..admissions.len().min(most)).collect();
                    return Some(Work::Lease(events, admissions));
                }
                () = tokio::time::sleep(wait) => {}
                () = self.soft.cancelled() => {}
            }
        }
    }

    /// Waits for a place, for the breaker and for the rate limit. Returns up to `most` admissions.
    async fn admit(&self, most: usize) -> Option<Vec<Admission>> {
        let Shared { buffer, breaker, gate, rate, .. } = &*self.shared;
        let at_once = self.polling == Polling::UntilEmpty;
        if !at_once {
            gate.opened().await;
        }
        let mut places = buffer.places(most).await?;
        let tickets = if at_once {
            breaker.tickets(places.num_permits())
        } else {
            if places.num_permits() < most.min(GATHER) {
                tokio::time::sleep(GATHER_FOR).await;
                let more = (most - places.num_permits()).min(buffer.free_places());
                if more > 0
                    && let Some(gathered) = buffer.places(more).await
                {
                    places.merge(gathered);
                }
            }
            let mut tickets = breaker.admit(places.num_permits()).await;
            tickets.truncate(rate.take(tickets.len()).await);
            tickets
        };
        let admission = |ticket| Some(Admission { place: places.split(1)?, ticket });
        Some(tickets.into_iter().filter_map(admission).collect())
    }

    /// Leases the events that can be sent now. Returns the leases, and the packs that this settles.
    async fn lease(&self, events: Vec<Event>) -> (Uuid, Vec<Lease>, Vec<Settled>) {
        // An event can be in several packs, or twice in one.
        let mut packs: Packs = HashMap::with_capacity(events.len());
        for (pack, id) in events {
            packs.entry(id).or_default().push(pack);
        }
        let ids: Vec<Uuid> = packs.keys().copied().collect();
        let mut lease_id = Uuid::now_v7();
        let mut leases = loop {
            if self.soft.is_cancelled() {
                break Vec::new();
            }
            match self.try_lease(lease_id, &ids).await {
                Ok(Some(leases)) => break leases,
                Ok(None) => drop(self.soft.run_until_cancelled(self.shared.gate.opened()).await),
                Err(error) => {
                    // All places may wait for this, and then no poll makes progress.
                    self.shared.heartbeat.alive();
                    tracing::warn!(error = chain(&error), events = ids.len(), "lease failed");
                    self.soft.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
            }
            lease_id = Uuid::now_v7();
        };
        let mut settled = Vec::new();
        leases.retain(|lease| {
            packs.remove(&lease.event_id).is_some_and(|packs| {
                settled.extend(packs.iter().filter_map(OpenPack::done));
                true
            })
        });
        if !packs.is_empty() {
            settled.append(&mut self.settle_others(packs).await);
        }
        (lease_id, leases, settled)
    }

    /// Runs one statement. None: the clock cannot be trusted at this moment.
    async fn try_lease(&self, id: Uuid, ids: &[Uuid]) -> Result<Option<Vec<Lease>>> {
        let shared = &self.shared;
        let since = shared.clock.monotonic();
        let Some(request) = self.request(id) else {
            return Ok(None);
        };
        let leases = shared.store.lease(request, ids).await?;
        if leases.is_empty() {
            return Ok(Some(leases));
        }
        shared.leases.add(id, leases.len());
        // A lease that a slow database granted late may have expired. Where it cannot be extended, its events are retried later.
        let late = shared.clock.monotonic().saturating_duration_since(since) > shared.options.visibility / 3;
        if late && !leases::extend(shared, &[id]).await {
            shared.leases.forget(id);
            return Ok(Some(Vec::new()));
        }
        Ok(Some(leases))
    }

    fn request(&self, id: Uuid) -> Option<LeaseRequest<'_>> {
        let shared = &self.shared;
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

    async fn settle_others(&self, packs: Packs) -> Vec<Settled> {
        let ids: Vec<Uuid> = packs.keys().copied().collect();
        let stopped = self.soft.is_cancelled();
        let looked = match self.request(Uuid::nil()).filter(|_| !stopped) {
            Some(request) => self.shared.store.check_unleased(request, &ids).await,
            None => Ok(UnleasedEvents { locked: ids, ..UnleasedEvents::default() }),
        };
        let UnleasedEvents { ended, locked, unknown_kind } = match looked {
            Ok(looked) => looked,
            Err(error) => {
                tracing::warn!(error = chain(&error), events = packs.len(), "lease check failed");
                return packs.values().flatten().filter_map(OpenPack::unknown).collect();
            }
        };
        for (event_id, state) in ended {
            let reason = if state == EventState::Cancelled { Reason::UserDeleted } else { Reason::Late };
            counter!(format!("bday_events_{state}_total"), "reason" => reason.as_str()).increment(1);
            tracing::info!(%event_id, %state, %reason, "event ended without an attempt");
        }
        let wait = if stopped { Duration::ZERO } else { LOCKED_FOR };
        let mut left: HashMap<Uuid, Duration> = locked.into_iter().map(|id| (id, wait)).collect();
        left.extend(unknown_kind.into_iter().map(|id| (id, UNKNOWN_FOR)));
        counter!("bday_events_deferred_total").increment(left.len() as u64);
        let mut settled = Vec::new();
        for (id, packs) in packs {
            settled.extend(packs.iter().filter_map(|pack| match left.get(&id) {
                Some(wait) => pack.later(id, *wait),
                None => pack.done(),
            }));
        }
        settled
    }

    /// Makes one attempt. Its place is free again as soon as the request has ended.
    async fn deliver(self: Arc<Self>, lease_id: Uuid, lease: Lease, admission: Admission) {
        let shared = &self.shared;
        let started_at = shared.clock.now();
        gauge!("bday_in_flight").increment(1);
        let sent = match shared.messages.text(&lease) {
            Ok(message) => {
                let Lease { event_id, user_id, due_at, .. } = lease;
                let greeting = Greeting { event_id, user_id, message, due_at };
                let sent = self.hard.run_until_cancelled(shared.channel.send(&greeting)).await;
                sent.unwrap_or_else(broken_off)
            }
            Err(text) => Sent::failed(AttemptOutcome::Failed, Disposition::GiveUp, Reason::Template, text),
        };
        gauge!("bday_in_flight").decrement(1);
        let Admission { place, ticket } = admission;
        match sent.reason {
            // These say nothing about the receiver.
            Some(Reason::Shutdown | Reason::Template) => drop(ticket),
            _ => ticket.note(sent.verdict == Disposition::Done),
        }
        let outcome = Finished { lease, lease_id, sent, started_at, finished_at: shared.clock.now() };
        // Where recording is behind, this waits and holds its place, so that polling stops too.
        let _ = self.finished.send(outcome).await;
        drop(place);
        shared.buffer.remove(1);
    }
}

fn broken_off() -> Sent {
    let text = "the process was stopped before an answer came".to_owned();
    let again = Disposition::Retry(Some(Duration::ZERO));
    Sent::failed(AttemptOutcome::Unknown, again, Reason::Shutdown, text)
}
