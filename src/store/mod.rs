//! All SQL. PostgreSQL is the truth: whatever the queue loses, repeats or reorders, these statements decide.
//!
//! `now` is always an argument, from [`crate::clock::Clock`], never the database's clock.

mod api_writes;
mod basis;
mod claim;
mod controls;
mod dead;
mod events;
mod forecast;
mod given_up;
mod inspect;
mod installation;
mod lease;
mod login;
mod outbox;
mod places;
mod plan;
mod pooler;
mod record;
mod redrive;
mod replan;
mod stats;
mod sweep;
mod tokens;
mod users;

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{Connection as _, PgPool, Postgres, SqlSafeStr, Transaction};
use tokio::sync::OnceCell;

pub use api_writes::{ApiWrite, ApiWriteFilter, Remote};
pub use basis::{Basis, Moved, Reading, Recomputed};
pub use claim::{ClaimCursor, ClaimRequest, Claimed};
pub use controls::{MAX_REASON_CHARS, Pause};
pub use dead::{DeadFilter, LetterEvent};
pub use events::{EventCursor, EventFilter, Order};
pub use inspect::{OLDEST_SERVER, Server};
pub use installation::InstallationKey;
pub use lease::{LeaseRequest, NotLeased};
pub use login::Login;
pub use outbox::{DeadLetterRow, Deferred, Pack};
pub use plan::{BUCKETS, PageRequest, PlanPage, PlanStep};
pub use record::{Delivery, Failure, NextStep, Recorded};
pub use redrive::{Cancelled, Candidate, Fate, RedrivePage};
pub use sqlx::postgres::PgSslMode as TlsMode;
pub use stats::{Backlog, MOST_COUNTED};
pub use sweep::Expired;
pub use tokens::{ApiToken, MAX_LIVE_TOKENS, NewToken, TokenCreated};
pub use users::{
    ApiRequest, Before, Current, Deleted, Edited, Facts, Idempotency, Repeated, Saved, SearchCursor,
    SearchPage, UserFilter, UserKey, UserPage, UserRef, Written,
};

/// Forward only, and each leaves the previous version able to work: an older binary finds migrations that it does not
/// know, which is no fault.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
});

/// Taken by the process that recomputes pending events.
const BASIS_LOCK: i64 = 0x6264_6179_0004;

/// How long after the database itself we give a statement up.
pub const STATEMENT_GRACE: Duration = Duration::from_secs(5);

/// Why a statement did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `database.url` is no URL of a PostgreSQL database.
    #[error("database.url cannot be used")]
    BadUrl(#[source] sqlx::Error),
    /// Where the database is, or the password, is not known yet.
    #[error("the database's address or password could not be had yet")]
    NoLogin,
    /// The database did not answer in time.
    #[error("the database did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Nobody answers where the database should be.
    #[error("no connection to the database at {place}")]
    Unreachable {
        /// Its address.
        place: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The database refused, or is unavailable.
    #[error("the database refused or is away")]
    Database(#[from] sqlx::Error),
    /// A pooler gives the transactions of one connection to different server connections.
    #[error(
        "a pooler in transaction mode answers at the database's address: it breaks prepared statements and session \
         settings; set its pool_mode to session, or connect to PostgreSQL itself"
    )]
    TransactionPooling,
    /// The schema could not be brought up to date.
    #[error("the schema could not be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The schema lacks something that this binary needs.
    #[error(
        "the database lacks migration {lacking} (its newest is {found}), which this binary needs: run `bday migrate`"
    )]
    Schema {
        /// The newest migration in the database; 0 for none.
        found: i64,
        /// The first migration of this binary that the database lacks.
        lacking: i64,
    },
    /// The same users were written concurrently: what was read of them is outdated.
    #[error("the users were written concurrently by another transaction")]
    Overtaken,
    /// A row holds what this binary cannot read.
    #[error("{0}")]
    Unreadable(String),
}

impl StoreError {
    /// Whether the same statement may succeed when it is tried again at once: a deadlock, a lock that was not had, or
    /// somebody who was faster.
    #[must_use]
    pub fn is_contention(&self) -> bool {
        if matches!(self, Self::Overtaken) {
            return true;
        }
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        matches!(error.code().as_deref(), Some("40P01" | "40001" | "55P03"))
    }

    /// Makes a taken external id a reason to look again: a new user was written whose external id was free at the lookup.
    fn taken_is_overtaken(self) -> Self {
        match self.constraint() {
            Some("external_ids_are_unique") => Self::Overtaken,
            _ => self,
        }
    }

