//! A separate database for each test, on a server that all tests of a run share.
//!
//! Starting a server takes about 1 s of two cores; cloning a migrated template database takes about 30 ms. cargo-nextest
//! runs each test in a process, so the server cannot belong to one of them. The first test that requires the server
//! starts a keeper: this test binary with the test `keeps_the_server_of_a_run`. The keeper watches the process that runs
//! the tests (nextest, or with `cargo test` the test binary itself), and stops the server when that process ends. So no
//! test has to stop the server.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use bday::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use bday::model::EventState;
use bday::store::Store;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

/// The test that runs the keeper.
const KEEPER: &str = "support::database_tests::keeps_the_server_of_a_run";
/// Variable with the process id whose end stops the keeper, and the base path of its files.
const OWNER: &str = "BDAY_TEST_OWNER";
/// A database with the schema. It permits no connections, which would prevent cloning.
const TEMPLATE: &str = "bday_template";

/// A database. Dropping this value closes its connections and drops the database.
pub(crate) struct Database {
    name: String,
    url: String,
    server: String,
}

impl Database {
    /// Creates a database with the schema of this binary and no rows.
    pub(crate) async fn new() -> Self {
        Self::clone_of(TEMPLATE).await
    }

    /// Creates a database without a schema.
    pub(crate) async fn empty() -> Self {
        Self::clone_of("template1").await
    }

    async fn clone_of(template: &str) -> Self {
        let server = server_of_this_run();
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        run(&server, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { name, url, server }
    }

    /// Returns the URL with the password, for `BDAY__DATABASE__URL`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns connections for the test's own statements.
    pub(crate) async fn pool(&self) -> PgPool {
        PgPool::connect_with(PgConnectOptions::from_str(&self.url).unwrap()).await.unwrap()
    }

    /// Counts the events in `state`.
    pub(crate) async fn count(&self, state: EventState) -> i64 {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let count = sqlx::query_scalar("SELECT count(*) FROM events WHERE state = $1")
            .bind(state)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Returns a store like that of the daemon.
    pub(crate) fn store(&self) -> Store {
        store(&self.url)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // `drop` is not async, and the runtime of the test may have shut down.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&server, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        // A database that is not dropped ends with the server. A panic here would hide that of the test.
        drop(dropped.join());
    }
}

fn store(url: &str) -> Store {
    use std::time::Duration;
    let options = bday::store::StoreOptions {
        max_connections: 8,
        acquire_timeout: Duration::from_secs(10),
        kept_connections: 0,
        statement_timeout: Duration::from_secs(30),
    };
    Store::new(url, &options).unwrap()
}

/// Executes one statement on a new connection.
async fn run(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    connection.close().await.unwrap();
}

/// Returns the URL of the server, which is started if necessary.
fn server_of_this_run() -> String {
    let (run, owner) = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => (run, parent_id()),
        Err(_) => (std::process::id().to_string(), std::process::id()),
    };
    let base = std::env::temp_dir().join(format!("bday-test-{run}"));
    // The lock is held until this function returns: one test starts the server, all others wait.
    let file = File::options().create(true).append(true).read(true).open(base.with_extension("url")).unwrap();
    file.lock().unwrap();
    let path = base.with_extension("url");
    let url = std::fs::read_to_string(&path).unwrap();
    if !url.is_empty() {
        return url;
    }
    let url = start_keeper(&base, owner);
    std::fs::write(&path, &url).unwrap();
    url
}

#[expect(clippy::zombie_processes, reason = "the keeper outlives this test and exits at the end of the run")]
fn start_keeper(base: &Path, owner: u32) -> String {
    let mut keeper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", KEEPER, "--ignored", "--nocapture"])
        .env(OWNER, format!("{owner} {}", base.display()))
        .stdin(Stdio::null())
        // The test harness prints warnings about slow tests, and exits if stdout is closed.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // nextest kills the process groups of its tests.
        .process_group(0)
        .spawn()
        .unwrap();
    let mut said = String::new();
    for line in BufReader::new(keeper.stderr.take().unwrap()).lines().map_while(Result::ok) {
        if let Some(url) = line.strip_prefix("serving ") {
            return url.to_owned();
        }
        said.extend([&line, "\n"]);
    }
    panic!("the database server did not start: {said}");
}

/// Runs the keeper. Does nothing without [`OWNER`], as with `--include-ignored`.
pub(crate) async fn keep_the_server() {
    let Ok(order) = std::env::var(OWNER) else { return };
    let (owner, base) = order.split_once(' ').unwrap();
    let base = PathBuf::from(base);
    // Opened first, while the process id still belongs to the owner.
    let owner = pidfd_open(Pid::from_raw(owner.parse().unwrap()).unwrap(), PidfdFlags::empty()).unwrap();

    let settings = [("max_connections", "300"), ("shared_buffers", "64MB"), ("autovacuum", "off")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server =
        EmbeddedPostgres::start(PostgresOptions { settings, ..PostgresOptions::throwaway() }).await.unwrap();
    run(&server.url(), &format!("CREATE DATABASE {TEMPLATE}")).await;
    let template = store(&server.url_of(TEMPLATE));
    template.migrate().await.unwrap();
    template.close().await;
    run(&server.url(), &format!("ALTER DATABASE {TEMPLATE} IS_TEMPLATE true ALLOW_CONNECTIONS false")).await;
    eprintln!("serving {}", server.url());

    tokio::task::spawn_blocking(move || wait_for_exit(&owner)).await.unwrap();
    drop(std::fs::remove_file(base.with_extension("url")));
    server.stop().await.unwrap();
}

/// Blocks until the process has ended.
fn wait_for_exit(process: &OwnedFd) {
    while poll(&mut [PollFd::new(process, PollFlags::IN)], None).is_err() {}
}
