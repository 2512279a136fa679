//! Plan: events for the occasions of the next days, and of days that were missed. Beside the ticks, never in front of them.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::scheduler::{Scheduler, TickError};
use crate::store::{BUCKETS, PageRequest, PlanPage, PlanStep};
use crate::telemetry::chain;

/// Occasions per transaction: few enough that an edit which waits for it does not notice.
const PAGE: u32 = 1000;
/// Users that could not be read, tried again in one round.
const UNREADABLE: u32 = 500;
/// Rounds over the buckets of a day that writers hold.
const ROUNDS: usize = 5;
/// Days that were missed for longer than this are not planned any more.
const LONGEST_GAP: Days = Days::new(366);
/// Between two rounds, if nothing was left undone.
const INTERVAL: Duration = Duration::from_mins(1);
/// And where another process is planning, or a writer holds users.
const RETRY: Duration = Duration::from_secs(1);

/// What a round of planning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Planned {
    /// New pending events.
    pub(super) planned: u64,
    /// New events that are skipped from the start.
    pub(super) skipped: u64,
    /// Whether everything is planned that can be.
    pub(super) complete: bool,
}

impl Planned {
    fn add(&mut self, page: &PlanPage) {
        self.planned += page.planned;
        self.skipped += page.skipped;
    }
}

impl Scheduler {
    /// Plans until `token` is cancelled.
    pub(super) async fn run_planner(&self, token: &CancellationToken) {
        loop {
            let planned = Box::pin(async {
                let now = self.clock.reading();
                self.check_clock(now).await?;
                self.plan(now).await
            });
            let Some(planned) = token.run_until_cancelled(planned).await else {
                return;
            };
            self.plan_beat.turn();
            let pause = match planned {
                Ok(Planned { complete: true, .. }) => INTERVAL,
                Ok(_) => RETRY,
                Err(error) => {
                    tracing::error!(error = chain(&error), "planning failed");
                    RETRY * 5
                }
            };
            if token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Plans the local dates that are missing. A day costs what it has occasions; a round without a new day costs two look-ups.
    pub(super) async fn plan(&self, now: DateTime<Utc>) -> Result<Planned, TickError> {
        let (from, through) = self.window(now);
        let rules = self.schedule.rules();
        let mut total = Planned { complete: true, ..Planned::default() };
        for day in self.store.days_to_plan(&rules, from, through).await? {
            if day < through - LONGEST_GAP {
                tracing::warn!(%day, "day missed over a year ago is not planned");
                self.store.open_day(&rules, day).await?;
                self.store.close_day(&rules, now, day).await?;
                continue;
            }
            total.complete &= self.plan_day(now, &rules, day, &mut total).await?;
        }
        let again = self.store.plan_unreadable(&self.schedule, now, UNREADABLE).await?;
        metrics::gauge!("bday_unreadable_users").set(again.unreadable.len() as f64);
        total.add(&again);
        self.plan_beat.touch();
        if total.planned + total.skipped > 0 {
            tracing::info!(planned = total.planned, skipped = total.skipped, "events planned");
        }
        Ok(total)
    }

    /// The local dates that the plan must reach: some zone is a day ahead of UTC, some a day behind.
    fn window(&self, now: DateTime<Utc>) -> (NaiveDate, NaiveDate) {
        let day = Days::new(1);
        ((now - self.options.late_max).date_naive() - day, (now + self.options.horizon).date_naive() + day)
    }

    /// Returns whether the day is planned, and closed.
    async fn plan_day(
        &self,
        now: DateTime<Utc>,
        rules: &str,
        day: NaiveDate,
        total: &mut Planned,
    ) -> Result<bool, TickError> {
        self.store.open_day(rules, day).await?;
        // Most days have few users: one transaction over all buckets.
        let all = PageRequest { day, bucket: None, after: Uuid::nil(), limit: PAGE };
        match self.plan_page(now, all, total).await? {
            Step::Last => {
                self.store.close_day(rules, now, day).await?;
                return Ok(true);
            }
            Step::Elsewhere => return Ok(false),
            Step::Busy | Step::Next(_) => {}
        }
        let mut left: Vec<i16> = (0..BUCKETS).collect();
        for _ in 0..ROUNDS {
            let mut busy = Vec::new();
            for bucket in left {
                match self.plan_bucket(now, day, bucket, total).await? {
                    Step::Busy => busy.push(bucket),
                    Step::Elsewhere => return Ok(false),
                    Step::Last | Step::Next(_) => {}
                }
            }
            if busy.is_empty() {
                self.store.close_day(rules, now, day).await?;
                return Ok(true);
            }
            left = busy;
        }
        tracing::warn!(%day, buckets = left.len(), "day not planned yet: writers hold its users");
        Ok(false)
    }

    /// Plans the pages of one bucket.
    async fn plan_bucket(
        &self,
        now: DateTime<Utc>,
        day: NaiveDate,
        bucket: i16,
        total: &mut Planned,
    ) -> Result<Step, TickError> {
        let mut after = Uuid::nil();
        loop {
            let request = PageRequest { day, bucket: Some(bucket), after, limit: PAGE };
            match self.plan_page(now, request, total).await? {
                Step::Next(next) => after = next,
                ended => return Ok(ended),
            }
        }
    }

    async fn plan_page(
        &self,
        now: DateTime<Utc>,
        request: PageRequest,
        total: &mut Planned,
    ) -> Result<Step, TickError> {
        let page = match self.store.plan_page(&self.schedule, now, request).await {
            Ok(PlanStep::Page(page)) => page,
            Ok(PlanStep::Busy) => return Ok(Step::Busy),
            Ok(PlanStep::Elsewhere) => return Ok(Step::Elsewhere),
            Err(error) if error.is_contention() => return Ok(Step::Busy),
            Err(error) => return Err(error.into()),
        };
        self.plan_beat.touch();
        if let Some((user_id, error)) = page.unreadable.first() {
            let (day, users) = (request.day, page.unreadable.len());
            tracing::error!(%day, users, %user_id, error, "unreadable users are not planned");
        }
        total.add(&page);
        Ok(page.next.map_or(Step::Last, Step::Next))
    }
}

/// What became of a page.
enum Step {
    /// There are more behind this user.
    Next(Uuid),
    /// It was the last.
    Last,
    /// A writer holds the bucket.
    Busy,
    /// Another process is planning.
    Elsewhere,
}
