//! Ticks: claim due events at second 0 of every minute, and retries every 2 seconds. Planning and cleaning up run beside them.
//!
//! A tick is idempotent: it reads what is due and does what is missing. So the first tick recovers from any crash, the next tick does
//! what a missed one would have done, and any number of processes may run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Timelike as _, Utc};
use metrics::{counter, histogram};
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;

use super::scheduler::{Pass, Result, Scheduler, Tick};
use super::trace::{Span, SpanKind};
use crate::store::chain;

/// Between two ticks: the delay of a retry, an expired lease or a pack left in the outbox.
const INTERVAL: Duration = Duration::from_secs(2);
const CLEAN_UP_INTERVAL: Duration = Duration::from_mins(1);
/// After a failed tick, leases are not swept for this long: workers that wait for the same database extend theirs first.
const SWEEP_GRACE: Duration = Duration::from_secs(10);

impl Scheduler {
    /// Runs one tick at `now`, which the caller has just read from the clock. Fails if that clock and the database's differ.
    pub async fn tick(&self, now: DateTime<Utc>) -> (Tick, Result<()>) {
        match self.check_clock(now).await {
            Ok(()) => self.run_once(now).await,
            Err(error) => {
                counter!("bday_ticks_total", "outcome" => "error").increment(1);
                (Tick::default(), Err(error))
            }
        }
    }

    /// Runs one tick at any `now`, for simulated years: sweeps, claims and sends all due events, plans, and claims newly planned ones.
    pub async fn run_once(&self, now: DateTime<Utc>) -> (Tick, Result<()>) {
        let began = self.clock.monotonic();
        let pass = self.begin(now);
        let mut tick = Tick::default();
        let mut result = self.resend_lost_packs(now).await;
        result = result.and(self.sweep_and_claim(pass, None, true, &mut tick).await.map(drop));
        result = result.and(self.plan(now, &mut tick).await.map(drop));
        if tick.planned > 0 {
            result = result.and(self.claim(pass, None, &mut tick).await.map(drop));
        }
        self.report(&mut tick, pass, began, &result);
        (tick, result)
    }

    /// Claims and sends all events that are due at `now`; returns how many. After an error the next tick retries.
    pub async fn send_due(&self, now: DateTime<Utc>) -> Result<u64> {
        let mut tick = Tick::default();
        self.claim(Pass { now, span: None }, None, &mut tick).await?;
        Ok(tick.due)
    }

    /// Sweeps expired leases, claims within `limit`, and sends the rest of the outbox. Returns whether more may be due.
    async fn sweep_and_claim(
        &self,
        pass: Pass,
        limit: Option<Duration>,
        sweep: bool,
        tick: &mut Tick,
    ) -> Result<bool> {
        // Events that the sweep makes pending are due, so it comes first.
        let swept = if sweep { self.expire_leases(pass.now).await } else { Ok(()) };
        let claimed = self.claim(pass, limit, tick).await;
        let sent = self.send_outbox(pass, tick).await;
        swept.and(sent).and(claimed)
    }

    /// Runs the ticks, the planner and the cleaner until `token` is cancelled.
    pub async fn run(&self, token: CancellationToken) -> anyhow::Result<()> {
        let wake = Arc::new(Notify::new());
        let mut cron = JobScheduler::new().await?;
        let notify = Arc::clone(&wake);
        cron.add(Job::new("0 * * * * *", move |_, _| notify.notify_one())?).await?;
        cron.start().await?;
        let stages = async { tokio::join!(self.run_ticks(&wake), self.run_planner(), self.run_cleaner()) };
        token.run_until_cancelled(Box::pin(stages)).await;
        cron.shutdown().await?;
        Ok(())
    }

