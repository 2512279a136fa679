//! Lease: leases a batch of events in one statement.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::admission::{Admission, admit};
use super::batch::STATEMENT_BATCH;
use super::received_pack::ReceivedPack;
use super::{LeasedEvent, RunUntil, Shared, held_leases, spans};
use crate::model::{EventState, Lease};
use crate::store::{LeaseRequest, Result, UnleasedEvents, chain};

const RETRY_PAUSE: Duration = Duration::from_millis(500);
const DEFER_LOCKED: Duration = Duration::from_secs(5);
/// Until events of kinds or channels that this process does not have are received again, perhaps by another.
const DEFER_UNKNOWN: Duration = Duration::from_secs(1);

/// The lease tasks share it. The channel to the settle stage closes when all tasks have ended.
#[derive(Debug)]
pub(super) struct LeaseStage {
    shared: Arc<Shared>,
    run_until: RunUntil,
    intake: Mutex<Intake>,
    settled: mpsc::Sender<Arc<ReceivedPack>>,
    soft: CancellationToken,
}

/// Received events that wait for a lease.
#[derive(Debug)]
struct Intake {
    received: mpsc::Receiver<Arc<ReceivedPack>>,
    waiting: VecDeque<PackedEvent>,
}

#[derive(Debug)]
pub(super) struct PackedEvent {
    id: Uuid,
    pack: Arc<ReceivedPack>,
}

pub(super) enum Batch {
    Lease(Vec<PackedEvent>, Vec<Admission>),
    /// Events that have waited too long here, or at a stop: they return to the outbox.
    Return(Vec<PackedEvent>),
}

pub(super) struct Leased {
    /// The id of the leases.
    pub(super) id: Uuid,
    pub(super) leases: Vec<(LeasedEvent, Admission)>,
    pub(super) settled: Vec<Arc<ReceivedPack>>,
}

/// The packs of each event of a batch; nearly always one.
type PacksByEvent = HashMap<Uuid, Vec<Arc<ReceivedPack>>>;

impl Intake {
    fn push(&mut self, pack: &Arc<ReceivedPack>) {
        let event = |id: &Uuid| PackedEvent { id: *id, pack: Arc::clone(pack) };
        self.waiting.extend(pack.message.event_ids.iter().map(event));
    }
}

impl LeaseStage {
    pub(super) fn new(
        shared: Arc<Shared>,
        run_until: RunUntil,
        received: mpsc::Receiver<Arc<ReceivedPack>>,
        settled: mpsc::Sender<Arc<ReceivedPack>>,
        soft: CancellationToken,
    ) -> Self {
        let intake = Mutex::new(Intake { received, waiting: VecDeque::new() });
        Self { shared, run_until, intake, settled, soft }
    }

    /// Leases a batch, or returns it to the outbox.
    pub(super) async fn process(&self, batch: Batch) -> Leased {
        match batch {
            Batch::Return(events) => {
                self.shared.capacity.release(events.len());
                let settled = events.iter().filter_map(|event| event.pack.defer(event.id, Duration::ZERO));
                Leased { id: Uuid::nil(), leases: Vec::new(), settled: settled.collect() }
            }
            Batch::Lease(events, admissions) => {
                let all = events.len();
                let (id, leases, settled) = self.lease(events).await;
                self.shared.capacity.release(all - leases.len());
                Leased { id, leases: leases.into_iter().zip(admissions).collect(), settled }
            }
        }
    }

    pub(super) async fn settle(&self, packs: Vec<Arc<ReceivedPack>>) -> anyhow::Result<()> {
        for pack in packs {
            anyhow::ensure!(self.settled.send(pack).await.is_ok(), "the settle stage ended");
        }
        Ok(())
    }

    /// Returns the next batch; none when all polls have ended and no event waits. Serves one task at a time.
    pub(super) async fn next_batch(&self) -> Option<Batch> {
        let mut intake = self.intake.lock().await;
        loop {
            while let Ok(pack) = intake.received.try_recv() {
                intake.push(&pack);
            }
            let Some(first) = intake.waiting.front() else {
                let pack = intake.received.recv().await?;
                intake.push(&pack);
                continue;
            };
            let now = self.shared.clock.monotonic();
            let left = self.time_left(first, now);
            if left.is_zero() {
                let expired = intake.waiting.iter().take_while(|event| self.time_left(event, now).is_zero());
                let expired = expired.count();
                return Some(Batch::Return(intake.waiting.drain(..expired).collect()));
            }
            let max = intake.waiting.len().min(STATEMENT_BATCH);
            tokio::select! {
                admissions = admit(&self.shared, self.run_until, max) => {
                    let admissions = admissions?;
                    let events = intake.waiting.drain(..admissions.len().min(max)).collect();
                    return Some(Batch::Lease(events, admissions));
                }
                () = tokio::time::sleep(left) => {}
                () = self.soft.cancelled() => {}
            }
        }
    }

    /// Returns how long an event may still wait here: well within the time for which its message is hidden, and not after a stop.
    fn time_left(&self, event: &PackedEvent, now: Instant) -> Duration {
        if self.soft.is_cancelled() {
            return Duration::ZERO;
        }
        let waited = now.saturating_duration_since(event.pack.received_at);
        (self.shared.options.visibility / 3).saturating_sub(waited)
    }

