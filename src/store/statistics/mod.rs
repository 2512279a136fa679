//! Statistics of events. Each statement reads a bounded part of an index, so that its cost does not grow with the history.

mod day;
mod day_counts;
mod failures;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::{Postgres, Transaction};
use utoipa::ToSchema;

use super::{Result, Store};
use crate::model::EventState;

pub use day::{BusyMinute, DayStatistics, EventGroup, LATE, Lateness};
pub use day_counts::{DayCounts, RECOUNT_AFTER};
pub use failures::{FailureGroup, FailureGroups, MAX_GROUPED, MAX_SCANNED};

/// The UTC day of a local date, extended by this, has every event of that date in any zone (at most 14 h ahead of UTC, 12 h behind).
const BEFORE: TimeDelta = TimeDelta::hours(15);
const AFTER: TimeDelta = TimeDelta::hours(39);

/// The planner expects few events of a local date, and would read the whole table or sort. At most one core of the database: the stages
/// need the others. Compiling such a statement (JIT) takes longer than running it.
const SETTINGS: &str = "
SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off;
SET LOCAL work_mem = '64MB'";

/// Numbers of events by their outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct OutcomeCounts {
    /// Delivered.
    pub sent: i64,
    /// Dead.
    pub failed: i64,
    pub skipped: i64,
    pub cancelled: i64,
    /// Ahead, or not ended yet.
    pub due: i64,
}

impl OutcomeCounts {
    #[must_use]
    pub fn total(&self) -> i64 {
        self.sent + self.failed + self.skipped + self.cancelled + self.due
    }

    fn add(&mut self, state: EventState, count: i64) {
        let counter = match state {
            EventState::Delivered => &mut self.sent,
            EventState::Dead => &mut self.failed,
            EventState::Skipped => &mut self.skipped,
            EventState::Cancelled => &mut self.cancelled,
            EventState::Pending | EventState::Queued | EventState::Delivering => &mut self.due,
        };
        *counter += count;
    }
}

/// Which events belong to local dates.
#[derive(Debug, Clone, Copy)]
struct DateRange {
    due_from: DateTime<Utc>,
    due_before: DateTime<Utc>,
    /// The dates of events whose user was deleted: due on 1 January, finished at the end of the year. They belong to no date.
    blurred_due: DateTime<Utc>,
    blurred_finished: DateTime<Utc>,
}

impl DateRange {
    /// Returns the range of `from` to `to`, both included: less than a year.
    fn new(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            due_from: midnight(from) - BEFORE,
            due_before: midnight(to) + AFTER,
            blurred_due: midnight(new_year(to.year())),
            blurred_finished: midnight(new_year(to.year() + 1)),
        }
    }
}

fn new_year(year: i32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or(NaiveDate::MAX)
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

impl Store {
    /// Begins a transaction for statements that read many events.
    async fn begin_scan(&self) -> Result<Transaction<'static, Postgres>> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(SETTINGS).execute(&mut *transaction).await?;
        Ok(transaction)
    }
}
