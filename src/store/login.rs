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

use super::{Result, Store, StoreError, StoreOptions};

const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// For the reason of an error that has already taken its time.
const REASON_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub enum Login {
    Url(SecretString),
    Parts {
        /// A host name, an IP address, or the directory of a socket.
        host: String,
        port: u16,
        name: String,
        /// The role; empty: `PGUSER`, or the system's user.
        user: String,
        password: Option<SecretString>,
        tls: PgSslMode,
        tls_root_cert: Option<PathBuf>,
    },
}

#[derive(Debug, Default)]
pub(super) struct LoginState {
    /// Before, nothing may connect: the driver's defaults could name another database.
    known: AtomicBool,
    denied: Notify,
}

impl LoginState {
    pub(super) fn known() -> Self {
        Self { known: AtomicBool::new(true), denied: Notify::new() }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.known.load(Ordering::Acquire) { Ok(()) } else { Err(StoreError::NoLogin) }
    }

    pub(super) fn check_denied(&self, error: &StoreError) {
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
        // PgBouncer refuses startup parameters that it does not track: `configure` sets them. The driver sets the time zone to UTC.
        Ok(connect.application_name("bday").extra_float_digits(None))
    }
}

/// A statement that waits for a lock fails before its client times out.
pub(super) const LOCK_TIMEOUT: &str = "5s";

/// Sets up the session of a new connection. A `statement_timeout` of zero means no limit. The idle timeout releases the rows of a
/// process that is frozen in a transaction.
pub(super) async fn configure(
    connection: &mut PgConnection,
    statement_timeout: Duration,
) -> sqlx::Result<()> {
    let settings = format!(
        "SET statement_timeout = {}; SET lock_timeout = '{LOCK_TIMEOUT}'; SET idle_in_transaction_session_timeout = '60s'",
        statement_timeout.as_millis()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(connection).await?;
    Ok(())
}

impl Store {
    /// Returns a store without a login. Until [`Self::set_login`], every call fails with [`StoreError::NoLogin`].
    #[must_use]
    pub fn without_login(options: &StoreOptions) -> Self {
        Self::build(PgConnectOptions::new_without_pgpass(), options, LoginState::default())
    }

    pub fn set_login(&self, login: &Login) -> Result<()> {
        self.pool.set_connect_options(login.connect_options()?);
        self.login.known.store(true, Ordering::Release);
        Ok(())
    }

    pub async fn denied(&self) {
        self.login.denied.notified().await;
    }

    pub async fn try_login(&self) -> Result<()> {
        self.try_login_within(LOGIN_TIMEOUT).await
    }

    async fn try_login_within(&self, deadline: Duration) -> Result<()> {
        self.login.check()?;
        let options: Arc<PgConnectOptions> = self.pool.connect_options();
        let login = async {
            let connection: PgConnection = options.connect().await.map_err(|error| match error {
                sqlx::Error::Io(source) => StoreError::Unreachable { address: address(&options), source },
                error => error.into(),
            })?;
            Ok(connection.close().await?)
        };
        tokio::time::timeout(deadline, login).await.unwrap_or(Err(StoreError::Timeout(deadline)))
    }

    /// Fails with [`StoreError::Unreachable`] or [`StoreError::Timeout`] if no server listens at the database's address; the pool
    /// would wait for it to start. A server that is starting, or that refuses the login, is reachable.
    pub async fn check_reachable(&self) -> Result<()> {
        match self.try_login().await {
            Err(error @ (StoreError::Unreachable { .. } | StoreError::Timeout(_))) => Err(error),
            _ => Ok(()),
        }
    }

    /// Replaces the timeout of the pool, which hides why connecting failed, by the reason. Where the pool is full, the timeout is
    /// the reason.
    pub(super) async fn with_reason(&self, error: StoreError) -> StoreError {
        let hidden = matches!(error, StoreError::Database(sqlx::Error::PoolTimedOut));
        if !hidden || self.pool.size() >= self.options.max_connections {
            return error;
        }
        match self.try_login_within(REASON_TIMEOUT).await {
            Ok(()) => error,
            Err(reason) => reason,
        }
    }

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

fn address(options: &PgConnectOptions) -> String {
    let (host, port) = (options.get_host(), options.get_port());
    match options.get_socket() {
        Some(directory) => format!("{} (port {port})", directory.display()),
        None if host.starts_with('/') => format!("{host} (port {port})"),
        None => format!("{host}:{port}"),
    }
}
