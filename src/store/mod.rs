//! All SQL, one file for each aggregate. PostgreSQL is the source of truth; the queue may lose, repeat or reorder messages.
//!
//! `now` is always an argument, from [`crate::clock::Clock`], never the database's clock.

mod api_writes;
mod attempts;
mod bucket_locks;
mod contacts;
mod date_range;
mod error;
mod events;
mod feedback;
mod installation;
mod leases;
mod login;
mod outbox;
mod pauses;
mod planned_days;
mod planning_basis;
mod pool;
mod reach;
mod schema;
mod server;
mod sessions;
mod statistics;
mod time_cursor;
mod time_zones;
mod tokens;
mod undelivered;
mod uploads;
mod users;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryFutureExt as _;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Connection as _, PgPool, Postgres};
use tokio::sync::{OnceCell, Semaphore};

pub use api_writes::{ApiWrite, ApiWriteFilter, RemoteAddress};
pub use attempts::{EndedAttempt, FailedAttempt, RecordResult};
pub use bucket_locks::BUCKETS;
pub use contacts::ContactChoice;
pub use error::StoreError;
pub(crate) use error::chain;
pub use events::{
    Backlog, CancelOutcome, ClaimCursor, ClaimRequest, ClaimedEvents, DeadFilter, DeadLetterEvent,
    EventFilter, EventOrder, MAX_COUNTED, RedriveCandidate, RedriveOutcome, RedrivePage,
};
pub use installation::InstallationKey;
pub use leases::{ExpiredLeases, LeaseRequest, Routes, UnleasedEvents};
pub use login::Login;
pub use outbox::{DeadLetterRow, DeferredPack, OutboxDepth, Pack};
pub use pauses::{Pause, parse_pause_reason};
pub use planned_days::{PageRequest, PlanPage, PlanStep};
pub use planning_basis::{MovedEvent, PlanningBasis, RecomputeStep};
pub use server::{MIN_SERVER_VERSION, Server};
pub use sessions::SessionLimits;
pub use sqlx::postgres::PgSslMode as TlsMode;
pub use statistics::{
    BusyMinute, DayCounts, DayStatistics, EventGroup, FailureGroup, FailureGroups, LATE, Lateness,
    MAX_GROUPED, MAX_SCANNED, OutcomeCounts, RECOUNT_AFTER,
};
pub use time_cursor::TimeCursor;
pub use time_zones::DatabaseLocalTime;
pub use tokens::{ApiToken, CreateTokenOutcome, MAX_LIVE_TOKENS, NewToken};
pub use undelivered::{PostponedEvent, RefusedContact};
pub use uploads::{CHUNK_BYTES, MAX_UPLOADS, NewUpload, UPLOAD_TIME, Upload};
pub use users::{
    ApiRequest, BatchOutcome, CalendarDate, CurrentUser, DateCount, DateName, DeleteOutcome, Idempotency,
    RepeatedRequest, SaveOutcome, SearchCursor, SearchPage, UserChange, UserFilter, UserHistory, UserKey,
    UserPage, UserRef,
};

pub const STATEMENT_GRACE: Duration = Duration::from_secs(5);

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub max_connections: u32,
    /// Connections that stay open: opening one takes longer than most statements.
    pub kept_connections: u32,
    pub acquire_timeout: Duration,
    /// When the server cancels a statement; the client times out [`STATEMENT_GRACE`] later.
    pub statement_timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    options: StoreOptions,
    deadline: Duration,
    dropped_work: pool::DroppedWork,
    login: Arc<login::LoginState>,
    installation_key: Arc<OnceCell<InstallationKey>>,
    /// Limits the connections in use, in addition to the pool.
    permits: Option<Arc<Semaphore>>,
}

impl Store {
    /// Does not connect yet: the database may be unavailable.
    pub fn new(url: &str, options: &StoreOptions) -> Result<Self> {
        let connect = Login::Url(url.into()).connect_options()?;
        Ok(Self::build(connect, options, login::LoginState::known()))
    }

    pub async fn ping(&self, deadline: Duration) -> Result<()> {
        self.login.check()?;
        let ping = async {
            self.pool.acquire().await?.ping().await?;
            Ok(())
        };
        let answer = self.dropped_work.watch(deadline, ping).await;
        self.checked(answer.unwrap_or(Err(StoreError::Timeout(deadline)))).await
    }

    pub async fn close(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(5), self.pool.close()).await;
    }

    fn run<T>(&self, statement: impl Future<Output = sqlx::Result<T>>) -> impl Future<Output = Result<T>> {
        self.in_time(statement.err_into())
    }

    async fn execute(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<u64> {
        Ok(self.run(statement.execute(&self.pool)).await?.rows_affected())
    }

    /// Runs `work` until the deadline: the server's own timeout does not help if the server or the network hangs.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.login.check()?;
        let answer = match self.acquire_permit().await {
            Ok(_permit) => self.dropped_work.watch(self.deadline, work).await,
            Err(error) => Ok(Err(error)),
        };
        self.checked(answer.unwrap_or(Err(StoreError::Timeout(self.deadline)))).await
    }

    /// Deletes rows from before `before` by `statement`, which takes that instant and a limit, in a bounded number of batches.
    async fn forget(&self, before: DateTime<Utc>, statement: &'static str) -> Result<()> {
        const BATCH: u32 = 1000;
        const MAX_BATCHES: u32 = 50;
        for _ in 0..MAX_BATCHES {
            let delete = sqlx::query(statement).bind(before).bind(i64::from(BATCH));
            if self.execute(delete).await? < u64::from(BATCH) {
                break;
            }
        }
        Ok(())
    }

    /// Deletes expired rows, and rows of the audit log from before `audit_before`; blurs the events of deleted users. After an
    /// error, the next call does the rest.
    pub async fn clean_up(&self, now: DateTime<Utc>, audit_before: DateTime<Utc>) -> Result<()> {
        self.blur_events(now).await?;
        self.forget_api_writes(audit_before).await?;
        self.forget_idempotency_keys(now).await?;
        self.forget_uploads(now).await?;
        self.forget_deleted_users(now).await
    }

    /// Reports a refused login to [`Self::denied`], and adds the reason that the pool hides.
    async fn checked<T>(&self, answer: Result<T>) -> Result<T> {
        let error = match answer {
            Ok(value) => return Ok(value),
            Err(StoreError::Migrate(MigrateError::Execute(error @ sqlx::Error::PoolTimedOut))) => {
                error.into()
            }
            Err(error) => error,
        };
        // Boxed: every statement would carry the memory for it, and almost none needs it.
        let error = Box::pin(self.with_reason(error)).await;
        self.login.check_denied(&error);
        Err(error)
    }
}

/// Returns a column of `rows`, as an array parameter of a statement.
fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
