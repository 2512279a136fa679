//! The pool: its connections, its limits, and the poolers in front of PostgreSQL.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Postgres, Row as _, SqlSafeStr, Transaction,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;

use super::claim::CLAIM;
use super::lease::LEASE;
use super::outbox::DELETE_PACKS;
use super::record::DELIVERED;
use super::{Result, STATEMENT_GRACE, Store, StoreError, StoreOptions, login};
use crate::clock::{Clock as _, SystemClock};

/// A connection that was idle for longer is pinged before it is used.
const PING_AFTER: Duration = Duration::from_millis(500);

/// A dropped connection returns to the pool as soon as its task runs. Not much longer, since all connections that return meanwhile
/// are pinged, and clients of the API disconnect now and then.
const RETURNS_WITHIN: Duration = Duration::from_secs(2);

/// Fewer than this would let one statement that hangs stop all others.
const LEAST_PLACES: u32 = 2;

/// Rounds of [`Store::check_sessions`]. Other clients of a busy pooler can take the server connections in an order that looks like
/// sessions, but not each time.
const ROUNDS: usize = 3;

/// Prepares the statements of the stages. The first use of a statement on a connection, for which the server reads its catalog, takes
/// as long as dozens of later ones.
async fn prepare(connection: &mut PgConnection) {
    for statement in [CLAIM, LEASE, DELIVERED, DELETE_PACKS] {
        // An older schema lacks a table: the first use prepares the statement.
        if connection.prepare(statement.into_sql_str()).await.is_err() {
            return;
        }
    }
}

impl Store {
    pub(super) fn build(
        connect: PgConnectOptions,
        options: &StoreOptions,
        access: login::LoginState,
    ) -> Self {
        let statement_timeout = options.statement_timeout;
        let deadline = statement_timeout + STATEMENT_GRACE;
        let given_up = GivenUp::default();
        let lately = given_up.clone();
        let kept = options.kept_connections.min(options.max_connections);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .min_connections(kept)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(Duration::from_mins(5))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    login::configure(connection, statement_timeout).await?;
                    if kept > 0 {
                        prepare(connection).await;
                    }
                    Ok(())
                })
            })
            // A ping before every statement would double the time of a short one: only after an idle time.
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > PING_AFTER {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            // sqlx pings each returned connection without a deadline: where the server has vanished, until TCP gives up after a
            // quarter of an hour, and the connection counts as used until then.
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

    /// Opens the connections that stay open. A failed one is opened again when a statement needs it.
    pub async fn open_connections(&self) {
        // Not over the limit: they are held until all are open.
        let kept = self.options.kept_connections.min(self.options.max_connections);
        let connections = (0..kept).map(|_| self.pool.acquire());
        drop(futures_util::future::join_all(connections).await);
    }

    /// Begins a transaction. Where the caller is dropped during `BEGIN`, sqlx 0.9.0 puts the connection back inside a transaction:
    /// the next statement there is never committed (transact-rs/sqlx#4393). So `BEGIN` runs to its end in a task of its own, and a transaction without
    /// a receiver is rolled back.
    pub(super) async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.begin_with("BEGIN").await
    }

    /// The same with another statement than `BEGIN`. It must do nothing else: a failure behind a `BEGIN` leaves a broken connection
    /// in the pool.
    #[expect(
        clippy::disallowed_methods,
        reason = "it must outlive its caller, and ends as soon as the database answers or the connection breaks"
    )]
    pub(super) async fn begin_with(
        &self,
        statement: impl SqlSafeStr + Send + 'static,
    ) -> sqlx::Result<Transaction<'static, Postgres>> {
        let pool = self.pool.clone();
        match tokio::spawn(async move { pool.begin_with(statement).await }).await {
            Ok(begun) => begun,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    /// The same database for the API, with `reserved` connections left to the stages: fifty requests that wait for one lock would
    /// have every connection, and no tick would begin. A place is taken for one statement or transaction, not for a request, so
    /// that no caller that has one waits for another.
    #[must_use]
    pub fn reserving(&self, reserved: u32) -> Self {
        let most = self.options.max_connections.saturating_sub(reserved).max(LEAST_PLACES);
        Self { places: Some(Arc::new(Semaphore::new(most as usize))), ..self.clone() }
    }

    pub(super) async fn place(&self) -> Result<Option<SemaphorePermit<'_>>> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        if let Ok(place) = places.try_acquire() {
            return Ok(Some(place));
        }
        // Boxed: rare, and every statement would carry the memory for it.
        let waited = Box::pin(tokio::time::timeout(self.options.acquire_timeout, places.acquire()));
        match waited.await {
            Ok(Ok(place)) => Ok(Some(place)),
            _ => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }

    /// Checks that a connection keeps its session: which server processes serve two connections while one is in a transaction. A
    /// pooler in transaction mode would lose prepared statements, session settings and locks.
    pub async fn check_sessions(&self) -> Result<()> {
        // Boxed: two new connections are much state, and most futures here are small.
        Box::pin(self.in_time(self.probe_sessions())).await
    }

    async fn probe_sessions(&self) -> Result<()> {
        let mut one = self.pool.acquire().await?;
        let mut other = self.pool.acquire().await?;
        // An error must not return one in the middle of a transaction to the pool.
        one.close_on_drop();
        other.close_on_drop();
        for _ in 0..ROUNDS {
            let first = server_process(&mut one, "").await?;
            let concurrent = server_process(&mut other, "BEGIN;").await?;
            // With one server connection this would wait for the transaction.
            let is_session = first != concurrent && first == server_process(&mut one, "").await?;
            sqlx::raw_sql("ROLLBACK").execute(&mut *other).await?;
            if !is_session {
                return Err(StoreError::TransactionPooling);
            }
        }
        Ok(())
    }
}

/// Returns the server process that answers, after `before`. By the simple protocol, which every pooler forwards.
async fn server_process(connection: &mut PgConnection, before: &'static str) -> Result<i32> {
    let statements = AssertSqlSafe(format!("{before} SELECT pg_backend_pid()"));
    let rows: Vec<PgRow> = sqlx::raw_sql(statements).fetch_all(connection).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(row.try_get(0)?)
}

/// When work on the pool was dropped unfinished the last time. A finished statement leaves a working connection; a dropped one leaves
/// a connection whose response is still to come, and never comes where the server has vanished.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenUp(Arc<Mutex<Option<Instant>>>);

impl GivenUp {
    /// Runs `work`, and notes when it is dropped: by its `deadline`, or with its caller. All work with a deadline goes through here.
    pub(super) async fn watch<F: Future>(&self, deadline: Duration, work: F) -> Result<F::Output, Elapsed> {
        let mut work = pin!(work);
        // Dropped before the work, and so before its connection returns.
        let unfinished = Unfinished(self);
        let answer = tokio::time::timeout(deadline, work.as_mut()).await?;
        std::mem::forget(unfinished);
        Ok(answer)
    }

    /// Whether that was so recently that a connection which returns now may have been left by it.
    fn just_now(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| SystemClock.monotonic().duration_since(last) < RETURNS_WITHIN)
    }
}

struct Unfinished<'a>(&'a GivenUp);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemClock.monotonic());
    }
}
