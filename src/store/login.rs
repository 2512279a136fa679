//! How to log in, and what to do when the database no longer takes it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Notify;

use super::{Options, Result, Store, StoreError};

/// A login on a connection of its own must not take longer.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// The same where somebody has waited for long, and only wants to know why it was in vain.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the database is, and who we are there.
#[derive(Debug, Clone)]
pub enum Login {
    /// All in one.
    Url(SecretString),
    /// Each for itself.
    Parts {
        /// A host name, an address, or the directory of a socket.
        host: String,
        /// TCP port.
        port: u16,
        /// The database.
        name: String,
        /// The role; empty: the standard `PGUSER`, or the system's user.
        user: String,
        /// Its password; none where the server asks for none.
        password: Option<SecretString>,
        /// What kind of TLS.
        tls: PgSslMode,
        /// The authorities that are trusted; none: the machine's.
        tls_root_cert: Option<PathBuf>,
    },
}

/// What all clones of a store know of its login.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// Before that, nothing may connect: the driver's own defaults could name somebody else's database.
    known: AtomicBool,
    denied: Notify,
}

impl Access {
    pub(super) fn known() -> Self {
        Self { known: AtomicBool::new(true), denied: Notify::new() }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.known.load(Ordering::Acquire) { Ok(()) } else { Err(StoreError::NoLogin) }
    }

    /// Wakes whoever can get a newer login, when this error asks for one.
    pub(super) fn look_at(&self, error: &StoreError) {
        if error.is_denied() {
            self.denied.notify_one();
        }
    }
}

impl Login {
    pub(super) fn connect_options(&self) -> Result<PgConnectOptions> {
        let connect = match self {
            Self::Url(url) => PgConnectOptions::from_str(url.expose_secret()).map_err(StoreError::BadUrl)?,
            Self::Parts { host, port, name, user, password, tls, tls_root_cert } => {
                let mut connect = PgConnectOptions::new_without_pgpass()
                    .host(host)
                    .port(*port)
                    .database(name)
                    .ssl_mode(*tls);
                if !user.is_empty() {
                    connect = connect.username(user);
                }
                if let Some(password) = password {
                    connect = connect.password(password.expose_secret());
                }
                if let Some(path) = tls_root_cert {
                    connect = connect.ssl_root_cert(path);
                }
                connect
            }
        };
        // PgBouncer refuses startup parameters that it does not track, such as this one: see `configure` for ours. The driver
        // itself sets the time zone to UTC.
        Ok(connect.application_name("bday").extra_float_digits(None))
    }
}

/// Sets up the session of a new connection. A `statement_timeout` of zero means no limit.
pub(super) async fn configure(
    connection: &mut PgConnection,
    statement_timeout: Duration,
) -> sqlx::Result<()> {
    let settings = format!(
        // A statement that waits for a lock fails before its client times out. A process that is frozen in the middle of a
        // transaction must not hold its rows forever.
        "SET statement_timeout = {}; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '60s'",
        statement_timeout.as_millis()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(connection).await?;
    Ok(())
}

impl Store {
    /// A store whose login is not known yet. Until [`Self::log_in_as`], every call fails with [`StoreError::NoLogin`].
    #[must_use]
    pub fn without_login(options: &Options) -> Self {
        Self::build(PgConnectOptions::new_without_pgpass(), options, Access::default())
    }

    /// From now on, new connections log in so. Those that are open stay.
    pub fn log_in_as(&self, login: &Login) -> Result<()> {
        self.pool.set_connect_options(login.connect_options()?);
        self.access.known.store(true, Ordering::Release);
        Ok(())
    }

    /// Waits until the database has refused the login of a new connection.
    pub async fn denied(&self) {
        self.access.denied.notified().await;
    }

    /// Logs in once, on a connection of its own.
    ///
    /// # Errors
    /// [`StoreError::is_denied`] where the login is wrong; else the database is unavailable.
    pub async fn try_login(&self) -> Result<()> {
        self.try_login_within(TRY_TIMEOUT).await
    }

    async fn try_login_within(&self, deadline: Duration) -> Result<()> {
        self.access.check()?;
        let options: Arc<PgConnectOptions> = self.pool.connect_options();
        let login = async {
            let connection: PgConnection = options.connect().await.map_err(|error| match error {
                sqlx::Error::Io(source) => StoreError::Unreachable { place: place(&options), source },
                error => error.into(),
            })?;
            Ok(connection.close().await?)
        };
        tokio::time::timeout(deadline, login).await.unwrap_or(Err(StoreError::Timeout(deadline)))
    }

    /// Whether anybody listens at the database's address. For those who would rather fail at once than wait as the pool
    /// does, for whom a refused connection is a database that is about to start. One that says so itself, or that refuses
    /// the login, is there.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], or [`StoreError::Timeout`].
    pub async fn reach(&self) -> Result<()> {
        match self.try_login().await {
            Err(error @ (StoreError::Unreachable { .. } | StoreError::Timeout(_))) => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts the reason in the place of an error that hides it: the pool tries again and again, and then says only that it
    /// did. Where it has no place for one more connection, the others are in use, and that is the reason.
    pub(super) async fn explained(&self, error: StoreError) -> StoreError {
        let hidden = matches!(error, StoreError::Database(sqlx::Error::PoolTimedOut));
        if !hidden || self.pool.size() >= self.options.max_connections {
            return error;
        }
        match self.try_login_within(LOOK_TIMEOUT).await {
            Ok(()) => error,
            Err(reason) => reason,
        }
    }

    /// Whether what goes to the database stays on this machine: it listens on loopback or at a socket in a directory.
    pub(super) fn is_local(&self) -> bool {
        let options = self.pool.connect_options();
        let host = options.get_host();
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        options.get_socket().is_some()
            || host.starts_with('/')
            || host.eq_ignore_ascii_case("localhost")
            || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
    }
}

/// Where the database is, for people.
fn place(options: &PgConnectOptions) -> String {
    let (host, port) = (options.get_host(), options.get_port());
    match options.get_socket() {
        Some(directory) => format!("{} (port {port})", directory.display()),
        None if host.starts_with('/') => format!("{host} (port {port})"),
        None => format!("{host}:{port}"),
    }
}

impl StoreError {
    /// Whether the database refused the login: the password is wrong (28P01), or the role (28000; so RDS says that a
    /// token has run out).
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        matches!(error.code().as_deref(), Some("28P01" | "28000"))
    }
}
