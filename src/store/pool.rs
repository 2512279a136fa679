//! The connection pool, its limits, and the check for a pooler in front of PostgreSQL.

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

use super::attempts::DELIVERED;
use super::events::claim::CLAIM;
use super::leases::{LEASE, LEASE_FOR_WEBHOOK};
use super::login::{self, LoginState};
use super::outbox::DELETE_PACKS;
use super::{Result, STATEMENT_GRACE, Store, StoreError, StoreOptions};
use crate::clock::{Clock as _, SystemClock};

const PING_AFTER: Duration = Duration::from_millis(500);

/// A dropped connection returns to the pool as soon as its task runs. All connections that return within this time are pinged, so it
/// is short: clients of the API disconnect now and then.
const RETURNS_WITHIN: Duration = Duration::from_secs(2);

/// With one permit, a statement that hangs would block all others.
const MIN_PERMITS: u32 = 2;

/// Other clients of a busy pooler can make one round of [`Store::check_sessions`] look like sessions.
const SESSION_ROUNDS: usize = 3;

/// Prepares the statements of the stages: the first use of a statement on a connection takes as long as dozens of later ones.
async fn prepare_statements(connection: &mut PgConnection) {
    for statement in [CLAIM, LEASE, LEASE_FOR_WEBHOOK, DELIVERED, DELETE_PACKS] {
        // An older schema lacks a table: the first use prepares the statement then.
        if connection.prepare(statement.into_sql_str()).await.is_err() {
            return;
        }
    }
}

impl Store {
    pub(super) fn build(connect: PgConnectOptions, options: &StoreOptions, login: LoginState) -> Self {
        let deadline = options.statement_timeout + STATEMENT_GRACE;
        let dropped_work = DroppedWork::default();
        let kept = options.kept_connections.min(options.max_connections);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .min_connections(kept)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(Duration::from_mins(5));
        let pool = with_setup(pool, options.statement_timeout, kept > 0);
        let pool = with_pings(pool, dropped_work.clone(), deadline);
        Self {
            pool: pool.connect_lazy_with(connect),
            options: options.clone(),
            deadline,
            dropped_work,
            login: Arc::new(login),
            installation_key: Arc::default(),
            permits: None,
        }
    }

    /// Opens the connections that stay open. A failed one is opened again when a statement needs it.
    pub async fn open_connections(&self) {
        // Not over the limit: they are held until all are open.
        let kept = self.options.kept_connections.min(self.options.max_connections);
        let connections = (0..kept).map(|_| self.pool.acquire());
        drop(futures_util::future::join_all(connections).await);
    }

    /// Begins a transaction. If the caller is dropped during `BEGIN`, sqlx 0.9.0 returns the connection inside a transaction, and the
    /// next statement there is never committed (transact-rs/sqlx#4393). So `BEGIN` runs to its end in a task of its own, and a
    /// transaction without a receiver is rolled back.
    pub(super) async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.begin_with("BEGIN").await
    }

    /// Begins a transaction with another statement than `BEGIN`. The statement must do nothing else: a failure after it leaves a
    /// broken connection in the pool.
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

    /// Returns a store for the API that leaves `reserved` connections to the stages: otherwise fifty requests that wait for one lock
    /// would hold every connection. A permit is held for one statement or transaction, not for a request, so that no holder of a
    /// permit waits for another.
    #[must_use]
    pub fn reserving(&self, reserved: u32) -> Self {
        let permits = self.options.max_connections.saturating_sub(reserved).max(MIN_PERMITS);
        Self { permits: Some(Arc::new(Semaphore::new(permits as usize))), ..self.clone() }
    }

    pub(super) async fn acquire_permit(&self) -> Result<Option<SemaphorePermit<'_>>> {
        let Some(permits) = &self.permits else {
            return Ok(None);
        };
        if let Ok(permit) = permits.try_acquire() {
            return Ok(Some(permit));
        }
        // Boxed: rare, and every statement would carry the memory for it.
        let waited = Box::pin(tokio::time::timeout(self.options.acquire_timeout, permits.acquire()));
        match waited.await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }

    /// Checks that a connection keeps its session, by the server processes that serve two connections while one is in a transaction.
    /// A pooler in transaction mode would lose prepared statements, session settings and locks.
    pub async fn check_sessions(&self) -> Result<()> {
        // Boxed: two connections are much state, and most futures here are small.
        Box::pin(self.in_time(self.probe_sessions())).await
    }

    async fn probe_sessions(&self) -> Result<()> {
        let mut one = self.pool.acquire().await?;
        let mut other = self.pool.acquire().await?;
        // An error must not return a connection inside a transaction to the pool.
        one.close_on_drop();
        other.close_on_drop();
        for _ in 0..SESSION_ROUNDS {
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

fn with_setup(pool: PgPoolOptions, statement_timeout: Duration, prepare: bool) -> PgPoolOptions {
    pool.after_connect(move |connection, _| {
        Box::pin(async move {
            login::configure(connection, statement_timeout).await?;
            if prepare {
                prepare_statements(connection).await;
            }
            Ok(())
        })
    })
}

/// A ping before every statement would double the time of a short one, so a connection is pinged only after an idle time. sqlx pings
/// each returned connection without a deadline: if the server has vanished, that lasts until TCP times out after a quarter of an hour,
/// and the connection counts as used until then.
fn with_pings(pool: PgPoolOptions, dropped_work: DroppedWork, deadline: Duration) -> PgPoolOptions {
    pool.test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > PING_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(move |connection, _| {
            let in_doubt = dropped_work.is_recent();
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
}

/// Returns the server process that answers after the statement `before`. Uses the simple protocol, which every pooler forwards.
async fn server_process(connection: &mut PgConnection, before: &'static str) -> Result<i32> {
    let statements = AssertSqlSafe(format!("{before} SELECT pg_backend_pid()"));
    let rows: Vec<PgRow> = sqlx::raw_sql(statements).fetch_all(connection).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(row.try_get(0)?)
}

/// The last time at which work on the pool was dropped unfinished. That leaves a connection whose response is outstanding, and never
/// arrives if the server has vanished.
#[derive(Debug, Clone, Default)]
pub(super) struct DroppedWork(Arc<Mutex<Option<Instant>>>);

impl DroppedWork {
    /// Runs `work` until `deadline`, and notes the time when it is dropped unfinished, by the deadline or with its caller. All work on
    /// the pool runs here.
    pub(super) async fn watch<F: Future>(&self, deadline: Duration, work: F) -> Result<F::Output, Elapsed> {
        let mut work = pin!(work);
        // Dropped before the work, and so before its connection returns.
        let unfinished = Unfinished(self);
        let answer = tokio::time::timeout(deadline, work.as_mut()).await?;
        std::mem::forget(unfinished);
        Ok(answer)
    }

    fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| SystemClock.monotonic().duration_since(last) < RETURNS_WITHIN)
    }
}

struct Unfinished<'a>(&'a DroppedWork);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemClock.monotonic());
    }
}
