//! The workers: receive packs, lease their events, deliver, record.
//!
//! ```text
//!  receive ──packs──> buffer ──> lease ──spawn──> deliver ──outcomes──> record
//!                                  └──packs──> settle: outbox and ack
//! ```
//!
//! An event is leased when there is a place in flight for it, so that no event is held that cannot be sent. Each statement takes the
//! items that have gathered before it; a single greeting waits for no other.
//!
//! Guaranteed: no request without a committed lease; no pack is acked before its events are leased, or left to the outbox; a worker
//! whose lease was taken over changes nothing. Not guaranteed: that a receiver never gets a greeting twice. If this process or the
//! network fails between the receiver's acceptance and the record, the greeting is sent again with the same `webhook-id`.

mod backoff;
mod batch;
mod breaker;
mod buffer;
mod gate;
mod lanes;
mod leases;
mod rate;
mod receive;
mod record;
mod report;
mod settle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::channel::{Channel, Messages, Sent};
use super::queue::Queue;
use crate::clock::SharedClock;
use crate::clock::heartbeat::Heartbeat;
use crate::model::Lease;
use crate::store::Store;
use batch::{Batches, STATEMENT_BATCH};
use breaker::Breaker;
pub(crate) use breaker::BreakerOptions;
use buffer::Buffer;
use gate::Gate;
use lanes::{Incoming, Lanes};
use leases::Leases;
use rate::Rate;
use receive::Polls;
use report::Report;

const LANES: usize = 2;
const MAX_POLLS: usize = 16;
/// Recording and settling wait this long for more items: these greetings have arrived, and hold no place.
const PATIENCE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone)]
pub(crate) struct WorkerOptions {
    pub(crate) max_in_flight: usize,
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
}

#[derive(Debug)]
struct Shared {
    store: Store,
    queue: Arc<dyn Queue>,
    channel: Arc<dyn Channel>,
    messages: Messages,
    kinds: Vec<String>,
    kinds_with_years: Vec<String>,
    clock: SharedClock,
    options: WorkerOptions,
    /// Identifies this process in leases: new with each start.
    holder: Uuid,
    buffer: Buffer,
    leases: Leases,
    breaker: Arc<Breaker>,
    rate: Rate,
    gate: Gate,
    report: Report,
    heartbeat: Heartbeat,
}

#[derive(Debug)]
struct Finished {
    lease: Lease,
    lease_id: Uuid,
    sent: Sent,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polling {
    UntilStopped,
    UntilEmpty,
}

/// The worker pool.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

impl Pool {
    pub(crate) fn new(
        store: Store,
        queue: Arc<dyn Queue>,
        channel: Arc<dyn Channel>,
        messages: Messages,
        clock: SharedClock,
        options: WorkerOptions,
        heartbeat: Heartbeat,
    ) -> Self {
        let breaker = Breaker::new(options.breaker, options.max_in_flight, Arc::clone(&clock));
        Self(Arc::new(Shared {
            breaker: Arc::new(breaker),
            buffer: Buffer::new(options.max_in_flight, options.max_per_second),
            leases: Leases::default(),
            rate: Rate::new(options.max_per_second, Arc::clone(&clock)),
            gate: Gate::default(),
            kinds: messages.kinds().map(str::to_owned).collect(),
            kinds_with_years: messages.with_years().map(str::to_owned).collect(),
            store,
            queue,
            channel,
            messages,
            clock,
            options,
            holder: Uuid::now_v7(),
            report: Report::default(),
            heartbeat,
        }))
    }

    pub(crate) fn breaker(&self) -> &'static str {
        self.0.breaker.state()
    }

    /// Works until `soft` is cancelled, then finishes and records the requests in flight. `hard` cancels those: they are retried.
    pub async fn run(&self, soft: CancellationToken, hard: CancellationToken) -> anyhow::Result<()> {
        self.operate(Polling::UntilStopped, soft, hard).await
    }

    /// Works on the packs that are in the queue now, and returns when all outcomes are recorded: for simulated years and tests.
    pub async fn run_once(&self) -> anyhow::Result<()> {
        if self.0.store.pause().await?.is_some() {
            return Ok(());
        }
        self.operate(Polling::UntilEmpty, CancellationToken::new(), CancellationToken::new()).await
    }

    async fn operate(
        &self,
        polling: Polling,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> anyhow::Result<()> {
        let shared = &self.0;
        let done = CancellationToken::new();
        let watch = async {
            if polling == Polling::UntilStopped {
                gate::run(shared).await;
            }
        };
        let beside = Box::pin(async { tokio::join!(leases::heartbeat(shared), report::run(shared), watch) });
        let work = async {
            let result = self.work(polling, soft, hard).await;
            leases::delete_finished(shared).await;
            done.cancel();
            result
        };
        let (result, _) = tokio::join!(work, done.run_until_cancelled(beside));
        report::log(shared);
        result
    }

    /// Runs the stages until all have ended. Where one fails, the others finish their items.
    async fn work(
        &self,
        polling: Polling,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut stages = self.start(polling, &soft, &hard);
        let mut result = Ok(());
        while let Some(ended) = stages.join_next().await {
            let expected = polling == Polling::UntilEmpty || soft.is_cancelled();
            let ended = match ended.map_err(anyhow::Error::from).flatten() {
                Ok(()) if !expected => Err(anyhow::anyhow!("a part of the worker pool ended")),
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
    fn start(
        &self,
        polling: Polling,
        soft: &CancellationToken,
        hard: &CancellationToken,
    ) -> JoinSet<anyhow::Result<()>> {
        let shared = || Arc::clone(&self.0);
        let (packs, incoming) = mpsc::channel(MAX_POLLS);
        let (settled, to_settle) = mpsc::channel(STATEMENT_BATCH);
        let (finished, to_record) = mpsc::channel(STATEMENT_BATCH * 2);
        let patience = if polling == Polling::UntilStopped { PATIENCE } else { Duration::ZERO };
        let to_record = Arc::new(Batches::new(to_record, patience));
        let mut stages = JoinSet::new();
        let polls = Polls { shared: shared(), polling, busy: Arc::default(), packs, soft: soft.clone() };
        for number in 0..MAX_POLLS.min(self.0.options.max_in_flight.div_ceil(10)) {
            stages.spawn(polls.clone().run(number));
        }
        let lanes = Arc::new(Lanes {
            shared: shared(),
            polling,
            incoming: Mutex::new(Incoming { packs: incoming, waiting: VecDeque::new() }),
            finished,
            settled,
            soft: soft.clone(),
            hard: hard.clone(),
        });
        for _ in 0..LANES {
            stages.spawn(Arc::clone(&lanes).run());
            stages.spawn(record::run(shared(), Arc::clone(&to_record), hard.clone()));
        }
        stages.spawn(settle::run(shared(), Batches::new(to_settle, patience)));
        stages
    }
}
