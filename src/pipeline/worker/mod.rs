//! The workers: receive packs, lease their events, deliver, record.
//!
//! ```text
//!  receive ──packs──> lease ──admission──> deliver ──outcomes──> record
//!                       └──packs──> settle: outbox and ack
//! ```
//!
//! The lease stage leases an event only with a free slot to send it. Each statement takes the items that have gathered before it; a
//! single greeting waits for no other.
//!
//! The first lease of an event fixes its channel ([`channels`]). The next channel of its kind is tried only after a definite refusal of
//! the contact.
//!
//! Guaranteed: no request without a committed lease; no pack is acked before its events are leased or left to the outbox; a worker
//! whose lease was taken over changes nothing. Not guaranteed: that a receiver never gets a greeting twice. If this process or the
//! network fails between the receiver's acceptance and the record, the greeting is sent again with the same `webhook-id`.

mod admission;
mod backoff;
mod batch;
mod breaker;
mod capacity;
mod channels;
mod deliver;
mod delivery_stats;
mod held_leases;
mod lease;
mod lease_gate;
mod outcomes;
mod rate_limiter;
mod receive;
mod received_pack;
mod record;
mod report;
mod settle;
mod spans;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{Gauge, gauge};
use sqlx::types::Json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::channel::mail::UnsubscribeLinks;
use super::channel::{ConfiguredChannel, Messages, SendResult};
use super::queue::Queue;
use super::trace::Tracer;
use crate::clock::SharedClock;
use crate::clock::heartbeat::Heartbeat;
use crate::model::{ChannelName, Lease, SpanContext};
use crate::store::{Routes, Store};
use batch::{BatchReceiver, STATEMENT_BATCH};
pub(crate) use breaker::BreakerOptions;
use capacity::Capacity;
use channels::Channels;
use deliver::DeliverStage;
use delivery_stats::DeliveryStats;
use held_leases::HeldLeases;
use lease::{LeaseStage, Leased};
use lease_gate::LeaseGate;
use rate_limiter::RateLimiter;
use receive::Poller;

/// Tasks that lease, and tasks that record.
const STATEMENT_TASKS: usize = 2;
const MAX_POLLERS: usize = 16;
/// Recording and settling wait this long for more items: these greetings have arrived, and hold no slot.
const LINGER: Duration = Duration::from_millis(10);

#[derive(Debug, Clone)]
pub(crate) struct WorkerOptions {
    pub(crate) max_in_flight: usize,
    /// How long a poll waits for a message.
    pub(crate) wait: Duration,
    /// How long a message stays hidden, and a lease lasts.
    pub(crate) visibility: Duration,
    pub(crate) max_attempts: u32,
    pub(crate) schedule: Vec<Duration>,
    /// An event that is still unsent this long after its lateness began is skipped.
    pub(crate) late_max: Duration,
    pub(crate) breaker: BreakerOptions,
    /// 0 is no limit.
    pub(crate) max_per_second: u32,
    /// The channels of each kind. None: every kind uses the webhook alone.
    pub(crate) routes: Option<BTreeMap<String, Vec<ChannelName>>>,
    /// None: mail has no link to unsubscribe.
    pub(crate) unsubscribe: Option<UnsubscribeLinks>,
    pub(crate) tracer: Tracer,
}

/// The state that all stages share.
#[derive(Debug)]
struct Shared {
    store: Store,
    queue: Arc<dyn Queue>,
    channels: Channels,
    messages: Messages,
    kinds: Vec<String>,
    kinds_with_years: Vec<String>,
    routes: Option<Routes>,
    clock: SharedClock,
    options: WorkerOptions,
    /// Identifies this process in leases: new with each start.
    holder: Uuid,
    capacity: Capacity,
    held_leases: HeldLeases,
    rate_limiter: RateLimiter,
    lease_gate: LeaseGate,
    delivery_stats: DeliveryStats,
    in_flight: Gauge,
    heartbeat: Heartbeat,
}

/// A lease with its span. None: the attempt is not traced.
#[derive(Debug)]
struct LeasedEvent {
    /// Boxed, since it moves through all stages.
    lease: Box<Lease>,
    span: Option<SpanContext>,
}

