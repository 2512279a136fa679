//! Statistics for pages that many operators poll: the counts of a day, a year of days, and the groups of failures.
//!
//! Past dates are counted once, by the scheduler (`day_counts`). All other results are cached in this process: each is computed by one
//! caller at a time, and reused for fifty times as long as it took. So polling uses at most a few percent of a connection, whatever the
//! number of events. The results of other processes and of this process may differ by that time.

mod cache;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, Utc};
use futures_util::future::try_join3;
use serde::Serialize;
use utoipa::ToSchema;

use crate::calendar::LeapDay;
use crate::clock::SharedClock;
use crate::store::{
    BusyMinute, DayCounts, DayStatistics, DeadFilter, FailureGroups, OutcomeCounts, Store, StoreError,
};
use cache::Cache;

/// The longest range of [`Statistics::days`].
pub const MAX_DAYS: usize = 400;
const MAX_BUSIEST_MINUTES: u32 = 10;
/// No event is planned further ahead (the maximum of `plan.horizon_secs`, and a zone).
const PLANNED_DAYS: Days = Days::new(32);
/// See [`Cache`]. What is ahead changes slowly: counting the dates of a million users takes a tenth of a second, and is done every other
/// minute.
const FACTOR: i32 = 50;
const AHEAD_FACTOR: i32 = 1000;
/// A result that is reused for less takes at most 60 ms.
const MIN_PAUSE: Duration = Duration::from_mins(1);

/// An error of the database, shared by the callers that waited for one result.
pub type Result<T> = std::result::Result<T, Arc<StoreError>>;

/// The events of one local date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct DateCounts {
    /// The date in the zones of the users.
    pub date: NaiveDate,
    /// Null: the date is past, and not counted yet.
    pub counts: Option<OutcomeCounts>,
}

type OccasionsByDay = BTreeMap<(u32, u32), i64>;

#[derive(Debug)]
pub struct Statistics {
    store: Store,
    leap_day: LeapDay,
    clock: SharedClock,
    days: Cache<NaiveDate, DayStatistics>,
    ranges: Cache<(NaiveDate, NaiveDate), Vec<DateCounts>>,
    occasions: Cache<(), OccasionsByDay>,
    busiest_minutes: Cache<(), Vec<BusyMinute>>,
    failures: Cache<(DeadFilter, u32), FailureGroups>,
}

impl Statistics {
    /// `leap_day`: the configured rule for 29 February; the rules of single users are ignored.
    #[must_use]
    pub fn new(store: Store, leap_day: LeapDay, clock: SharedClock) -> Self {
        let clock_of = || Arc::clone(&clock);
        Self {
            store,
            leap_day,
            days: Cache::new(clock_of(), FACTOR),
            ranges: Cache::new(clock_of(), FACTOR),
            occasions: Cache::new(clock_of(), AHEAD_FACTOR),
            busiest_minutes: Cache::new(clock_of(), AHEAD_FACTOR),
            failures: Cache::new(clock_of(), FACTOR),
            clock,
        }
    }

    /// Returns the statistics of the present date in UTC.
    pub async fn today(&self) -> Result<Arc<DayStatistics>> {
        self.day(self.clock.now().date_naive()).await
    }

    pub async fn day(&self, date: NaiveDate) -> Result<Arc<DayStatistics>> {
        let compute = async { self.store.day_statistics(self.clock.now(), date).await.map_err(Arc::new) };
        self.days.get(date, compute).await
    }

    /// Returns the counts of each date from `from` to `to`, of which the first [`MAX_DAYS`] are returned.
    ///
    /// | date | counts |
    /// | --- | --- |
    /// | before yesterday in UTC | stored by the scheduler, since the date was over in every zone; none if no scheduler ran since then |
    /// | yesterday, today and tomorrow in UTC | of the events |
    /// | later | the occasions of that day: all kinds, with 29 February by the configured rule |
    pub async fn days(&self, from: NaiveDate, to: NaiveDate) -> Result<Arc<Vec<DateCounts>>> {
        self.ranges.get((from, to), self.count_days(from, to)).await
    }

