//! All SQL. PostgreSQL is the truth: whatever the queue loses, repeats or reorders, these statements decide.
//!
//! `now` is always an argument, from [`crate::clock::Clock`], never the database's clock.

mod api_writes;
mod claim;
mod controls;
mod dead;
mod error;
mod events;
mod inspect;
mod installation;
mod lease;
mod login;
mod outbox;
mod plan;
mod pool;
mod record;
mod replan;
mod stats;
mod sweep;
mod tokens;
mod users;

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryFutureExt as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgArguments, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{Connection as _, PgPool, Postgres};
use tokio::sync::{OnceCell, Semaphore};

pub use api_writes::{ApiWrite, ApiWriteFilter, Remote};
pub use claim::{ClaimCursor, ClaimRequest, Claimed};
pub use controls::{MAX_REASON_CHARS, Pause};
pub use dead::{Cancelled, Candidate, DeadFilter, LetterEvent, RedriveOutcome, RedrivePage};
pub use error::StoreError;
pub(crate) use error::chain;
pub use events::{EventCursor, EventFilter, Order};
pub use inspect::{OLDEST_SERVER, Server};
pub use installation::InstallationKey;
pub use lease::{LeaseRequest, NotLeased};
pub use login::Login;
pub use outbox::{DeadLetterRow, Deferred, Pack};
pub use plan::{BUCKETS, PageRequest, PlanPage, PlanStep};
pub use record::{Delivery, Failure, NextStep, Recorded};
pub use replan::{Basis, Moved, Reading, Recomputed};
pub use sqlx::postgres::PgSslMode as TlsMode;
pub use stats::{Backlog, MOST_COUNTED};
pub use sweep::Expired;
pub use tokens::{ApiToken, MAX_LIVE_TOKENS, NewToken, TokenCreated};
pub use users::{
    ApiRequest, Current, Deleted, Facts, Idempotency, Repeated, SaveOutcome, Saved, SearchCursor, SearchPage,
    UserFilter, UserKey, UserPage, UserRef,
};

/// Forward only. The previous version works with each: it ignores migrations that it does not know.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
});

pub const STATEMENT_GRACE: Duration = Duration::from_secs(5);

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub max_connections: u32,
    /// Connections that stay open: to open one takes longer than most statements, and a tick would wait for several.
    pub kept_connections: u32,
    pub acquire_timeout: Duration,
    /// When the server cancels a statement; the client gives up [`STATEMENT_GRACE`] later.
    pub statement_timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    options: StoreOptions,
    deadline: Duration,
    given_up: pool::GivenUp,
    access: Arc<login::LoginState>,
    installation_key: Arc<OnceCell<InstallationKey>>,
    /// Limits the connections in use at a time; none: only the pool does.
    places: Option<Arc<Semaphore>>,
}

impl Store {
    /// Does not connect yet: the database may be unavailable.
    pub fn new(url: &str, options: &StoreOptions) -> Result<Self> {
        let connect = Login::Url(url.into()).connect_options()?;
        Ok(Self::build(connect, options, login::LoginState::known()))
    }

    /// Brings the schema up to date, forward only. Several processes may do so at once. A newer schema is left as it is.
    pub async fn migrate(&self) -> Result<()> {
        self.access.check()?;
        // On a connection without a statement timeout: a statement over a large table takes its time. The lock timeout remains.
        let connect = self.pool.connect_options().as_ref().clone();
        let one = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.options.acquire_timeout)
            .after_connect(|connection, _| Box::pin(login::configure(connection, Duration::ZERO)))
            .connect_lazy_with(connect);
        let migrated = MIGRATIONS.run(&one).await.map_err(StoreError::from);
        one.close().await;
        self.watched(migrated).await
    }

    /// Checks that the schema has all migrations of this version. It may have more: in an upgrade, the previous version runs beside
    /// the next.
    pub async fn check_schema(&self) -> Result<()> {
        let sql = "SELECT to_regclass('_sqlx_migrations')::text";
        let table: Option<String> = self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await?;
        let mut found: Vec<i64> = Vec::new();
        if table.is_some() {
            let sql = "SELECT version FROM _sqlx_migrations WHERE success";
            found = self.run(sqlx::query_scalar(sql).fetch_all(&self.pool)).await?;
        }
        // Not by the newest alone: two that were developed concurrently may have been applied in either order.
        let lacking =
            MIGRATIONS.iter().map(|migration| migration.version).find(|version| !found.contains(version));
        match lacking {
            Some(lacking) => Err(StoreError::Schema { found: found.into_iter().max().unwrap_or(0), lacking }),
            None => Ok(()),
        }
    }

    /// Returns the database's clock (UTC), for comparison only.
    pub async fn clock(&self) -> Result<DateTime<Utc>> {
        self.run(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.pool)).await
    }

    pub async fn ping(&self, deadline: Duration) -> Result<()> {
        self.access.check()?;
        let ping = async {
            self.pool.acquire().await?.ping().await?;
            Ok(())
        };
        let answer = self.given_up.watch(deadline, ping).await;
        self.watched(answer.unwrap_or(Err(StoreError::Timeout(deadline)))).await
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

    /// Runs `work` until the deadline: the server's own timeout does not help when the server or the network hangs.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.access.check()?;
        let answer = match self.place().await {
            Ok(_place) => self.given_up.watch(self.deadline, work).await,
            Err(error) => Ok(Err(error)),
        };
        self.watched(answer.unwrap_or(Err(StoreError::Timeout(self.deadline)))).await
    }

    /// Deletes rows from before `before`, by a `statement` that takes that instant and a limit: in batches, up to the limit of one
    /// round.
    async fn forget(&self, before: DateTime<Utc>, statement: &'static str) -> Result<()> {
        const BATCH: u32 = 1000;
        const BATCHES: u32 = 50;
        for _ in 0..BATCHES {
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
        self.forget_deleted_users(now).await
    }

    /// Reports a refused login to [`Self::denied`], and finds the reason where the pool hides it.
    async fn watched<T>(&self, answer: Result<T>) -> Result<T> {
        let error = match answer {
            Ok(done) => return Ok(done),
            Err(StoreError::Migrate(MigrateError::Execute(error @ sqlx::Error::PoolTimedOut))) => {
                error.into()
            }
            Err(error) => error,
        };
        // Boxed: every statement would carry the memory for it, and almost none needs it.
        let error = Box::pin(self.explained(error)).await;
        self.access.look_at(&error);
        Err(error)
    }
}

/// Returns a column of `rows`, as an array parameter of a statement.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
