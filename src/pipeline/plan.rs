//! Plan: creates events for the occasions of the next days and of missed days. Runs beside the ticks, so that no tick waits for it.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use uuid::Uuid;

use super::scheduler::{Result, Scheduler, Tick};
use crate::store::{BUCKETS, PageRequest, PlanPage, PlanStep, chain};

/// Occasions per transaction: few enough that an edit does not wait long for it.
const PAGE: u32 = 1000;
const UNREADABLE_LIMIT: u32 = 500;
/// Passes over the buckets of a day that writers hold.
const ROUNDS: usize = 5;
/// Days that were missed longer ago than this are not planned.
const MAX_GAP: Days = Days::new(366);
const INTERVAL: Duration = Duration::from_mins(1);
/// While another process plans, or a writer holds users.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Scheduler {
    pub(super) async fn run_planner(&self) {
        loop {
            let now = self.clock.reading();
            let planned = match self.check_clock(now).await {
                Ok(()) => self.plan(now, &mut Tick::default()).await,
                Err(error) => Err(error),
            };
            self.plan_heartbeat.alive();
            let pause = match planned {
                Ok(true) => INTERVAL,
                Ok(false) => RETRY_INTERVAL,
                Err(error) => {
                    tracing::error!(error = chain(&error), "planning failed");
                    RETRY_INTERVAL * 5
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Plans the missing local dates; returns whether all are planned. Costs two queries if there is no new day.
    pub(super) async fn plan(&self, now: DateTime<Utc>, tick: &mut Tick) -> Result<bool> {
        // Local dates: some zone is a day ahead of UTC, some a day behind.
        let from = (now - self.options.late_max).date_naive() - Days::new(1);
        let through = (now + self.options.horizon).date_naive() + Days::new(1);
        let rules = self.schedule.rules();
        let (before, mut complete) = (*tick, true);
        for day in self.store.days_to_plan(&rules, from, through).await? {
            if day < through - MAX_GAP {
                tracing::warn!(%day, "day not planned: it was missed over a year ago");
                self.store.open_day(&rules, day).await?;
                self.store.close_day(&rules, now, day).await?;
                continue;
            }
            complete &= self.plan_day(now, &rules, day, tick).await?;
        }
        let retried = self.store.plan_unreadable(&self.schedule, now, UNREADABLE_LIMIT).await?;
        metrics::gauge!("bday_unreadable_users").set(retried.unreadable.len() as f64);
        tick.planned += retried.planned;
        tick.skipped += retried.skipped;
        self.plan_heartbeat.progress();
        let (planned, skipped) = (tick.planned - before.planned, tick.skipped - before.skipped);
        if planned + skipped > 0 {
            tracing::info!(planned, skipped, "events planned");
        }
        Ok(complete)
    }

    /// Returns whether the whole day is planned.
    async fn plan_day(
        &self,
        now: DateTime<Utc>,
        rules: &str,
        day: NaiveDate,
        tick: &mut Tick,
    ) -> Result<bool> {
        self.store.open_day(rules, day).await?;
        // Most days have few users, so one transaction plans all buckets.
        let all = PageRequest { day, bucket: None, after: Uuid::nil(), limit: PAGE };
        let mut buckets: Vec<i16> = match self.plan_page(now, all, tick).await? {
            PlanStep::Page(PlanPage { next: None, .. }) => Vec::new(),
            PlanStep::Page(_) | PlanStep::Busy => (0..BUCKETS).collect(),
            PlanStep::OtherProcess => return Ok(false),
        };
        for _ in 0..ROUNDS {
            let mut busy = Vec::new();
            for bucket in buckets {
                match self.plan_bucket(now, day, bucket, tick).await? {
                    PlanStep::Page(_) => {}
                    PlanStep::Busy => busy.push(bucket),
                    PlanStep::OtherProcess => return Ok(false),
                }
            }
            buckets = busy;
        }
        if !buckets.is_empty() {
            tracing::warn!(%day, buckets = buckets.len(), "day not planned yet: its users are locked");
            return Ok(false);
        }
        self.store.close_day(rules, now, day).await?;
        Ok(true)
    }

    async fn plan_bucket(
        &self,
        now: DateTime<Utc>,
        day: NaiveDate,
        bucket: i16,
        tick: &mut Tick,
    ) -> Result<PlanStep> {
        let mut after = Uuid::nil();
        loop {
            let request = PageRequest { day, bucket: Some(bucket), after, limit: PAGE };
            match self.plan_page(now, request, tick).await? {
                PlanStep::Page(PlanPage { next: Some(next), .. }) => after = next,
                step => return Ok(step),
            }
        }
    }

    async fn plan_page(&self, now: DateTime<Utc>, request: PageRequest, tick: &mut Tick) -> Result<PlanStep> {
        let step = match self.store.plan_page(&self.schedule, now, request).await {
            Err(error) if error.is_contention() => PlanStep::Busy,
            step => step?,
        };
        if let PlanStep::Page(page) = &step {
            self.plan_heartbeat.progress();
            if let Some((user_id, error)) = page.unreadable.first() {
                let (day, users) = (request.day, page.unreadable.len());
                tracing::error!(%day, users, %user_id, error, "unreadable users are not planned");
            }
            tick.planned += page.planned;
            tick.skipped += page.skipped;
        }
        Ok(step)
    }
}
