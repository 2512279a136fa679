//! Passes: claims what is due at second 0 of every minute, and retries every few seconds; plans and cleans up beside that.
//!
//! Every pass is idempotent: it reads what is due and does what is missing. So the pass at the start is the recovery from whatever
//! happened before, a missed pass heals at the next, and any number of processes may run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Timelike as _, Utc};
use metrics::{counter, histogram};
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;

use super::scheduler::{Extent, Scheduler, Tick, TickError};
use crate::telemetry::chain;

/// Between two passes: how soon a retry, an expired lease or a pack that was left is noticed.
const INTERVAL: Duration = Duration::from_secs(2);
/// After a pass that failed, leases are not swept for this long: workers that wait for the same database extend theirs first.
const SWEEP_GRACE: Duration = Duration::from_secs(10);

impl Scheduler {
    /// One pass at `now`, which was read from the clock just now, unless that clock and the database's differ.
    ///
    /// # Errors
    /// As [`run_once`](Self::run_once), or the clocks differ.
    pub async fn tick(&self, now: DateTime<Utc>) -> (Tick, Result<(), TickError>) {
        match self.check_clock(now).await {
            Ok(()) => self.run_once(now).await,
            Err(error) => {
                counter!("bday_ticks_total", "outcome" => "error").increment(1);
                (Tick::default(), Err(error))
            }
        }
    }

    /// One pass at any `now`, as simulated years need it: sweeps, claims and sends all that is due, plans, and claims what that made
    /// due.
    ///
    /// # Errors
    /// A part could not do its work; the tick has the counts until then.
    pub async fn run_once(&self, now: DateTime<Utc>) -> (Tick, Result<(), TickError>) {
        let began = self.clock.monotonic();
        let mut tick = Tick::default();
        let mut result = self.resend_lost(now).await;
        result = result.and(self.pass(now, Extent::All, true, &mut tick).await.map(drop));
        match self.plan(now).await {
            Ok(planned) => {
                tick.planned += planned.planned;
                tick.skipped += planned.skipped;
                if planned.planned > 0 {
                    result = result.and(self.claim(now, Extent::All, &mut tick).await.map(drop));
                }
            }
            Err(error) => result = result.and(Err(error)),
        }
        self.note(&mut tick, began, &result);
        (tick, result)
    }

    /// Claims and sends all that is due at `now`, without the rest of a pass; returns how many. For a caller that has just made
    /// events due and does not wait for the next pass.
    ///
    /// # Errors
    /// The database or the queue is unavailable; the next pass does it.
    pub async fn send_due(&self, now: DateTime<Utc>) -> Result<u64, TickError> {
        let mut tick = Tick::default();
        self.claim(now, Extent::All, &mut tick).await?;
        Ok(tick.due)
    }

    /// Sweeps expired leases, claims, and sends what was left in the outbox. Returns whether more may be due.
    async fn pass(
        &self,
        now: DateTime<Utc>,
        extent: Extent,
        sweep: bool,
        tick: &mut Tick,
    ) -> Result<bool, TickError> {
        // What the sweep makes pending is due, so it comes first; it costs a look-up.
        let swept = if sweep { self.expire_leases(now).await } else { Ok(()) };
        let claimed = self.claim(now, extent, tick).await;
        let left = self.send_left(now).await.map(|(sent, failed)| {
            tick.enqueued += sent;
            tick.failed += failed;
        });
        swept.and(left).and(claimed)
    }

    /// Passes until `token` is cancelled, and beside them plans and cleans up.
    pub async fn run(&self, token: CancellationToken) -> anyhow::Result<()> {
        let wake = Arc::new(Notify::new());
        let mut cron = JobScheduler::new().await?;
        let notify = Arc::clone(&wake);
        cron.add(Job::new("0 * * * * *", move |_, _| notify.notify_one())?).await?;
        cron.start().await?;
        tokio::join!(self.run_passes(&wake, &token), self.run_planner(&token), self.run_cleaner(&token));
        cron.shutdown().await?;
        Ok(())
    }

