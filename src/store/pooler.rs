//! Poolers between this process and PostgreSQL. PgBouncer works in session mode only.

use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::{Result, Store, StoreError};

/// Other clients of a busy pooler can take the server connections in an order that looks like sessions, but not each time.
const ROUNDS: usize = 3;

impl Store {
    /// Checks that a connection keeps its session, by what two connections are served by while one is in a transaction. A
    /// pooler in transaction mode would lose prepared statements, session settings and locks.
    ///
    /// # Errors
    /// [`StoreError::TransactionPooling`], or the database refuses or is unavailable.
    pub async fn check_sessions(&self) -> Result<()> {
        // Two new connections are much state, and most futures here are small.
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

/// The server process that answers, after `before`. By the simple protocol, which every pooler passes on.
async fn server_process(connection: &mut PgConnection, before: &'static str) -> Result<i32> {
    let statements = AssertSqlSafe(format!("{before} SELECT pg_backend_pid()"));
    let rows: Vec<PgRow> = sqlx::raw_sql(statements).fetch_all(connection).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(row.try_get(0)?)
}
