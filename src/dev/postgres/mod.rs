//! A private PostgreSQL from the binaries that are installed here: for `bday demo`, the benchmark and the tests.
//!
//! Actors: this process, a small shell that guards the server, and the server with its backends.
//!
//! ```text
//! this process ──pipe──> guard (sh) ──fork──> postgres ──fork──> backends
//! ```
//!
//! Guaranteed:
//! - The server never outlives us. The guard holds the reading end of a pipe of which only we hold the other one: when
//!   we end, `kill -9` included, the kernel closes it, and the guard shuts the server down and removes a
//!   throw-away directory. It does so when we stop in good order, too: killed meanwhile, we leave nothing behind.
//!   (`PR_SET_PDEATHSIG` would not do: it fires when the *thread* that started the server ends,
//!   and it is cleared when root becomes another user.)
//! - Nobody else on the machine gets in: the server listens on a loopback port only, and asks for a random password.
//! - It works as root, where the server itself runs as the user `postgres` (PostgreSQL refuses to be root).
//! - A Ctrl-C at the terminal does not reach it: the guard leads a process group of its own.
//!
//! Not guaranteed: that a directory given by name survives two servers at once on *different* hosts (PostgreSQL's own
//! lock file only sees this one).
//!
//! Why not the crate `pgtemp` 0.7, which does nearly this: it needs `sudo` when it is root, lets its server outlive a
//! killed parent, always turns `fsync` and autovacuum off (a benchmark on it would flatter itself), panics where we
//! return an error that says what to install, and has no freeze or restart for the fault suite.

mod binaries;
mod guard;
mod host;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use self::binaries::{Binaries, ENV_BIN_DIR};
use self::guard::Guard;
use self::host::{ServerUser, prepare_directory, random_password, signal_tree, unused_port};

/// The superuser of an embedded server.
const SUPERUSER: &str = "bday";
/// Longest wait for a server to accept connections or to shut down; crash recovery is part of it.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often another port is tried when somebody took ours between the look and the use.
const PORT_TRIES: u32 = 5;

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Where the server lives. `None`: a new directory under the system's temporary one, removed at the end.
    /// A directory given here is kept, and so are its data and its password: starting again on it resumes.
    pub dir: Option<PathBuf>,
    /// Gives up durability for speed (no fsync, no synchronous commit): right for data that nobody will miss, wrong
    /// for a benchmark, which should pay for what production pays for.
    pub fast: bool,
    /// More settings, as in `postgresql.conf`; they win over ours.
    pub settings: Vec<(String, String)>,
    /// Where `initdb` and `postgres` are. `None`: see [`Binaries::find`].
    pub bin_dir: Option<PathBuf>,
}

impl PostgresOptions {
    /// For data that nobody will miss: a temporary directory, and speed over durability.
    #[must_use]
    pub fn throwaway() -> Self {
        Self { fast: true, ..Self::default() }
    }
}

/// Why an embedded server is not to be had. Its source, if any, is not repeated in the text.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// There is no server on this machine.
    #[error(
        "no PostgreSQL server found in /usr/lib/postgresql/*/bin or PATH: run `apt-get install postgresql`, \
         or name the folder of `postgres` and `initdb` in {ENV_BIN_DIR}"
    )]
    NotInstalled,
    /// The folder that was named has no server in it.
    #[error("`{}` does not hold both `postgres` and `initdb`: correct {ENV_BIN_DIR}", .0.display())]
    NoBinariesIn(PathBuf),
    /// The server is of a version that the statements do not run on.
    #[error(
        "`{}` is PostgreSQL {version}, and bday needs {} or newer: install one, or name its folder in {ENV_BIN_DIR}",
        postgres.display(),
        crate::store::MIN_SERVER_VERSION
    )]
    TooOld {
        /// Such as `14.9`.
        version: String,
        /// The server.
        postgres: PathBuf,
    },
    /// We are root, the server must not be, and there is nobody else to be.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd has no user `postgres`: run `apt-get install postgresql`"
    )]
    NoServerUser,
    /// A file or process of the server could not be handled.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// `initdb` failed.
    #[error("initdb could not make a database in `{}`: {output}", dir.display())]
    Init {
        /// Where it should have been.
        dir: PathBuf,
        /// What `initdb` said.
        output: String,
    },
    /// The server ended before it accepted connections.
    #[error("PostgreSQL in `{}` did not start; its log ends with: {log}", dir.display())]
    Start {
        /// The server's directory.
        dir: PathBuf,
        /// The last lines of its log.
        log: String,
    },
    /// The server took too long to start or to stop.
    #[error("PostgreSQL in `{}` did not {doing} within {} s; its log ends with: {log}", dir.display(), PATIENCE.as_secs())]
    Timeout {
        /// What it should have done.
        doing: &'static str,
        /// The server's directory.
        dir: PathBuf,
        /// The last lines of its log.
        log: String,
    },
}