    async fn run_passes(&self, wake: &Notify, token: &CancellationToken) {
        let (mut failures, mut failed_at) = (0_u32, None);
        loop {
            let now = self.clock.reading();
            let began = self.clock.monotonic();
            let calm = failed_at.is_none_or(|at| began.duration_since(at) > SWEEP_GRACE);
            let mut tick = Tick::default();
            let pass = Box::pin(async {
                self.check_clock(now).await?;
                self.pass(now, Extent::Paced(INTERVAL), calm, &mut tick).await
            });
            let Some(result) = token.run_until_cancelled(pass).await else {
                return;
            };
            let more = matches!(result, Ok(true));
            let result = result.map(drop);
            self.beat.turn();
            self.note(&mut tick, began, &result);
            if result.is_ok() {
                failures = 0;
            } else {
                failures = failures.saturating_add(1);
                failed_at = Some(self.clock.monotonic());
            }
            log(tick, &result, starts_a_minute(now));
            if more {
                // A backlog: workers must not wait for the next pass.
                continue;
            }
            let pause = self.until_next(now, wake, pause(failures));
            if token.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// At the start and every minute: packs that the queue lost, and records past their retention.
    async fn run_cleaner(&self, token: &CancellationToken) {
        loop {
            let clean = async {
                let now = self.clock.reading();
                if let Err(error) = self.check_clock(now).await {
                    return tracing::warn!(error = chain(&error), "cleaning up failed");
                }
                if let Err(error) = self.resend_lost(now).await {
                    tracing::warn!(error = chain(&error), "looking for lost packs failed");
                }
                self.forget_old(now).await;
            };
            if token.run_until_cancelled(Box::pin(clean)).await.is_none() {
                return;
            }
            if token.run_until_cancelled(tokio::time::sleep(Duration::from_mins(1))).await.is_none() {
                return;
            }
        }
    }

    fn note(&self, tick: &mut Tick, began: Instant, result: &Result<(), TickError>) {
        let elapsed = self.clock.monotonic().duration_since(began);
        tick.elapsed_ms = elapsed.as_millis() as u64;
        histogram!("bday_tick_duration_seconds").record(elapsed.as_secs_f64());
        // Events that were not sent are sent again, but an alarm should hear of a queue that keeps refusing.
        let outcome = if result.is_ok() && tick.failed == 0 { "ok" } else { "error" };
        counter!("bday_ticks_total", "outcome" => outcome).increment(1);
        if result.is_ok() {
            self.beat.touch();
        }
    }

    /// Waits for second 0 of the next minute, or for the next pass before that. The cron job is a hint; it checks twice a second, so a
    /// timer of its own ends the wait on time.
    async fn until_next(&self, passed_at: DateTime<Utc>, wake: &Notify, pause: Duration) {
        let next = minute_of(passed_at) + TimeDelta::minutes(1);
        // A timer may fire a little early by the other clock; a pass a moment before 09:00 would miss 09:00.
        let left = (next - self.clock.now()).to_std().unwrap_or_default() + Duration::from_millis(1);
        let hint = tokio::time::timeout(left.min(pause), wake.notified()).await;
        let now = self.clock.now();
        if hint.is_ok() && now < next && minute_of(now) == minute_of(passed_at) {
            // The cron job's clock is a little ahead.
            let left = (next - now).to_std().unwrap_or_default().min(Duration::from_secs(1));
            tokio::time::sleep(left).await;
        }
    }
}

fn minute_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.with_second(0).map_or(at, |at| at.trunc_subsecs(0))
}

/// Whether a pass at `at` is the first of its minute.
fn starts_a_minute(at: DateTime<Utc>) -> bool {
    (at - minute_of(at)).to_std().unwrap_or_default() < INTERVAL
}

/// A line a minute, and one for each pass that did something.
fn log(tick: Tick, result: &Result<(), TickError>, minute: bool) {
    let Tick { planned: _, due, enqueued, failed, skipped, elapsed_ms } = tick;
    if let Err(error) = result {
        let error = chain(error);
        tracing::error!(due, enqueued, failed, skipped, elapsed_ms, error, "tick failed");
    } else if minute || !tick.is_idle() {
        tracing::info!(due, enqueued, failed, skipped, elapsed_ms, "tick");
    }
}

/// Until the next pass: longer after failures, up to 8 s. What falls due right after an outage waits no longer.
fn pause(failures: u32) -> Duration {
    INTERVAL * (1 << failures.min(2))
}
