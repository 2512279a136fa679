//! The ticker: plan, claim, enqueue, every minute at second 0 and once at the start.
//!
//! A tick is idempotent: it looks at what is due and does what is missing. So the tick at the start is the recovery
//! from whatever happened before, a missed tick heals at the next, and any number of processes may tick at once.

mod claim;
mod plan;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Timelike as _, Utc};
use metrics::{counter, histogram};
use serde::Serialize;
use tokio::sync::{Mutex, Notify};
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::health::Beat;
use crate::model::Schedule;
use crate::pipeline::queue::{Queue, QueueError};
use crate::skew::{Skew, WrongClock};
use crate::store::{Store, StoreError};
use crate::telemetry::chain;

/// Why a tick did not do all of its work. What it did is committed; the next tick does the rest.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// Postgres.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The queue.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// Our clock, or the database's. Nothing was done.
    #[error("{0}")]
    Clock(#[from] WrongClock),
}

/// How the scheduler works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far ahead events are planned.
    pub horizon: Duration,
    /// What is still unsent this long after it was due is skipped.
    pub late_max: Duration,
    /// Due events per transaction.
    pub claim_batch: u32,
    /// Transactions at once.
    pub claim_lanes: u32,
    /// When a queued event of which nothing was heard is sent to the queue again.
    pub lost_after: Duration,
    /// Of the queue, for the sweeper: after that many receives a message is a dead letter.
    pub max_receives: u32,
    /// Of the queue, for the sweeper: how long a message may be away after its lease ran out.
    pub visibility: Duration,
}

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tick {
    /// Events written ahead.
    pub planned: u64,
    /// Events found due.
    pub due: u64,
    /// Of these, confirmed by the queue.
    pub enqueued: u64,
    /// Of these, not confirmed; they go again.
    pub failed: u64,
    /// Events that will not be sent: too late, or learned too late.
    pub skipped: u64,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// The stages in front of the queue.
#[derive(Debug, Clone)]
pub struct Scheduler {
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
    schedule: Arc<Schedule>,
    options: Options,
    beat: Beat,
    /// Whose turn it is to enqueue beside the ticks. Each claim holds a connection, and the Postgres queue needs a second one:
    /// many at once could wait for each other.
    beside: Arc<Mutex<()>>,
}

impl Scheduler {
    /// `beat` tells health that the ticker lives.
    #[must_use]
    pub fn new(
        store: Store,
        queue: Arc<dyn Queue>,
        clock: SharedClock,
        schedule: Arc<Schedule>,
        options: Options,
        beat: Beat,
    ) -> Self {
        Self {
            store,
            queue,
            clock,
            schedule,
            options,
            beat,
            beside: Arc::default(),
        }
    }

    /// One pass at `now`, which was read from our clock just now; refused where that clock and the database's differ.
    ///
    /// They agreed at the start, but a clock can jump. With one that is ahead a pass would send early, and skip, as too
    /// late, all that is due until then; with one that is behind it would send late, and look healthy. What a refused pass
    /// did not do, the next one does, and other processes do it meanwhile.
    ///
    /// # Errors
    /// As [`run_once`](Self::run_once), or when the clocks differ.
    pub async fn tick(&self, now: DateTime<Utc>) -> (Tick, Result<(), TickError>) {
        let looked = Skew::of(now, &*self.clock, &self.store).await;
        let agreed = looked.map_err(TickError::from).and_then(|skew| Ok(skew.check()?));
        match agreed {
            Ok(()) => self.run_once(now).await,
            Err(error) => {
                counter!("bday_ticks_total", "outcome" => "error").increment(1);
                (Tick::default(), Err(error))
            }
        }
    }

    /// One pass at any `now`, as simulated years need it: sweep, skip what is too late, claim and enqueue all that is due,
    /// plan.
    ///
    /// # Errors
    /// When a part could not do its work; the counts until then are in the first place.
    pub async fn run_once(&self, now: DateTime<Utc>) -> (Tick, Result<(), TickError>) {
        let began = self.clock.monotonic();
        let mut tick = Tick::default();
        // Sweeping looks whether messages wait, so it goes before this pass sends its own. What it finds is due, too.
        let mut result = self.sweep(now).await;
        // What is due does not wait for planning, which works days ahead. But a first plan makes what is due today.
        result = result.and(self.send_due(now, &mut tick).await);
        if let Err(error) = self.plan(now, &mut tick).await {
            result = result.and(Err(error));
        } else if tick.planned > 0 && result.is_ok() {
            result = self.send_due(now, &mut tick).await;
        }
        let elapsed = self.clock.monotonic().duration_since(began);
        tick.elapsed_ms = elapsed.as_millis() as u64;
        histogram!("bday_tick_duration_seconds").record(elapsed.as_secs_f64());
        // What was left behind goes again, but an alarm should hear of a queue that keeps refusing.
        let outcome = if result.is_ok() && tick.failed == 0 {
            "ok"
        } else {
            "error"
        };
        counter!("bday_ticks_total", "outcome" => outcome).increment(1);
        if result.is_ok() {
            self.beat.touch();
        }
        (tick, result)
    }

    async fn send_due(&self, now: DateTime<Utc>, tick: &mut Tick) -> Result<(), TickError> {
        self.skip_late(now, tick).await?;
        self.claim_and_enqueue(now, tick).await
    }

    /// Claims and enqueues all that is due at `now`, without the rest of a tick; gives how many. For whoever has just made
    /// something due, and does not want to wait for the minute.
    ///
    /// # Errors
    /// When the database or the queue could not do its part; the next tick does it.
    pub async fn enqueue_due(&self, now: DateTime<Utc>) -> Result<u64, TickError> {
        let mut tick = Tick::default();
        let _turn = self.beside.lock().await;
        self.claim_and_enqueue(now, &mut tick).await?;
        Ok(tick.enqueued)
    }

    /// Ticks until `token` is cancelled. A tick that fails is tried again with growing pauses, never slower than the
    /// minute.
    ///
    /// # Errors
    /// When the cron scheduler cannot be started.
    pub async fn run(&self, token: CancellationToken) -> anyhow::Result<()> {
        let wake = Arc::new(Notify::new());
        let mut cron = JobScheduler::new().await?;
        let notify = Arc::clone(&wake);
        cron.add(Job::new("0 * * * * *", move |_, _| notify.notify_one())?)
            .await?;
        cron.start().await?;

        let mut failures = 0_u32;
        loop {
            let now = self.clock.now();
            let ticked = Box::pin(token.run_until_cancelled(self.tick(now))).await;
            let Some((tick, result)) = ticked else { break };
            self.beat.turn();
            failures = Self::log(tick, &result, failures);
            let pause = pause(failures);
            if token
                .run_until_cancelled(self.until_next(now, &wake, pause))
                .await
                .is_none()
            {
                break;
            }
        }
        cron.shutdown().await?;
        Ok(())
    }

    /// Waits for the next minute, or for `pause` after a failure. The cron job only wakes us; should it be late (it
    /// looks twice a second) or dead, our own timer is there.
    async fn until_next(&self, ticked_at: DateTime<Utc>, wake: &Notify, pause: Option<Duration>) {
        let minute = |at: DateTime<Utc>| at.with_second(0).map_or(at, |at| at.trunc_subsecs(0));
        let next = minute(ticked_at) + TimeDelta::minutes(1);
        loop {
            let left = (next - self.clock.now()).to_std().unwrap_or_default();
            // A timer may fire a little early by the other clock; a tick a moment before 09:00 would miss 09:00.
            let left = pause.map_or(left, |pause| pause.min(left)) + Duration::from_millis(1);
            let hint = tokio::time::timeout(left, wake.notified()).await;
            let now = self.clock.now();
            // A clock that was set back must not stop the ticker either.
            if now >= next || minute(now) < minute(ticked_at) || (hint.is_err() && pause.is_some()) {
                return;
            }
        }
    }

    fn log(tick: Tick, result: &Result<(), TickError>, failures: u32) -> u32 {
        let Tick {
            planned,
            due,
            enqueued,
            failed,
            skipped,
            elapsed_ms,
        } = tick;
        if let Err(error) = result {
            let error = chain(error);
            tracing::error!(
                planned,
                due,
                enqueued,
                failed,
                skipped,
                elapsed_ms,
                error,
                "tick failed"
            );
            return failures.saturating_add(1);
        }
        tracing::info!(planned, due, enqueued, failed, skipped, elapsed_ms, "tick");
        if failed > 0 { failures.saturating_add(1) } else { 0 }
    }
}

/// 1 s, 2 s, 4 s … after a failure.
fn pause(failures: u32) -> Option<Duration> {
    (failures > 0).then(|| Duration::from_secs(1 << failures.saturating_sub(1).min(5)))
}