    async fn run_ticks(&self, wake: &Notify) {
        let (mut failures, mut failed_at) = (0_u32, None);
        loop {
            let now = self.clock.reading();
            let began = self.clock.monotonic();
            let sweep = failed_at.is_none_or(|at| began.duration_since(at) > SWEEP_GRACE);
            let pass = self.begin(now);
            let mut tick = Tick::default();
            let result = match self.check_clock(now).await {
                Ok(()) => self.sweep_and_claim(pass, Some(INTERVAL), sweep, &mut tick).await,
                Err(error) => Err(error),
            };
            let more = matches!(result, Ok(true));
            let result = result.map(drop);
            self.heartbeat.alive();
            self.report(&mut tick, pass, began, &result);
            if result.is_ok() {
                failures = 0;
            } else {
                failures = failures.saturating_add(1);
                failed_at = Some(self.clock.monotonic());
            }
            log(tick, &result, is_minute_start(now));
            // With a backlog, workers must not wait for the next tick.
            if !more {
                // Longer after failures, up to 8 s: events that fall due right after an outage wait no longer.
                self.wait_for_next(now, wake, INTERVAL * (1 << failures.min(2))).await;
            }
        }
    }

    async fn run_cleaner(&self) {
        loop {
            let now = self.clock.reading();
            if let Err(error) = self.check_clock(now).await {
                tracing::warn!(error = chain(&error), "cleaning up failed");
            } else {
                if let Err(error) = self.resend_lost_packs(now).await {
                    tracing::warn!(error = chain(&error), "resending lost packs failed");
                }
                self.count_days(now).await;
                self.delete_old_rows(now).await;
            }
            tokio::time::sleep(CLEAN_UP_INTERVAL).await;
        }
    }

    fn begin(&self, now: DateTime<Utc>) -> Pass {
        Pass { now, span: self.options.tracer.begin() }
    }

    fn report(&self, tick: &mut Tick, pass: Pass, began: Instant, result: &Result<()>) {
        let elapsed = self.clock.monotonic().duration_since(began);
        tick.elapsed_ms = elapsed.as_millis() as u64;
        histogram!("bday_tick_duration_seconds").record(elapsed.as_secs_f64());
        // Unconfirmed packs are sent again, but a queue that keeps rejecting them must raise an alarm.
        let outcome = if result.is_ok() && tick.failed == 0 { "ok" } else { "error" };
        counter!("bday_ticks_total", "outcome" => outcome).increment(1);
        if result.is_ok() {
            self.heartbeat.progress();
        }
        if let Some(span) = pass.span.filter(|_| result.is_err() || !tick.is_empty()) {
            let now = self.clock.now();
            self.options.tracer.end(Span {
                attributes: vec![
                    ("bday.due", tick.due.into()),
                    ("bday.enqueued", tick.enqueued.into()),
                    ("bday.failed", tick.failed.into()),
                    ("bday.skipped", tick.skipped.into()),
                ],
                error: result.as_ref().err().map(|error| chain(error)),
                ..Span::new("tick", SpanKind::Internal, span, (now - elapsed, now))
            });
        }
    }

    /// Waits for second 0 of the next minute, or for `pause` if that is shorter. The cron job is a hint: it checks twice a second, so
    /// a timer ends the wait on time, and a tick that the job starts early is followed by one on time.
    async fn wait_for_next(&self, ticked_at: DateTime<Utc>, wake: &Notify, pause: Duration) {
        let next = minute_of(ticked_at) + TimeDelta::minutes(1);
        // A timer may fire a little early by the system clock, and a tick just before 09:00 would miss 09:00.
        let left = (next - self.clock.now()).to_std().unwrap_or_default() + Duration::from_millis(1);
        let _ = tokio::time::timeout(left.min(pause), wake.notified()).await;
    }
}

fn minute_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.with_second(0).map_or(at, |at| at.trunc_subsecs(0))
}

fn is_minute_start(at: DateTime<Utc>) -> bool {
    (at - minute_of(at)).to_std().unwrap_or_default() < INTERVAL
}

/// Ticks without work are logged once a minute.
fn log(tick: Tick, result: &Result<()>, minute_start: bool) {
    let Tick { planned: _, due, enqueued, failed, skipped, elapsed_ms } = tick;
    if let Err(error) = result {
        let error = chain(error);
        tracing::error!(due, enqueued, failed, skipped, elapsed_ms, error, "tick failed");
    } else if minute_start || !tick.is_empty() {
        tracing::info!(due, enqueued, failed, skipped, elapsed_ms, "tick");
    }
}
