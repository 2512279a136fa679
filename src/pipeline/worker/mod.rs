//! The workers: receive, lease, deliver, record, ack.
//!
//! ```text
//!  poll ──jobs──> lease ──spawn──> deliver ──outcomes──> record ──receipts──> ack
//!   └ a permit for each message, given back when its request has ended
//! ```
//!
//! Each arrow is a bounded channel, and each statement takes whatever has gathered in front of it. Under load it waits a
//! few milliseconds for more, as statements are cheaper by the hundred; a single greeting waits for nobody.
//!
//! Guaranteed: no request without a lease that was committed before; no ack before the outcome is committed; a worker
//! that lost its lease changes nothing. Not guaranteed: that a receiver never sees a greeting twice. If this process
//! or the network dies between the receiver's acceptance and our record, the greeting goes again, with the same
//! `webhook-id`.

mod ack;
mod backoff;
mod batch;
mod breaker;
mod bury;
mod flight;
mod give_back;
mod lease;
mod pause;
mod poll;
mod rate;
mod record;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::pipeline::channel::{Channel, Messages, Sent};
use crate::clock::SharedClock;
use crate::health::Beat;
use crate::model::Lease;
use crate::pipeline::queue::{Queue, Receipt, Received};
use crate::store::Store;
use batch::{Batches, Patience, STATEMENT_BATCH};
pub use breaker::Options as BreakerOptions;
use breaker::{Breaker, Ticket};
use flight::{Flights, Hold};
use pause::LastPause;
use rate::Rate;
use report::Report;

/// Statements of one kind that are under way at once.
const LANES: usize = 2;
/// A poll that came back full is the sign of a crowd.
const BEFORE_LEASE: Patience = Patience {
    least: 10,
    wait: Duration::from_millis(3),
};
/// These greetings have arrived: nobody waits for the record, and no place in flight is held by it.
const BEFORE_RECORD: Patience = Patience {
    least: 1,
    wait: Duration::from_millis(10),
};
/// Polls that are under way at once, at the most.
const MAX_POLLS: usize = 16;

/// With a cap, this much of a second's worth may be received at once, and sent at once.
const RECEIVED_AT_ONCE: Duration = Duration::from_secs(1);
const SENT_AT_ONCE: Duration = Duration::from_millis(100);

/// How the workers work.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests in flight at the most.
    pub max_in_flight: usize,
    /// How long a poll waits for a message.
    pub wait: Duration,
    /// How long a message stays hidden, and a lease lasts.
    pub visibility: Duration,
    /// A message received this often without success is a dead letter.
    pub max_receives: u32,
    /// The waits between the receives.
    pub schedule: Vec<Duration>,
    /// What is still unsent this long after it was due is skipped.
    pub late_max: Duration,
    /// When the sweeper takes a message for lost.
    pub lost_after: Duration,
    /// When to stop receiving because the receiver fails for everybody.
    pub breaker: BreakerOptions,
    /// Requests per second at the most, and hardly more in any second, whatever was held up before; 0 is no limit.
    pub max_per_second: u32,
}

/// What all parts of the pool share.
#[derive(Debug)]
struct Shared {
    store: Store,
    queue: Arc<dyn Queue>,
    channel: Arc<dyn Channel>,
    messages: Messages,
    clock: SharedClock,
    options: Options,
    /// Who we are, to the leases: new with each start.
    holder: Uuid,
    flights: Flights,
    breaker: Arc<Breaker>,
    /// How much is received: no more is held here than can be sent soon.
    receiving: Rate,
    /// How much is sent.
    sending: Rate,
    /// Whether somebody has paused sending.
    paused: watch::Sender<bool>,
    last_pause: LastPause,
    report: Report,
    beat: Beat,
}

/// A lease ends this long before its message shows again, so that whoever receives it then can take it over at once,
/// and spends no receive on waiting.
const LEASE_ENDS_EARLIER: Duration = Duration::from_secs(1);

impl Shared {
    /// When a lease that is taken or extended now runs out, UTC.
    fn lease_until(&self) -> DateTime<Utc> {
        self.clock.now() + self.options.visibility.saturating_sub(LEASE_ENDS_EARLIER)
    }

    /// Whether the queue takes this message for a dead letter when it shows again.
    fn is_last(&self, message: &Received) -> bool {
        message.receive_count >= self.options.max_receives
    }
}

/// A message that was received, and the place that was free for it.
#[derive(Debug)]
struct Job {
    event_id: Uuid,
    message: Received,
    received_at: Instant,
    permit: OwnedSemaphorePermit,
    ticket: Ticket,
    hold: Hold,
}