    /// Counts what is ahead, if no fresh result exists. Returns when to call this again, so that a result that takes long to compute is
    /// always there. An error is left to the next visitor.
    pub async fn count_ahead(&self) -> Duration {
        let _ = self.occasions().await;
        self.occasions.fresh_for(&()).to_std().unwrap_or_default().max(MIN_PAUSE)
    }

    /// Returns up to ten minutes with the most planned events ahead, the busiest first.
    pub async fn busiest_minutes(&self) -> Result<Arc<Vec<BusyMinute>>> {
        let compute = async {
            let from = self.clock.now();
            let to = from + PLANNED_DAYS;
            self.store.busiest_minutes(from, to, MAX_BUSIEST_MINUTES).await.map_err(Arc::new)
        };
        self.busiest_minutes.get((), compute).await
    }

    /// Returns up to `limit` groups of the latest dead events that match `filter`, the largest first.
    pub async fn failures(&self, filter: &DeadFilter, limit: u32) -> Result<Arc<FailureGroups>> {
        let compute =
            async { self.store.failure_groups(self.clock.now(), filter, limit).await.map_err(Arc::new) };
        self.failures.get((filter.clone(), limit), compute).await
    }

    /// Makes the next calls count again: after a change by this process that its user expects to see.
    pub fn invalidate(&self) {
        self.days.invalidate();
        self.ranges.invalidate();
        self.busiest_minutes.invalidate();
        self.failures.invalidate();
    }

    async fn count_days(&self, from: NaiveDate, to: NaiveDate) -> Result<Vec<DateCounts>> {
        let now = self.clock.now();
        let live = live_dates(now);
        let stored = async {
            let first = self.store.first_due_at().await?;
            Result::Ok((self.store.stored_day_counts(from, to).await?, first))
        };
        let present = async {
            if to < live.0 || live.1 < from {
                return Result::Ok(Vec::new());
            }
            Ok(self.store.live_day_counts(live.0, live.1).await?)
        };
        let ahead = async { if to > live.1 { self.occasions().await.map(Some) } else { Ok(None) } };
        let ((stored, first), present, occasions) = try_join3(stored, present, ahead).await?;
        let counts: BTreeMap<NaiveDate, OutcomeCounts> = by_date(stored).chain(by_date(present)).collect();
        let first = first.map_or(live.0, |first| first.date_naive() - Days::new(1));
        let days = from.iter_days().take_while(|date| *date <= to).take(MAX_DAYS).map(|date| {
            let ahead = occasions.as_deref().filter(|_| date > live.1);
            let counts = match ahead {
                Some(occasions) => Some(self.ahead(date, occasions)),
                // No event was due: nothing has to be counted.
                None if date < first || date >= live.0 => {
                    Some(counts.get(&date).copied().unwrap_or_default())
                }
                None => counts.get(&date).copied(),
            };
            DateCounts { date, counts }
        });
        Ok(days.collect())
    }

    async fn occasions(&self) -> Result<Arc<OccasionsByDay>> {
        let compute = async {
            let rows = self.store.occasions_by_day().await?;
            Ok(rows.into_iter().map(|(month, day, count)| ((month, day), count)).collect())
        };
        self.occasions.get((), compute).await
    }

    fn ahead(&self, date: NaiveDate, occasions: &OccasionsByDay) -> OutcomeCounts {
        let on = |month, day| occasions.get(&(month, day)).copied().unwrap_or_default();
        let stands_for_leap_day = !date.leap_year()
            && match self.leap_day {
                LeapDay::Feb28 => (date.month(), date.day()) == (2, 28),
                LeapDay::Mar1 => (date.month(), date.day()) == (3, 1),
                LeapDay::LeapYearsOnly => false,
            };
        let leap_day = if stands_for_leap_day { on(2, 29) } else { 0 };
        OutcomeCounts { due: on(date.month(), date.day()) + leap_day, ..OutcomeCounts::default() }
    }
}

/// Returns the first and the last date whose events are counted in `events`: those before are stored, those after have not begun in any
/// zone.
fn live_dates(now: DateTime<Utc>) -> (NaiveDate, NaiveDate) {
    let today = now.date_naive();
    (today - Days::new(1), today + Days::new(1))
}

fn by_date(days: Vec<DayCounts>) -> impl Iterator<Item = (NaiveDate, OutcomeCounts)> {
    days.into_iter().map(|day| (day.local_date, day.counts))
}