impl EmbeddedError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// A running server. Dropping it shuts the server down, at once and without waiting for it.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    dir: PathBuf,
    binaries: Binaries,
    user: ServerUser,
    throwaway: bool,
    settings: Vec<(String, String)>,
    password: String,
    port: u16,
    /// `None` while the server is stopped.
    guard: Option<Guard>,
    frozen: AtomicBool,
}

impl EmbeddedPostgres {
    /// Makes the database if the directory has none, starts the server, and returns once it accepts connections.
    ///
    /// # Errors
    ///
    /// Where no binaries are found, the directory cannot be used, or the server does not come up; each says what to do.
    pub async fn start(options: PostgresOptions) -> Result<Self, EmbeddedError> {
        // It starts each server that it finds, to ask for its version.
        let look = move || match options.bin_dir {
            Some(dir) => Binaries::within(&dir),
            None => Binaries::find(),
        };
        let binaries = match tokio::task::spawn_blocking(look).await {
            Ok(found) => found?,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        };
        let user = ServerUser::pick()?;
        let throwaway = options.dir.is_none();
        let dir = prepare_directory(options.dir, user)?;
        let mut settings = base_settings(options.fast);
        settings.extend(options.settings);

        let mut server = Self {
            dir,
            binaries,
            user,
            throwaway,
            settings,
            password: String::new(),
            port: 0,
            guard: None,
            frozen: AtomicBool::new(false),
        };
        if let Err(error) = server.set_up(options.fast).await {
            server.remove_throwaway();
            return Err(error);
        }
        Ok(server)
    }

    async fn set_up(&mut self, fast: bool) -> Result<(), EmbeddedError> {
        let password_file = self.dir.join("password");
        if self.data_dir().join("PG_VERSION").exists() {
            self.password = std::fs::read_to_string(&password_file)
                .map_err(EmbeddedError::io("read the password of the database in", &password_file))?;
        } else {
            self.password = random_password()?;
            host::write_private(&password_file, &self.password, self.user)?;
            self.init_db(&password_file, fast).await?;
        }
        for attempt in 1.. {
            self.port = unused_port()?;
            match self.launch().await {
                Err(EmbeddedError::Start { log, .. })
                    if attempt < PORT_TRIES && log.contains("could not create any TCP/IP sockets") => {}
                result => return result,
            }
        }
        Ok(())
    }

