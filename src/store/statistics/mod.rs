//! Statistics of events. Each statement reads a bounded part of an index, so that its cost does not grow with the history.

mod day;
mod day_counts;
mod failures;

use serde::Serialize;
use sqlx::{Postgres, Transaction};
use utoipa::ToSchema;

use super::{Result, Store};
use crate::model::EventState;

pub use day::{BusyMinute, DayStatistics, EventGroup, LATE, Lateness};
pub use day_counts::{DayCounts, RECOUNT_AFTER};
pub use failures::{FailureGroup, FailureGroups, MAX_GROUPED, MAX_SCANNED};

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

impl Store {
    /// Begins a transaction for statements that read many events.
    async fn begin_scan(&self) -> Result<Transaction<'static, Postgres>> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(SETTINGS).execute(&mut *transaction).await?;
        Ok(transaction)
    }
}
