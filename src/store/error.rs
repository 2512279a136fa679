use std::borrow::Cow;
use std::time::Duration;

use sqlx::error::DatabaseError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("invalid database.url")]
    BadUrl(#[source] sqlx::Error),
    #[error("the database's address or password is not known yet")]
    NoLogin,
    #[error("the database did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("no connection to the database at {address}")]
    Unreachable { address: String, source: std::io::Error },
    #[error("the database is unavailable or refused the statement")]
    Database(#[from] sqlx::Error),
    #[error(
        "a pooler in transaction mode answers at the database's address, which breaks prepared statements and session \
         settings: set its pool_mode to session, or connect to PostgreSQL itself"
    )]
    TransactionPooling,
    #[error("the schema could not be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error(
        "the database lacks migration {missing}, which this binary needs (its newest is {newest}): run `bday migrate`"
    )]
    Schema { newest: i64, missing: i64 },
    #[error("the users were changed concurrently by another transaction")]
    ConcurrentWrite,
    #[error("{0}")]
    Unreadable(String),
}

impl StoreError {
    fn database(&self) -> Option<&dyn DatabaseError> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => Some(error.as_ref()),
            _ => None,
        }
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.database()?.code()
    }

    /// Whether a retry at once may succeed: a deadlock, a serialization failure, a lock timeout, or a concurrent write.
    #[must_use]
    pub fn is_contention(&self) -> bool {
        matches!(self, Self::ConcurrentWrite)
            || matches!(self.code().as_deref(), Some("40P01" | "40001" | "55P03"))
    }

    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.code().as_deref() == Some("55P03")
    }

    /// Whether the database refused the password (28P01) or the role (28000; RDS reports an expired token so).
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.code().as_deref(), Some("28P01" | "28000"))
    }

    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.database()?.constraint()
    }

    /// Makes a taken external id a reason to retry: it was free when the ids were looked up.
    pub(super) fn taken_as_concurrent_write(self) -> Self {
        match self.constraint() {
            Some("external_ids_are_unique") => Self::ConcurrentWrite,
            _ => self,
        }
    }
}

pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let (more, ends) = match error.downcast_ref::<sqlx::Error>() {
            // Its own text has the line of PostgreSQL's source code, and its source repeats the message.
            Some(sqlx::Error::Database(refused)) => (refused.message().to_owned(), true),
            // The pool retries until its timeout, and hides why it failed.
            Some(sqlx::Error::PoolTimedOut) => (
                "no connection within database.acquire_timeout_secs: the server does not answer, or all connections are in \
                 use"
                    .to_owned(),
                true,
            ),
            _ => (error.to_string(), false),
        };
        if text.is_empty() {
            text = more;
        } else if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source().filter(|_| !ends);
    }
    text
}