    /// Leases the events that can be sent now, and settles the others.
    async fn lease(&self, events: Vec<PackedEvent>) -> (Uuid, Vec<LeasedEvent>, Vec<Arc<ReceivedPack>>) {
        // An event can be in several packs, or twice in one.
        let mut packs: PacksByEvent = HashMap::with_capacity(events.len());
        for PackedEvent { id, pack } in events {
            packs.entry(id).or_default().push(pack);
        }
        let event_ids: Vec<Uuid> = packs.keys().copied().collect();
        let began_at = self.shared.clock.now();
        let (id, leases) = self.lease_with_retries(&event_ids).await;
        let (times, batch) = ((began_at, self.shared.clock.now()), leases.len());
        let mut settled = Vec::new();
        let events = leases.into_iter().filter_map(|lease| {
            let packs = packs.remove(&lease.event_id)?;
            settled.extend(packs.iter().filter_map(ReceivedPack::complete));
            let span = spans::lease(&self.shared, &lease, &packs, times, batch);
            Some(LeasedEvent { lease: Box::new(lease), span })
        });
        let events = events.collect();
        if !packs.is_empty() {
            settled.append(&mut self.settle_not_leased(packs).await);
        }
        (id, events, settled)
    }

    /// Retries until the statement succeeds, each time with a new id: a failed one may have been committed. No leases after a stop.
    async fn lease_with_retries(&self, event_ids: &[Uuid]) -> (Uuid, Vec<Lease>) {
        loop {
            let id = Uuid::now_v7();
            if self.soft.is_cancelled() {
                return (id, Vec::new());
            }
            match self.try_lease(id, event_ids).await {
                Ok(Some(leases)) => return (id, leases),
                Ok(None) => {
                    self.soft.run_until_cancelled(self.shared.lease_gate.wait_until_open()).await;
                }
                Err(error) => {
                    // All slots may wait for this, and then no poll makes progress.
                    self.shared.heartbeat.alive();
                    tracing::warn!(error = chain(&error), events = event_ids.len(), "lease failed");
                    self.soft.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
                }
            }
        }
    }

    /// Runs one statement. `None`: the clock cannot be trusted at this moment.
    async fn try_lease(&self, id: Uuid, event_ids: &[Uuid]) -> Result<Option<Vec<Lease>>> {
        let shared = &self.shared;
        let since = shared.clock.monotonic();
        let Some(request) = self.request(id) else {
            return Ok(None);
        };
        let leases = shared.store.lease(request, event_ids).await?;
        if leases.is_empty() {
            return Ok(Some(leases));
        }
        shared.held_leases.add(id, leases.len());
        // A lease that a slow database granted late may have expired. Where it cannot be extended, its events are retried later.
        let late = shared.clock.monotonic().saturating_duration_since(since) > shared.options.visibility / 3;
        if late && !held_leases::extend(shared, &[id]).await {
            shared.held_leases.forget(id);
            return Ok(Some(Vec::new()));
        }
        Ok(Some(leases))
    }

    fn request(&self, id: Uuid) -> Option<LeaseRequest<'_>> {
        let shared = &self.shared;
        let now = shared.lease_gate.trusted_now(&*shared.clock)?;
        Some(LeaseRequest {
            id,
            holder: shared.holder,
            now,
            until: now + shared.options.visibility,
            kinds: &shared.kinds,
            kinds_with_years: &shared.kinds_with_years,
            late_before: now - shared.options.late_max,
            routes: shared.routes.as_ref(),
            channels: &shared.channels.names,
        })
    }

    /// Completes events that need no work, and defers events that another transaction or another worker must release.
    async fn settle_not_leased(&self, packs: PacksByEvent) -> Vec<Arc<ReceivedPack>> {
        let ids: Vec<Uuid> = packs.keys().copied().collect();
        let stopped = self.soft.is_cancelled();
        let checked = match self.request(Uuid::nil()).filter(|_| !stopped) {
            Some(request) => self.shared.store.check_unleased(request, &ids).await,
            None => Ok(UnleasedEvents { locked: ids, ..UnleasedEvents::default() }),
        };
        let UnleasedEvents { ended, locked, unknown } = match checked {
            Ok(checked) => checked,
            Err(error) => {
                tracing::warn!(error = chain(&error), events = packs.len(), "lease check failed");
                return packs.values().flatten().filter_map(ReceivedPack::abandon).collect();
            }
        };
        report_ended(ended);
        let wait = if stopped { Duration::ZERO } else { DEFER_LOCKED };
        let mut deferred: HashMap<Uuid, Duration> = locked.into_iter().map(|id| (id, wait)).collect();
        deferred.extend(unknown.into_iter().map(|id| (id, DEFER_UNKNOWN)));
        counter!("bday_events_deferred_total").increment(deferred.len() as u64);
        let settle = |(id, pack): (Uuid, Arc<ReceivedPack>)| match deferred.get(&id) {
            Some(wait) => pack.defer(id, *wait),
            None => pack.complete(),
        };
        let all = packs.into_iter().flat_map(|(id, packs)| packs.into_iter().map(move |pack| (id, pack)));
        all.filter_map(settle).collect()
    }
}

fn report_ended(ended: Vec<(Uuid, EventState, String)>) {
    for (event_id, state, reason) in ended {
        counter!(format!("bday_events_{state}_total"), "reason" => reason.clone()).increment(1);
        tracing::info!(%event_id, %state, %reason, "event ended without an attempt");
    }
}
