//! A private PostgreSQL from the installed binaries, for `bday demo`, `bday simulate`, the benchmark and the tests.
//!
//! ```text
//! this process ──pipe──> watchdog (sh) ──fork──> postgres ──fork──> backends
//! ```
//!
//! Guaranteed:
//! - The server never outlives this process. The watchdog reads a pipe that only this process holds open: when the
//!   process ends, by `kill -9` too, the kernel closes it, and the watchdog shuts the server down and removes its
//!   directory. (`PR_SET_PDEATHSIG` fires when the *thread* that started the server ends.)
//! - No other user of the machine gets in: the server listens on a loopback port and requires a random password.
//! - If this process is root, the server runs as the user `postgres`.
//! - Ctrl-C at the terminal does not reach it: the watchdog leads its own process group.
//!
//! The crate `pgtemp` 0.7 needs `sudo` as root, lets its server outlive a killed parent, always disables `fsync` and
//! autovacuum, panics instead of returning errors, and cannot freeze or restart its server.

mod binaries;
mod host;
mod watchdog;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

pub use self::binaries::{Binaries, ENV_BIN_DIR};
use self::host::{ServerUser, create_directory, random_password, signal_tree, unused_port};
use self::watchdog::Watchdog;

const SUPERUSER: &str = "bday";
const DEFAULT_SETTINGS: [(&str, &str); 5] = [
    ("listen_addresses", "127.0.0.1"),
    // The path of a socket file has a length limit that a deep temporary directory exceeds.
    ("unix_socket_directories", ""),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("max_connections", "200"),
];
const FAST_SETTINGS: [(&str, &str); 5] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
];
/// For a server to accept connections, crash recovery included, or to shut down.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Another process may bind the port between the choice and the start.
const PORT_ATTEMPTS: u32 = 5;

#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Trades durability for speed (no fsync, no synchronous commit); not for benchmarks.
    pub fast: bool,
    /// Settings as in `postgresql.conf`, which override the defaults.
    pub settings: Vec<(String, String)>,
    /// `None`: see [`Binaries::find`].
    pub bin_dir: Option<PathBuf>,
}

impl PostgresOptions {
    #[must_use]
    pub fn throwaway() -> Self {
        Self { fast: true, ..Self::default() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(
        "no PostgreSQL server found in /usr/lib/postgresql/*/bin or PATH: run `apt-get install postgresql`, \
         or name the folder of `postgres` and `initdb` in {ENV_BIN_DIR}"
    )]
    NotInstalled,
    #[error("`{}` does not hold both `postgres` and `initdb`: correct {ENV_BIN_DIR}", .0.display())]
    NoBinariesIn(PathBuf),
    #[error(
        "`{}` is PostgreSQL {version}, and bday needs {} or newer: install one, or name its folder in {ENV_BIN_DIR}",
        postgres.display(),
        crate::store::MIN_SERVER_VERSION
    )]
    TooOld { version: String, postgres: PathBuf },
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd has no user `postgres`: run `apt-get install postgresql`"
    )]
    NoServerUser,
    #[error("the system's random number generator failed")]
    Random(#[source] getrandom::Error),
    #[error("cannot {action} `{}`", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("initdb failed in `{}`: {output}", dir.display())]
    Init { dir: PathBuf, output: String },
    #[error("PostgreSQL in `{}` did not start; its log ends with: {log}", dir.display())]
    Start { dir: PathBuf, log: String },
    #[error("PostgreSQL in `{}` did not {action} within {} s; its log ends with: {log}", dir.display(), TIMEOUT.as_secs())]
    Timeout { action: &'static str, dir: PathBuf, log: String },
}

impl EmbeddedError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A running server. Dropping it shuts the server down without waiting for it.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    dir: PathBuf,
    fast: bool,
    settings: Vec<(String, String)>,
    binaries: Binaries,
    user: ServerUser,
    password: String,
    port: u16,
    /// `None` while the server is stopped.
    watchdog: Option<Watchdog>,
    frozen: AtomicBool,
}

impl EmbeddedPostgres {
    /// Creates a database in a temporary directory, starts the server, and returns once it accepts connections.
    pub async fn start(options: PostgresOptions) -> Result<Self, EmbeddedError> {
        let binaries = options.bin_dir.as_deref().map_or_else(Binaries::find, Binaries::within)?;
        let user = ServerUser::choose()?;
        let mut server = Self {
            dir: create_directory(user)?,
            fast: options.fast,
            settings: options.settings,
            binaries,
            user,
            password: random_password()?,
            port: 0,
            watchdog: None,
            frozen: AtomicBool::new(false),
        };
        if let Err(error) = server.set_up().await {
            server.remove_directory();
            return Err(error);
        }
        Ok(server)
    }