#[derive(Debug)]
struct FinishedAttempt {
    lease: Box<Lease>,
    /// The span of the lease.
    span: Option<SpanContext>,
    lease_id: Uuid,
    result: AttemptResult,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

#[derive(Debug)]
enum AttemptResult {
    Sent(SendResult),
    /// The channel was not ready: the request did not start.
    Postponed(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunUntil {
    Stopped,
    QueueEmpty,
}

#[derive(Debug, Clone)]
pub struct WorkerPool(Arc<Shared>);

impl WorkerPool {
    pub(crate) fn new(
        store: Store,
        queue: Arc<dyn Queue>,
        channels: Vec<ConfiguredChannel>,
        messages: Messages,
        clock: SharedClock,
        options: WorkerOptions,
        heartbeat: Heartbeat,
    ) -> Self {
        let channels = Channels::new(channels, options.breaker, options.max_in_flight, &clock);
        Self(Arc::new(Shared {
            capacity: Capacity::new(options.max_in_flight, options.max_per_second),
            held_leases: HeldLeases::default(),
            rate_limiter: RateLimiter::new(options.max_per_second, Arc::clone(&clock)),
            lease_gate: LeaseGate::default(),
            kinds: messages.kinds().map(str::to_owned).collect(),
            kinds_with_years: messages.kinds_with_years().map(str::to_owned).collect(),
            store,
            queue,
            channels,
            routes: options.routes.clone().map(Json),
            messages,
            clock,
            options,
            holder: Uuid::now_v7(),
            delivery_stats: DeliveryStats::default(),
            in_flight: gauge!("bday_in_flight"),
            heartbeat,
        }))
    }

    pub(crate) fn breaker_state(&self) -> &'static str {
        self.0.channels.breaker_state()
    }

    /// Works until `soft` is cancelled, then finishes and records the requests in flight. `hard` cancels those: they are retried.
    pub async fn run(&self, soft: CancellationToken, hard: CancellationToken) -> anyhow::Result<()> {
        self.run_until(RunUntil::Stopped, soft, hard).await
    }

    /// Works on the packs that are in the queue now, and returns when all outcomes are recorded: for simulated years and tests.
    pub async fn run_once(&self) -> anyhow::Result<()> {
        if self.0.store.pause().await?.is_some() {
            return Ok(());
        }
        self.run_until(RunUntil::QueueEmpty, CancellationToken::new(), CancellationToken::new()).await
    }

    /// Runs the stages, and beside them what must not end before they have ended.
    async fn run_until(
        &self,
        run_until: RunUntil,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> anyhow::Result<()> {
        let shared = &self.0;
        let done = CancellationToken::new();
        let lease_gate = async {
            if run_until == RunUntil::Stopped {
                lease_gate::run(shared).await;
            }
        };
        let background = Box::pin(async {
            tokio::join!(held_leases::run(shared), delivery_stats::run(shared), lease_gate)
        });
        let stages = async {
            let result = self.run_stages(run_until, soft, hard).await;
            held_leases::delete_finished(shared).await;
            done.cancel();
            result
        };
        let (result, _) = tokio::join!(stages, done.run_until_cancelled(background));
        delivery_stats::log(shared);
        result
    }

    /// Runs the stages until all have ended. Where one fails, the others finish their items.
    async fn run_stages(
        &self,
        run_until: RunUntil,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut stages = self.start_stages(run_until, &soft, &hard);
        let mut result = Ok(());
        while let Some(ended) = stages.join_next().await {
            let expected = run_until == RunUntil::QueueEmpty || soft.is_cancelled();
            let ended = match ended.map_err(anyhow::Error::from).flatten() {
                Ok(()) if !expected => Err(anyhow::anyhow!("a worker stage ended unexpectedly")),
                ended => ended,
            };
            if ended.is_err() {
                result = result.and(ended);
                soft.cancel();
            }
        }
        result
    }

    /// Starts the stages. Each ends when the one before has ended and its channel is empty, so that a stop loses no item.
    fn start_stages(
        &self,
        run_until: RunUntil,
        soft: &CancellationToken,
        hard: &CancellationToken,
    ) -> JoinSet<anyhow::Result<()>> {
        let shared = || Arc::clone(&self.0);
        let (packs, received) = mpsc::channel(MAX_POLLERS);
        let (settled, to_settle) = mpsc::channel(STATEMENT_BATCH);
        let (finished, to_record) = mpsc::channel(STATEMENT_BATCH * 2);
        let linger = if run_until == RunUntil::Stopped { LINGER } else { Duration::ZERO };
        let to_record = Arc::new(BatchReceiver::new(to_record, linger));
        let mut stages = JoinSet::new();
        let poller =
            Poller { shared: shared(), run_until, full_poll: Arc::default(), packs, soft: soft.clone() };
        for number in 0..MAX_POLLERS.min(self.0.options.max_in_flight.div_ceil(10)) {
            stages.spawn(poller.clone().run(number));
        }
        let deliver = Arc::new(DeliverStage { shared: shared(), run_until, finished, hard: hard.clone() });
        let lease = Arc::new(LeaseStage::new(shared(), run_until, received, settled, soft.clone()));
        for _ in 0..STATEMENT_TASKS {
            stages.spawn(lease_and_deliver(Arc::clone(&lease), Arc::clone(&deliver)));
            stages.spawn(record::run(shared(), Arc::clone(&to_record), hard.clone()));
        }
        stages.spawn(settle::run(shared(), BatchReceiver::new(to_settle, linger)));
        stages
    }
}

/// Leases batches and starts a request for each lease, until all polls have ended, no event waits, and its requests have ended.
async fn lease_and_deliver(lease: Arc<LeaseStage>, deliver: Arc<DeliverStage>) -> anyhow::Result<()> {
    let mut requests = JoinSet::new();
    let mut open = true;
    let mut next = std::pin::pin!(lease.next_batch());
    loop {
        let batch = tokio::select! {
            batch = &mut next, if open => batch,
            // A request that panicked ends the process.
            Some(ended) = requests.join_next() => { ended?; continue }
            else => return Ok(()),
        };
        let Some(batch) = batch else {
            open = false;
            continue;
        };
        next.set(lease.next_batch());
        while let Some(ended) = requests.try_join_next() {
            ended?;
        }
        let Leased { id, leases, settled } = lease.process(batch).await;
        for (leased, admission) in leases {
            requests.spawn(Arc::clone(&deliver).deliver(id, leased, admission));
        }
        lease.settle(settled).await?;
    }
}
