//! Plan: rows for the occasions of the next days, and of the days that were missed.

use chrono::{DateTime, Days, NaiveDate, Utc};
use metrics::counter;
use uuid::Uuid;

use super::{Scheduler, Tick, TickError};
use crate::store::PlanPage;

/// Users per transaction: few enough that an edit that waits for it does not notice.
const PAGE: u32 = 1000;
const TRIES: u32 = 3;
/// After a longer absence, what is older than this is not even written down as skipped.
const LONGEST_GAP: Days = Days::new(366);

impl Scheduler {
    /// Plans the local dates that are missing. A day costs what it has occasions; a minute without a new day costs one
    /// look.
    pub(super) async fn plan(&self, now: DateTime<Utc>, tick: &mut Tick) -> Result<(), TickError> {
        let (from, through) = self.window(now);
        for day in self.store.days_to_plan(from, through).await? {
            if day < through - LONGEST_GAP {
                tracing::warn!(%day, "a day over a year ago was never planned; what was due then is not sent");
                self.store.open_day(day).await?;
                self.store.close_day(now, day).await?;
                continue;
            }
            if !self.plan_day(now, from, day, tick).await? {
                // Another process is at it.
                return Ok(());
            }
        }
        Ok(())
    }

    /// The local dates that the plan must reach: some zone is a day ahead of UTC, some a day behind.
    fn window(&self, now: DateTime<Utc>) -> (NaiveDate, NaiveDate) {
        let day = Days::new(1);
        (
            (now - self.options.late_max).date_naive() - day,
            (now + self.options.horizon).date_naive() + day,
        )
    }

    /// Tried again where it met a writer who locked the same users in another order: imports lock them as their file has them.
    async fn plan_page(
        &self,
        now: DateTime<Utc>,
        day: NaiveDate,
        after: Uuid,
    ) -> Result<Option<PlanPage>, TickError> {
        let mut tries = 1;
        loop {
            match self.store.plan_page(&self.schedule, now, day, after, PAGE).await {
                Err(error) if error.is_contention() && tries < TRIES => tries += 1,
                page => return Ok(page?),
            }
        }
    }

    /// Gives whether the day was gone through. It stays open for those who could not be read, as long as they could still be
    /// greeted: who is put right in the database, or can be read by the next version, is planned then.
    async fn plan_day(
        &self,
        now: DateTime<Utc>,
        from: NaiveDate,
        day: NaiveDate,
        tick: &mut Tick,
    ) -> Result<bool, TickError> {
        self.store.open_day(day).await?;
        let mut after = Uuid::nil();
        let mut unreadable = 0;
        loop {
            let Some(page) = self.plan_page(now, day, after).await? else {
                return Ok(false);
            };
            tick.planned += page.planned;
            tick.skipped += page.skipped;
            counter!("bday_events_planned_total").increment(page.planned);
            counter!("bday_events_skipped_total", "reason" => "late_join").increment(page.skipped);
            self.beat.touch();
            unreadable += page.unreadable.len();
            if let Some(error) = page.unreadable.first() {
                let users = page.unreadable.len();
                tracing::error!(%day, users, error, "there are users who cannot be read, and so not be planned");
            }
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        if unreadable == 0 || day < from {
            self.store.close_day(now, day).await?;
        }
        Ok(true)
    }
}