    async fn set_up(&mut self) -> Result<(), EmbeddedError> {
        self.init_db().await?;
        for attempt in 1.. {
            self.port = unused_port()?;
            match self.launch().await {
                Err(EmbeddedError::Start { log, .. })
                    if attempt < PORT_ATTEMPTS && log.contains("could not create any TCP/IP sockets") => {}
                result => return result,
            }
        }
        Ok(())
    }

    /// With the password, for the database `postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of the postmaster; `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.watchdog.as_ref().map(Watchdog::server_pid)
    }

    /// Closes open connections, shuts down cleanly, and removes the directory.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        self.shut_down("INT", true).await?;
        // Needed if the server was stopped before: no watchdog is left then.
        self.remove_directory();
        Ok(())
    }

    /// Shuts down cleanly, which closes every connection, and starts again on the same port.
    pub async fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.shut_down("INT", false).await?;
        self.launch().await
    }

    /// Ends every process of the server without a checkpoint, as a crash does. [`Self::restart`] recovers.
    pub async fn kill_immediate(&mut self) -> Result<(), EmbeddedError> {
        self.shut_down("QUIT", false).await
    }

    /// Suspends every process of the server (SIGSTOP): connections stay open without an answer. Linux only.
    pub fn freeze(&self) -> Result<(), EmbeddedError> {
        self.frozen.store(true, Ordering::Relaxed);
        self.pid().map_or(Ok(()), |pid| signal_tree(pid, Signal::STOP))
    }

    pub fn thaw(&self) -> Result<(), EmbeddedError> {
        if let Some(pid) = self.pid() {
            signal_tree(pid, Signal::CONT)?;
        }
        self.frozen.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Runs `initdb` under a watchdog: it takes a second, in which this process may be killed.
    async fn init_db(&self) -> Result<(), EmbeddedError> {
        let password_file = self.dir.join("password");
        host::write_private(&password_file, &self.password, self.user)?;
        let mut arguments: Vec<OsString> = vec![
            "--pgdata".into(),
            self.data_dir().into(),
            "--pwfile".into(),
            password_file.into(),
            "--username".into(),
            SUPERUSER.into(),
            "--auth=scram-sha-256".into(),
            "--encoding=UTF8".into(),
            "--locale=C".into(),
            // Case-insensitive searches then cover letters outside ASCII.
            "--lc-ctype=C.UTF-8".into(),
        ];
        if self.fast {
            arguments.push("--no-sync".into());
        }
        let initdb = &self.binaries.initdb;
        let watchdog = Watchdog::launch(self.user, initdb, &arguments, &self.dir).await?;
        if !watchdog.finish().await.map_err(EmbeddedError::io("run", initdb))? {
            return Err(EmbeddedError::Init { dir: self.dir.clone(), output: self.log_tail() });
        }
        Ok(())
    }

    async fn launch(&mut self) -> Result<(), EmbeddedError> {
        let mut arguments: Vec<OsString> = vec!["-D".into(), self.data_dir().into()];
        let fast = if self.fast { FAST_SETTINGS.as_slice() } else { &[] };
        let defaults = DEFAULT_SETTINGS.iter().chain(fast).copied();
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in defaults.chain(settings) {
            arguments.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        arguments.extend(["-p".into(), self.port.to_string().into()]);
        let postgres = &self.binaries.postgres;
        let mut watchdog = Watchdog::launch(self.user, postgres, &arguments, &self.dir).await?;
        match tokio::time::timeout(TIMEOUT, watchdog.ready(&self.data_dir())).await {
            Ok(true) => {
                self.watchdog = Some(watchdog);
                Ok(())
            }
            Ok(false) => Err(EmbeddedError::Start { dir: self.dir.clone(), log: self.log_tail() }),
            Err(_elapsed) => Err(self.timed_out("start")),
        }
    }

    async fn shut_down(&mut self, signal: &'static str, for_good: bool) -> Result<(), EmbeddedError> {
        // A frozen process handles no signal but SIGKILL. Other servers need no list of processes, which only Linux has.
        if self.frozen.load(Ordering::Relaxed) {
            self.thaw()?;
        }
        let Some(watchdog) = self.watchdog.take() else {
            return Ok(());
        };
        match tokio::time::timeout(TIMEOUT, watchdog.end(signal, for_good)).await {
            Ok(ended) => ended.map_err(EmbeddedError::io("stop the server in", &self.dir)),
            Err(_elapsed) => Err(self.timed_out("stop")),
        }
    }

    fn timed_out(&self, action: &'static str) -> EmbeddedError {
        EmbeddedError::Timeout { action, dir: self.dir.clone(), log: self.log_tail() }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join(watchdog::LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }

    fn remove_directory(&self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