    /// The URL of the database `postgres`, password included.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of another database of this server, whether or not it exists.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The loopback port; it stays the same over a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster, unless it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.guard.as_ref().map(Guard::server_pid)
    }

    /// Ends open connections, shuts down cleanly, and removes a throw-away directory.
    ///
    /// # Errors
    ///
    /// Where the server does not end in time.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        self.shut_down("INT", true).await?;
        // Where the server was stopped already, nobody else does it.
        self.remove_throwaway();
        Ok(())
    }

    /// Stops cleanly (every connection is cut) and starts again on the same port.
    ///
    /// # Errors
    ///
    /// Where the server does not end or come back in time.
    pub async fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.shut_down("INT", false).await?;
        self.launch().await
    }

    /// As a crash would: every process of the server ends at once, with no checkpoint. The directory stays, and
    /// [`Self::restart`] recovers from it.
    ///
    /// # Errors
    ///
    /// Where a process of the server survives.
    pub async fn kill_immediate(&mut self) -> Result<(), EmbeddedError> {
        self.shut_down("QUIT", false).await
    }

    /// Stops every process of the server where it stands (SIGSTOP): connections stay open, and nothing answers.
    ///
    /// # Errors
    ///
    /// Where the processes cannot be listed, which is everywhere but on Linux.
    pub fn freeze(&self) -> Result<(), EmbeddedError> {
        self.frozen.store(true, Ordering::Relaxed);
        self.pid().map_or(Ok(()), |pid| signal_tree(pid, rustix::process::Signal::STOP))
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// As [`Self::freeze`].
    pub fn thaw(&self) -> Result<(), EmbeddedError> {
        if let Some(pid) = self.pid() {
            signal_tree(pid, rustix::process::Signal::CONT)?;
        }
        self.frozen.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Under guard, too: it takes a second, in which we may be killed. A database that is half made never has the
    /// name of a whole one.
    async fn init_db(&self, password_file: &Path, fast: bool) -> Result<(), EmbeddedError> {
        let unfinished = self.dir.join("data.unfinished");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(EmbeddedError::io("remove", &unfinished))?;
        }
        let mut arguments: Vec<OsString> = vec![
            "--pgdata".into(),
            unfinished.clone().into(),
            "--pwfile".into(),
            password_file.into(),
            "--username".into(),
            SUPERUSER.into(),
            "--auth=scram-sha-256".into(),
            "--encoding=UTF8".into(),
            "--locale=C".into(),
            // So that a search in lower case knows more letters than ASCII has.
            "--lc-ctype=C.UTF-8".into(),
        ];
        if fast {
            arguments.push("--no-sync".into());
        }
        let initdb = &self.binaries.initdb;
        let guard = Guard::launch(self.user, initdb, &arguments, &self.dir, self.throwaway).await?;
        if !guard.finish().await.map_err(EmbeddedError::io("run", initdb))? {
            return Err(EmbeddedError::Init { dir: self.dir.clone(), output: self.log_tail() });
        }
        std::fs::rename(&unfinished, self.data_dir()).map_err(EmbeddedError::io("rename", &unfinished))
    }

    async fn launch(&mut self) -> Result<(), EmbeddedError> {
        let mut arguments: Vec<OsString> = vec!["-D".into(), self.data_dir().into()];
        let port = self.port.to_string();
        for (name, value) in
            self.settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([("port", port.as_str())])
        {
            arguments.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        let mut guard =
            Guard::launch(self.user, &self.binaries.postgres, &arguments, &self.dir, self.throwaway).await?;
        let ready = tokio::time::timeout(PATIENCE, guard.ready(&self.data_dir())).await;
        match ready {
            Ok(true) => {
                self.guard = Some(guard);
                Ok(())
            }
            Ok(false) => Err(EmbeddedError::Start { dir: self.dir.clone(), log: self.log_tail() }),
            Err(_elapsed) => {
                Err(EmbeddedError::Timeout { doing: "start", dir: self.dir.clone(), log: self.log_tail() })
            }
        }
    }

    async fn shut_down(&mut self, signal: &'static str, for_good: bool) -> Result<(), EmbeddedError> {
        // A frozen process heeds no signal but SIGKILL. One that is not needs no list of processes, which not every
        // system has.
        if self.frozen.load(Ordering::Relaxed) {
            self.thaw()?;
        }
        let Some(guard) = self.guard.take() else {
            return Ok(());
        };
        match tokio::time::timeout(PATIENCE, guard.end(signal, for_good)).await {
            Ok(ended) => ended.map_err(EmbeddedError::io("stop the server in", &self.dir)),
            Err(_elapsed) => {
                Err(EmbeddedError::Timeout { doing: "stop", dir: self.dir.clone(), log: self.log_tail() })
            }
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join(guard::LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }

    /// Nothing can be done about a directory that will not go, and the guard tries, too.
    fn remove_throwaway(&self) {
        if self.throwaway {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

/// Settings that hold for every embedded server.
fn base_settings(fast: bool) -> Vec<(String, String)> {
    let mut settings = vec![
        ("listen_addresses", "127.0.0.1"),
        // Socket files have a length limit that a deep temporary directory breaks; TCP does.
        ("unix_socket_directories", ""),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("max_connections", "200"),
    ];
    if fast {
        settings.extend([
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
        ]);
    }
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
