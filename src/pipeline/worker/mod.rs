//! The workers: receive packs, lease their events, deliver, record.
//!
//! ```text
//!  receive ──packs──> buffer ──> lease ──spawn──> deliver ──outcomes──> record
//!                                  └──packs──> settle: outbox and ack
//! ```
//!
//! An event is leased when there is a place in flight for it, so that nothing is held that cannot be sent. Each statement takes
//! what has gathered in front of it; a single greeting waits for no other.
//!
//! Guaranteed: no request without a committed lease; no pack is acked before its events are leased, or left to the outbox; a
//! worker whose lease was taken over changes nothing. Not guaranteed: that a receiver never sees a greeting twice. If this process
//! or the network fails between the receiver's acceptance and the record, the greeting is sent again with the same `webhook-id`.

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

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::channel::{Channel, Messages, Sent};
use super::queue::Queue;
use crate::clock::SharedClock;
use crate::health::Beat;
use crate::model::Lease;
use crate::store::Store;
use batch::{Batches, STATEMENT_BATCH};
use breaker::Breaker;
pub use breaker::Options as BreakerOptions;
use buffer::{Buffer, Settled};
use gate::Gate;
use leases::Leases;
use rate::Rate;
use report::Report;

/// Statements of one kind in flight.
const LANES: usize = 2;
/// The most polls in flight.
const MAX_POLLS: usize = 16;
/// Recording waits this long for more outcomes: these greetings have arrived, and hold no place.
const BEFORE_RECORD: Duration = Duration::from_millis(10);
/// Of the cap per second, what may be sent at once.
const SENT_AT_ONCE: Duration = Duration::from_millis(100);

/// How the workers work.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most requests in flight.
    pub max_in_flight: usize,
    /// How long a poll waits for a message.
    pub wait: Duration,
    /// How long a message stays hidden, and a lease lasts.
    pub visibility: Duration,
    /// After this many attempts an event is dead.
    pub max_attempts: u32,
    /// The waits between the attempts.
    pub schedule: Vec<Duration>,
    /// An event that is still unsent this long after its lateness began is skipped.
    pub late_max: Duration,
    /// When to stop because the receiver fails all requests.
    pub breaker: BreakerOptions,
    /// The most requests per second; 0 is no limit.
    pub max_per_second: u32,
}

/// What all parts of the pool share.
#[derive(Debug)]
struct Shared {
    store: Store,
    queue: Arc<dyn Queue>,
    channel: Arc<dyn Channel>,
    messages: Messages,
    /// Those that `messages` has a text for.
    kinds: Vec<String>,
    /// Those whose text needs the year of the date.
    kinds_with_years: Vec<String>,
    clock: SharedClock,
    options: Options,
    /// This process, to the leases: new with each start.
    holder: Uuid,
    buffer: Buffer,
    leases: Leases,
    breaker: Arc<Breaker>,
    rate: Rate,
    gate: Gate,
    report: Report,
    beat: Beat,
}

/// A request that has ended.
#[derive(Debug)]
struct Finished {
    lease: Lease,
    lease_id: Uuid,
    sent: Sent,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

/// When to stop receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polling {
    /// When the process stops.
    UntilStopped,
    /// When the queue is empty.
    UntilEmpty,
}

/// The pool.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

impl Pool {
    /// `beat` tells health that the pool makes progress.
    #[must_use]
    pub fn new(
        store: Store,
        queue: Arc<dyn Queue>,
        channel: Arc<dyn Channel>,
        messages: Messages,
        clock: SharedClock,
        options: Options,
        beat: Beat,
    ) -> Self {
        let breaker = Breaker::new(options.breaker, options.max_in_flight, Arc::clone(&clock));
        Self(Arc::new(Shared {
            breaker: Arc::new(breaker),
            buffer: Buffer::new(options.max_in_flight, options.max_per_second),
            leases: Leases::default(),
            rate: Rate::new(options.max_per_second, SENT_AT_ONCE, Arc::clone(&clock)),
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
            beat,
        }))
    }

    /// The state of the breaker: `closed`, `suspect`, `open`, `probing` or `ramping`.
    #[must_use]
    pub fn breaker(&self) -> &'static str {
        self.0.breaker.state()
    }

    /// Works until `soft` is cancelled, then ends what is in flight, and returns when all of it is recorded. `hard` breaks off the
    /// requests that are still in flight; they are recorded as unknown and retried.
    pub async fn run(&self, soft: CancellationToken, hard: CancellationToken) -> anyhow::Result<()> {
        self.operate(Polling::UntilStopped, soft, hard).await
    }

    /// Works on what the queue has at this moment, and returns when all of it is recorded: for simulated years and for tests,
    /// which drive the work.
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
        let mut parts = self.start(polling, &soft, &hard);
        let done = CancellationToken::new();
        let beside = async {
            let watch = async {
                if polling == Polling::UntilStopped {
                    gate::run(shared).await;
                }
            };
            tokio::join!(
                done.run_until_cancelled(leases::heartbeat(shared)),
                done.run_until_cancelled(report::run(shared)),
                done.run_until_cancelled(watch)
            )
        };
        let work = async {
            let mut result = Ok(());
            while let Some(part) = parts.join_next().await {
                let ended = part.map_err(anyhow::Error::from).and_then(|ended| ended);
                let expected = polling == Polling::UntilEmpty || soft.is_cancelled();
                let ended = match ended {
                    Ok(()) if !expected => Err(anyhow::anyhow!("a part of the worker pool ended")),
                    ended => ended,
                };
                if ended.is_err() {
                    result = result.and(ended);
                    // Let the others end what they have, and tell the process.
                    soft.cancel();
                }
            }
            leases::delete_finished(shared).await;
            done.cancel();
            result
        };
        let (result, _) = tokio::join!(work, beside);
        report::log(shared);
        result
    }

    /// Starts the stages. Each ends when the one before has ended and its channel is empty, so nothing is lost at a stop.
    fn start(
        &self,
        polling: Polling,
        soft: &CancellationToken,
        hard: &CancellationToken,
    ) -> JoinSet<anyhow::Result<()>> {
        let shared = &self.0;
        let (packs_in, packs) = mpsc::channel(MAX_POLLS);
        let (settled_in, settled) = mpsc::channel::<Settled>(STATEMENT_BATCH);
        let (finished_in, finished) = mpsc::channel::<Finished>(STATEMENT_BATCH * 2);
        let patience = match polling {
            Polling::UntilStopped => BEFORE_RECORD,
            Polling::UntilEmpty => Duration::ZERO,
        };
        let finished = Batches::new(finished, patience);
        let settled = Batches::new(settled, patience);
        let incoming = lanes::Incoming::new(packs, polling);
        let mut parts = JoinSet::new();
        let polls = MAX_POLLS.min(shared.options.max_in_flight.div_ceil(10));
        let busy = Arc::new(tokio::sync::Notify::new());
        for number in 0..polls {
            let (shared, packs) = (Arc::clone(shared), packs_in.clone());
            parts.spawn(receive::run(shared, number, polling, Arc::clone(&busy), packs, soft.clone()));
        }
        for _ in 0..LANES {
            parts.spawn(lanes::run(
                Arc::clone(shared),
                Arc::clone(&incoming),
                finished_in.clone(),
                settled_in.clone(),
                soft.clone(),
                hard.clone(),
            ));
            parts.spawn(record::run(Arc::clone(shared), finished.clone(), hard.clone()));
        }
        parts.spawn(settle::run(Arc::clone(shared), settled));
        parts
    }
}
