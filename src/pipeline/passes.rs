//! Passes: claim due events at second 0 of every minute, and retries every few seconds; planning and cleaning run beside them.
//!
//! Every pass is idempotent: it reads what is due and does what is missing. So the pass at the start recovers from any crash, a missed
//! pass is made up for by the next, and any number of processes may run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Timelike as _, Utc};
use metrics::{counter, histogram};
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;

use super::scheduler::{Result, Scheduler, Tick};
use crate::pipeline::clock_offset::ClockOffset;
use crate::store::chain;

/// Between two passes: the delay of a retry, an expired lease or a pack left in the outbox.
const INTERVAL: Duration = Duration::from_secs(2);
/// After a failed pass, leases are not swept for this long: workers that wait for the same database extend theirs first.
const SWEEP_GRACE: Duration = Duration::from_secs(10);

impl Scheduler {
    /// One pass at `now`, which the caller has just read from the clock. Fails if that clock and the database's differ.
    pub async fn tick(&self, now: DateTime<Utc>) -> (Tick, Result<()>) {
        match self.check_clock(now).await {
            Ok(()) => self.run_once(now).await,
            Err(error) => {
                counter!("bday_ticks_total", "outcome" => "error").increment(1);
                (Tick::default(), Err(error))
            }
        }
    }

    /// One pass at any `now`, for simulated years: sweeps, claims and sends all due events, plans, and claims newly planned ones.
    pub async fn run_once(&self, now: DateTime<Utc>) -> (Tick, Result<()>) {
        let began = self.clock.monotonic();
        let mut tick = Tick::default();
        let mut result = self.resend_lost(now).await;
        result = result.and(self.pass(now, None, true, &mut tick).await.map(drop));
        result = result.and(self.plan(now, &mut tick).await.map(drop));
        if tick.planned > 0 {
            result = result.and(self.claim(now, None, &mut tick).await.map(drop));
        }
        self.note(&mut tick, began, &result);
        (tick, result)
    }

    /// Claims and sends all events that are due at `now`; returns how many. After an error the next pass retries.
    pub async fn send_due(&self, now: DateTime<Utc>) -> Result<u64> {
        let mut tick = Tick::default();
        self.claim(now, None, &mut tick).await?;
        Ok(tick.due)
    }

    /// Sweeps expired leases, claims within `limit`, and sends the rest of the outbox. Returns whether more may be due.
    async fn pass(
        &self,
        now: DateTime<Utc>,
        limit: Option<Duration>,
        sweep: bool,
        tick: &mut Tick,
    ) -> Result<bool> {
        // Events that the sweep makes pending are due, so it comes first.
        let swept = if sweep { self.expire_leases(now).await } else { Ok(()) };
        let claimed = self.claim(now, limit, tick).await;
        let left = self.send_left(now, tick).await;
        swept.and(left).and(claimed)
    }

    /// Runs the passes, the planner and the cleaner until `token` is cancelled.
    pub async fn run(&self, token: CancellationToken) -> anyhow::Result<()> {
        let wake = Arc::new(Notify::new());
        let mut cron = JobScheduler::new().await?;
        let notify = Arc::clone(&wake);
        cron.add(Job::new("0 * * * * *", move |_, _| notify.notify_one())?).await?;
        cron.start().await?;
        let stages = async { tokio::join!(self.run_passes(&wake), self.run_planner(), self.run_cleaner()) };
        token.run_until_cancelled(Box::pin(stages)).await;
        cron.shutdown().await?;
        Ok(())
    }

    async fn run_passes(&self, wake: &Notify) {
        let (mut failures, mut failed_at) = (0_u32, None);
        loop {
            let now = self.clock.reading();
            let began = self.clock.monotonic();
            let calm = failed_at.is_none_or(|at| began.duration_since(at) > SWEEP_GRACE);
            let mut tick = Tick::default();
            let result = match self.check_clock(now).await {
                Ok(()) => self.pass(now, Some(INTERVAL), calm, &mut tick).await,
                Err(error) => Err(error),
            };
            let more = matches!(result, Ok(true));
            let result = result.map(drop);
            self.heartbeat.alive();
            self.note(&mut tick, began, &result);
            if result.is_ok() {
                failures = 0;
            } else {
                failures = failures.saturating_add(1);
                failed_at = Some(self.clock.monotonic());
            }
            log(tick, &result, starts_a_minute(now));
            // With a backlog, workers must not wait for the next pass.
            if !more {
                // Longer after failures, up to 8 s: events that fall due right after an outage wait no longer.
                self.until_next(now, wake, INTERVAL * (1 << failures.min(2))).await;
            }
        }
    }

    async fn run_cleaner(&self) {
        loop {
            let now = self.clock.reading();
            if let Err(error) = self.check_clock(now).await {
                tracing::warn!(error = chain(&error), "cleaning up failed");
            } else {
                if let Err(error) = self.resend_lost(now).await {
                    tracing::warn!(error = chain(&error), "looking for lost packs failed");
                }
                self.forget_old(now).await;
            }
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
    }

    pub(super) async fn check_clock(&self, now: DateTime<Utc>) -> Result<()> {
        Ok(ClockOffset::of(now, &*self.clock, &self.store).await?.check()?)
    }

    fn note(&self, tick: &mut Tick, began: Instant, result: &Result<()>) {
        let elapsed = self.clock.monotonic().duration_since(began);
        tick.elapsed_ms = elapsed.as_millis() as u64;
        histogram!("bday_tick_duration_seconds").record(elapsed.as_secs_f64());
        // Unconfirmed events are sent again, but a queue that keeps refusing must raise an alarm.
        let outcome = if result.is_ok() && tick.failed == 0 { "ok" } else { "error" };
        counter!("bday_ticks_total", "outcome" => outcome).increment(1);
        if result.is_ok() {
            self.heartbeat.progress();
        }
    }

    /// Waits for second 0 of the next minute, or for `pause` if that is shorter. The cron job is a hint: it checks twice a second, so a
    /// timer ends the wait on time, and a pass that the job starts early is followed by one on time.
    async fn until_next(&self, passed_at: DateTime<Utc>, wake: &Notify, pause: Duration) {
        let next = minute_of(passed_at) + TimeDelta::minutes(1);
        // A timer may fire a little early by the other clock; a pass a moment before 09:00 would miss 09:00.
        let left = (next - self.clock.now()).to_std().unwrap_or_default() + Duration::from_millis(1);
        let _ = tokio::time::timeout(left.min(pause), wake.notified()).await;
    }
}

fn minute_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.with_second(0).map_or(at, |at| at.trunc_subsecs(0))
}

fn starts_a_minute(at: DateTime<Utc>) -> bool {
    (at - minute_of(at)).to_std().unwrap_or_default() < INTERVAL
}

fn log(tick: Tick, result: &Result<()>, minute: bool) {
    let Tick { planned: _, due, enqueued, failed, skipped, elapsed_ms } = tick;
    if let Err(error) = result {
        let error = chain(error);
        tracing::error!(due, enqueued, failed, skipped, elapsed_ms, error, "tick failed");
    } else if minute || (Tick { elapsed_ms: 0, ..tick }) != Tick::default() {
        tracing::info!(due, enqueued, failed, skipped, elapsed_ms, "tick");
    }
}
