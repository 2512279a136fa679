//! A database of one's own for each test, on a server that all tests of a run share.
//!
//! A server takes about a second of two cores to make, a database some 30 ms when it is cloned from a migrated
//! template. cargo-nextest runs a process per test, so the server cannot live in one of them: the first test that
//! needs it starts a keeper, which is this test binary again, running `keeps_the_server_of_a_run`. The keeper ends,
//! and the server with it, when the *run* ends: it watches the process that runs the tests (nextest, or under plain
//! `cargo test` the test binary itself) and so needs no teardown that could be missed.

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

/// The test that keeps the server.
const KEEPER: &str = "support::database_tests::keeps_the_server_of_a_run";
/// Which process the keeper is to outlive by nothing.
const OWNER: &str = "BDAY_TEST_OWNER";
/// Has the schema; nobody connects to it.
const TEMPLATE: &str = "bday_template";

/// A database that is dropped, connections and all, when this is.
pub(crate) struct Database {
    name: String,
    url: String,
    server: String,
}

impl Database {
    /// With the schema of this binary, and no rows.
    pub(crate) async fn new() -> Self {
        Self::clone_of(TEMPLATE).await
    }

    /// With nothing in it.
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

    /// For `BDAY__DATABASE__URL`, with its password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A few connections, for the test's own statements.
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

    /// As the daemon opens it.
    pub(crate) fn store(&self) -> Store {
        store(&self.url)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // Dropping is not async, and the test's runtime may be gone.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&server, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        // A database that stays goes with the server, and a panic here would hide the test's own.
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

/// One statement on a connection of its own.
async fn run(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    connection.close().await.unwrap();
}

/// The server's URL; starts it where it is not there yet.
fn server_of_this_run() -> String {
    let (run, owner) = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => (run, parent_id()),
        Err(_) => (std::process::id().to_string(), std::process::id()),
    };
    let base = std::env::temp_dir().join(format!("bday-test-{run}"));
    // Held until this function returns: one test starts the server, the others wait for it.
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

#[expect(clippy::zombie_processes, reason = "it outlives this test, and waits for the run's end instead")]
fn start_keeper(base: &Path, owner: u32) -> String {
    let mut keeper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", KEEPER, "--ignored", "--nocapture"])
        .env(OWNER, format!("{owner} {}", base.display()))
        .stdin(Stdio::null())
        // The test harness remarks on tests that take long, and ends when nobody hears it.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // nextest ends the process groups of its tests.
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
    panic!("no database server: {said}");
}

/// What the keeper does. Where nobody asks for it, as with `--include-ignored`, nothing.
pub(crate) async fn keep_the_server() {
    let Ok(order) = std::env::var(OWNER) else { return };
    let (owner, base) = order.split_once(' ').unwrap();
    let base = PathBuf::from(base);
    // First of all, so that the process id still is the owner's.
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