/// A request that has ended.
#[derive(Debug)]
struct Finished {
    lease: Lease,
    message: Received,
    hold: Hold,
    sent: Sent,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

/// What to do with a message once its outcome is committed.
#[derive(Debug)]
enum Disposal {
    Ack(Receipt),
    Hide(Receipt, Duration),
    Bury(Received, String),
    /// At its last receive, but its event is to go again.
    Replace(Uuid, Received),
}

/// When to stop asking for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polling {
    /// When the process stops.
    UntilStopped,
    /// When there is none.
    UntilEmpty,
}

/// The pool.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

impl Pool {
    /// `beat` tells health that the pool lives.
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
        let rate = |burst| Rate::new(options.max_per_second, burst, Arc::clone(&clock));
        Self(Arc::new(Shared {
            breaker: Arc::new(breaker),
            receiving: rate(RECEIVED_AT_ONCE),
            sending: rate(SENT_AT_ONCE),
            paused: watch::Sender::new(false),
            last_pause: LastPause::default(),
            store,
            queue,
            channel,
            messages,
            clock,
            options,
            holder: Uuid::now_v7(),
            flights: Flights::default(),
            report: Report::default(),
            beat,
        }))
    }

    /// What the breaker does: `closed`, `open`, `probing` or `ramping`.
    #[must_use]
    pub fn breaker(&self) -> &'static str {
        self.0.breaker.state()
    }

    /// Works until `soft` is cancelled, then ends what is in flight, and returns when all of it is recorded. `hard`
    /// breaks off the requests that are still in flight; they are recorded as unknown and given back.
    ///
    /// # Errors
    /// When one of the parts panicked or ended by itself.
    pub async fn run(&self, soft: CancellationToken, hard: CancellationToken) -> anyhow::Result<()> {
        self.operate(Polling::UntilStopped, soft, hard).await
    }

    /// Works on what the queue has at this moment, and returns when all of it is recorded and acked: for simulated
    /// years and for tests, which drive the work instead of waiting for it.
    ///
    /// # Errors
    /// When one of the parts panicked.
    pub async fn run_once(&self) -> anyhow::Result<()> {
        if self.0.store.pause().await?.is_some() {
            return Ok(());
        }
        self.operate(
            Polling::UntilEmpty,
            CancellationToken::new(),
            CancellationToken::new(),
        )
        .await
    }

    async fn operate(
        &self,
        polling: Polling,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> anyhow::Result<()> {
        let shared = &self.0;
        let room = shared.options.max_in_flight;
        let (jobs_in, jobs) = mpsc::channel::<Job>(room.max(STATEMENT_BATCH));
        let (finished_in, finished) = mpsc::channel::<Finished>(STATEMENT_BATCH * 2);
        let (disposals_in, disposals) = mpsc::channel::<Disposal>(STATEMENT_BATCH * 4);
        let patient = |patience| match polling {
            Polling::UntilStopped => patience,
            Polling::UntilEmpty => Patience::NONE,
        };
        let jobs = Batches::new(jobs, patient(BEFORE_LEASE));
        let finished = Batches::new(finished, patient(BEFORE_RECORD));
        let disposals = Batches::new(disposals, patient(BEFORE_RECORD));

        // Each stage ends when the one before has ended and its channel is empty: so nothing is lost on the way out.
        let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let number_of_polls = MAX_POLLS.min(room.div_ceil(shared.queue.receive_limit()));
        let polls = Arc::new(poll::Polls::new(room));
        for number in 0..number_of_polls {
            parts.spawn(poll::run(
                Arc::clone(shared),
                number,
                polling,
                Arc::clone(&polls),
                jobs_in.clone(),
                soft.clone(),
            ));
        }
        drop(jobs_in);
        for _ in 0..LANES {
            parts.spawn(lease::run(
                Arc::clone(shared),
                jobs.clone(),
                finished_in.clone(),
                soft.clone(),
                hard.clone(),
            ));
            parts.spawn(record::run(
                Arc::clone(shared),
                finished.clone(),
                disposals_in.clone(),
                hard.clone(),
            ));
            parts.spawn(ack::run(Arc::clone(shared), disposals.clone()));
        }
        drop((finished_in, disposals_in));

        let done = CancellationToken::new();
        let beside = async {
            tokio::join!(
                done.run_until_cancelled(flight::heartbeat(shared)),
                done.run_until_cancelled(report::run(shared)),
                done.run_until_cancelled(pause::run(shared))
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
                    // One part is gone: let the others end what they have, and tell the process.
                    soft.cancel();
                }
            }
            done.cancel();
            result
        };
        let (result, _) = tokio::join!(work, beside);
        report::log(shared);
        result
    }
}
