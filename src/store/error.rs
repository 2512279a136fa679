use std::borrow::Cow;
use std::time::Duration;

use sqlx::error::DatabaseError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database.url cannot be used")]
    BadUrl(#[source] sqlx::Error),
    #[error("the database's address or password is not known yet")]
    NoLogin,
    #[error("the database did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("no connection to the database at {place}")]
    Unreachable { place: String, source: std::io::Error },
    #[error("the database refused the statement or is unavailable")]
    Database(#[from] sqlx::Error),
    #[error(
        "a pooler in transaction mode answers at the database's address: it breaks prepared statements and session \
         settings; set its pool_mode to session, or connect to PostgreSQL itself"
    )]
    TransactionPooling,
    #[error("the schema could not be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error(
        "the database lacks migration {lacking} (its newest is {found}), which this binary needs: run `bday migrate`"
    )]
    Schema {
        /// The newest migration in the database; 0 for none.
        found: i64,
        lacking: i64,
    },
    /// Another transaction has written the users since they were read.
    #[error("the users were written concurrently by another transaction")]
    Overtaken,
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

    /// Whether the same call may succeed when it is retried at once: a deadlock, a lock timeout, or a concurrent write.
    #[must_use]
    pub fn is_contention(&self) -> bool {
        matches!(self, Self::Overtaken) || matches!(self.code().as_deref(), Some("40P01" | "40001" | "55P03"))
    }

    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.code().as_deref() == Some("55P03")
    }

    /// Whether the database refused the login: the password is wrong (28P01), or the role (28000; RDS reports an expired token so).
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.code().as_deref(), Some("28P01" | "28000"))
    }

    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.database()?.constraint()
    }

    /// Makes a taken external id a reason to retry: a new user was written whose external id was free at the lookup.
    pub(super) fn taken_is_overtaken(self) -> Self {
        match self.constraint() {
            Some("external_ids_are_unique") => Self::Overtaken,
            _ => self,
        }
    }
}

/// An error with its sources, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let (more, ends) = match error.downcast_ref::<sqlx::Error>() {
            // Its own text has the line of PostgreSQL's source behind it, and that of its source is the same again.
            Some(sqlx::Error::Database(refused)) => (refused.message().to_owned(), true),
            // The pool tries again for as long as it may wait, and keeps to itself why it failed.
            Some(sqlx::Error::PoolTimedOut) => (
                "no connection within database.acquire_timeout_secs: nothing answers at its address, or all connections \
                 are in use"
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