    /// Whether a lock was waited for as long as one may be: whoever has it is not about to let it go.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().as_deref() == Some("55P03"),
            _ => false,
        }
    }

    /// The name of the constraint that a row would have broken.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.constraint(),
            _ => None,
        }
    }
}

/// What a store call gives.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections at the most.
    pub max_connections: u32,
    /// Connections that stay open: to open one takes longer than most statements, and a tick would wait for several.
    pub kept_connections: u32,
    /// How long to wait for one.
    pub acquire_timeout: Duration,
    /// When the server gives up a statement; the client gives up a little later.
    pub statement_timeout: Duration,
}

/// A connection that was idle for longer is asked whether it still works before it is used.
const ASK_AFTER: Duration = Duration::from_millis(500);

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    options: Options,
    deadline: Duration,
    given_up: given_up::GivenUp,
    access: Arc<login::Access>,
    installation_key: Arc<OnceCell<InstallationKey>>,
    /// None: whoever comes may have every connection.
    places: Option<places::Places>,
}

impl Store {
    /// Does not connect yet: the database may be away.
    pub fn new(url: &str, options: &Options) -> Result<Self> {
        let connect = Login::Url(url.into()).connect_options()?;
        Ok(Self::build(connect, options, login::Access::known()))
    }

    fn build(connect: PgConnectOptions, options: &Options, access: login::Access) -> Self {
        let statement_timeout = options.statement_timeout;
        let deadline = statement_timeout + STATEMENT_GRACE;
        let given_up = given_up::GivenUp::default();
        let lately = given_up.clone();
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .min_connections(options.kept_connections.min(options.max_connections))
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(Duration::from_mins(5))
            .after_connect(move |connection, _| Box::pin(login::configure(connection, statement_timeout)))
            // A question before every statement doubles the way of a short one. Who was just served is still there.
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > ASK_AFTER {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            // sqlx asks the same of each connection that comes back, and would wait for its answer for ever: where the other
            // side is gone without a word, until TCP gives up after a quarter of an hour, and the place is taken until then.
            .after_release(move |connection, _| {
                let in_doubt = lately.just_now();
                Box::pin(async move {
                    if !in_doubt {
                        return Ok(true);
                    }
                    match tokio::time::timeout(deadline, connection.ping()).await {
                        Ok(answer) => answer.map(|()| true),
                        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
                    }
                })
            })
            .connect_lazy_with(connect);
        Self {
            pool,
            options: options.clone(),
            deadline,
            given_up,
            access: Arc::new(access),
            installation_key: Arc::default(),
            places: None,
        }
    }

    /// Opens the connections that stay open. What fails is tried again when a statement needs a connection.
    pub async fn open_connections(&self) {
        // No more than there may be: they are held until all are open.
        let kept = self.options.kept_connections.min(self.options.max_connections);
        let connections = (0..kept).map(|_| self.pool.acquire());
        drop(futures_util::future::join_all(connections).await);
    }

    /// Brings the schema up to date, forward only. Several processes may do so at once. A schema that is newer than
    /// this binary is left as it is.
    pub async fn migrate(&self) -> Result<()> {
        self.access.check()?;
        // On a connection of its own: a statement over a large table takes its time. What waits for a lock still gives up.
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

    /// Checks that the schema has all that this binary needs. It may have more: the previous version runs beside the next
    /// in an upgrade.
    ///
    /// # Errors
    /// [`StoreError::Schema`], or the database is unavailable.
    pub async fn check_schema(&self) -> Result<()> {
        let found = self.in_time(async {
            let table: Option<String> = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text")
                .fetch_one(&self.pool)
                .await?;
            if table.is_none() {
                return Ok(Vec::new());
            }
            Ok(sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
                .fetch_all(&self.pool)
                .await?)
        });
        let found: Vec<i64> = found.await?;
        // Not by the newest alone: two that were written side by side may have landed in either order.
        let lacking =
            MIGRATIONS.iter().map(|migration| migration.version).find(|version| !found.contains(version));
        match lacking {
            Some(lacking) => Err(StoreError::Schema { found: found.into_iter().max().unwrap_or(0), lacking }),
            None => Ok(()),
        }
    }

    /// Begins a transaction, on a connection of its own.
    ///
    /// Where the caller gives up while `BEGIN` is on its way, sqlx 0.9.0 puts the connection back inside a transaction
    /// that nobody knows of: what the next statement there writes is never committed (transact-rs/sqlx#4393). So
    /// `BEGIN` runs to its end even if nobody waits for it any more, and a transaction that nobody takes is rolled back.
    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.begin_with("BEGIN").await
    }

    /// The same with another statement than `BEGIN`, but one that does nothing else: what fails behind a `BEGIN` leaves
    /// a connection in the pool on which nothing works any more.
    #[expect(
        clippy::disallowed_methods,
        reason = "it must outlive its caller, and ends as soon as the database answers or the connection breaks"
    )]
    async fn begin_with(
        &self,
        statement: impl SqlSafeStr + Send + 'static,
    ) -> sqlx::Result<Transaction<'static, Postgres>> {
        let pool = self.pool.clone();
        match tokio::spawn(async move { pool.begin_with(statement).await }).await {
            Ok(begun) => begun,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // The runtime is going down.
            Err(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    /// What time the database has, UTC. For comparing only.
    pub async fn clock(&self) -> Result<DateTime<Utc>> {
        self.run(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.pool)).await
    }

    /// Whether the database answers, within `deadline`.
    pub async fn ping(&self, deadline: Duration) -> Result<()> {
        self.access.check()?;
        let ping = async {
            self.pool.acquire().await?.ping().await?;
            Ok(())
        };
        let answer = self.within(deadline, ping).await;
        self.watched(answer.unwrap_or(Err(StoreError::Timeout(deadline)))).await
    }

    /// Closes the connections, after the statements that run.
    pub async fn close(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(5), self.pool.close()).await;
    }

    /// The server's own timeout does not help when the server is frozen or the network gone.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.access.check()?;
        let answer = match self.place().await {
            Ok(_place) => self.within(self.deadline, work).await,
            Err(error) => Ok(Err(error)),
        };
        self.watched(answer.unwrap_or(Err(StoreError::Timeout(self.deadline)))).await
    }

    /// Runs a `statement` of [`Self::pool`].
    async fn run<T>(&self, statement: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        self.in_time(async { Ok(statement.await?) }).await
    }

    /// Executes a `statement`; returns how many rows it wrote.
    async fn execute(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<u64> {
        Ok(self.run(statement.execute(&self.pool)).await?.rows_affected())
    }

    /// Runs `work` on the pool until `deadline`. All that has a deadline of ours goes through here: a connection that is left
    /// by what was given up is asked whether it still works.
    pub(crate) async fn within<F: Future>(
        &self,
        deadline: Duration,
        work: F,
    ) -> Result<F::Output, tokio::time::error::Elapsed> {
        self.given_up.watch(deadline, work).await
    }

    /// Deletes what is older than `before`, by a `statement` that takes that instant and how many rows it may delete: in batches,
    /// as many as one round may take.
    async fn forget(&self, before: DateTime<Utc>, statement: &'static str) -> Result<()> {
        const BATCH: u32 = 1000;
        const BATCHES: u32 = 50;
        for _ in 0..BATCHES {
            let deleted = self.in_time(async {
                let delete = sqlx::query(statement).bind(before).bind(i64::from(BATCH));
                Ok(delete.execute(&self.pool).await?.rows_affected())
            });
            if deleted.await? < u64::from(BATCH) {
                break;
            }
        }
        Ok(())
    }

    /// Deletes what has expired, of the audit log what is from before `audit_before`; and blurs the events of deleted users.
    ///
    /// # Errors
    /// The database refuses or is unavailable; the next call does the rest.
    pub async fn clean_up(&self, now: DateTime<Utc>, audit_before: DateTime<Utc>) -> Result<()> {
        self.blur_events(now).await?;
        self.forget_api_writes(audit_before).await?;
        self.forget_idempotency_keys(now).await?;
        self.forget_former_users(now).await
    }

    /// Lets whoever can get a newer login know when this one was refused, and finds the reason where the pool hides it.
    async fn watched<T>(&self, answer: Result<T>) -> Result<T> {
        let error = match answer {
            Ok(done) => return Ok(done),
            Err(StoreError::Migrate(MigrateError::Execute(error @ sqlx::Error::PoolTimedOut))) => {
                error.into()
            }
            Err(error) => error,
        };
        // Every statement would carry the room for it, and almost none needs it.
        let error = Box::pin(self.explained(error)).await;
        self.access.look_at(&error);
        Err(error)
    }
}
