//! The environment of one run: everything except the daemons.

use std::path::PathBuf;
use std::time::Duration;

use bday::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use bday::store::{self, Store};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use tokio::sync::Mutex;

use super::journal::Journal;
use super::plan::Queue;
use super::receivers::Receivers;
use super::support::process::Bday;
use super::support::sqs::Sqs;

pub(crate) const QUEUE: &str = "bday_messages";
/// Production settings with shorter times: a lease lasts 15 s instead of 30 s. The number of attempts, the breaker and the lateness
/// rule have their defaults.
const SETTINGS: [(&str, &str); 11] = [
    ("QUEUE__CREATE", "true"),
    ("QUEUE__VISIBILITY_SECS", "15"),
    ("QUEUE__WAIT_SECS", "2"),
    ("WEBHOOK__CONNECT_TIMEOUT_SECS", "1"),
    ("RETRY__SCHEDULE_SECS", "1,1,2,2"),
    ("WORKER__MAX_IN_FLIGHT", "64"),
    ("WORKER__DRAIN_SECS", "6"),
    ("DATABASE__ACQUIRE_TIMEOUT_SECS", "4"),
    ("DATABASE__STATEMENT_TIMEOUT_SECS", "3"),
    ("DATABASE__MAX_CONNECTIONS", "8"),
    ("LOG__LEVEL", "info"),
];

/// The dependencies of the daemons, with handles for fault injection.
pub(crate) struct Place {
    pub(crate) server: Mutex<EmbeddedPostgres>,
    /// Connections of the suite itself.
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    pub(crate) sqs: Sqs,
    pub(crate) receivers: Receivers,
    pub(crate) journal: Journal,
    pub(crate) queue: Queue,
    /// File with the offset of the turned clock, in milliseconds.
    pub(crate) offset: PathBuf,
    /// Directory for the files of this run.
    pub(crate) directory: PathBuf,
    name: String,
    admin: String,
    url: String,
}

/// Starts a server for all runs of a series. Without fsync, a crash of the server still loses no committed transaction; only a crash
/// of the machine would.
pub(crate) async fn server() -> EmbeddedPostgres {
    let settings = [("synchronous_commit", "on"), ("shared_buffers", "32MB"), ("autovacuum", "off")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    EmbeddedPostgres::start(PostgresOptions { settings, ..PostgresOptions::throwaway() }).await.unwrap()
}

impl Place {
    pub(crate) async fn new(server: EmbeddedPostgres, queue: Queue, seed: u64) -> Self {
        let name = format!("run_{}_{seed}", queue.as_str());
        let (admin, url) = (server.url(), server.url_of(&name));
        statement(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        statement(&admin, &format!("CREATE DATABASE {name}")).await;
        let options = store::StoreOptions {
            max_connections: 2,
            acquire_timeout: Duration::from_secs(5),
            kept_connections: 0,
            statement_timeout: Duration::from_secs(5),
        };
        let store = Store::new(&url, &options).unwrap();
        store.migrate().await.unwrap();
        let (sqs, receivers) = tokio::join!(Sqs::start(), Receivers::start());
        let directory = std::env::temp_dir().join(format!("bday-faults-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let offset = directory.join("offset");
        std::fs::write(&offset, "0").unwrap();
        Self {
            server: Mutex::new(server),
            pool: PgPoolOptions::new()
                .max_connections(2)
                .acquire_timeout(Duration::from_secs(5))
                .connect_lazy(&url)
                .unwrap(),
            store,
            sqs,
            receivers,
            journal: Journal::start(),
            queue,
            offset,
            directory,
            name,
            admin,
            url,
        }
    }

    /// Returns the command `bday` with these arguments. `name` is in all its requests.
    pub(crate) fn bday(&self, arguments: &[&str], name: &str) -> Bday {
        self.configure(Bday::new(arguments), name)
    }

    /// Returns the command that runs this binary as the daemon with a turned clock.
    pub(crate) fn turned(&self, name: &str) -> Bday {
        let arguments = ["daemon-with-a-turned-clock".as_ref(), self.offset.as_os_str()];
        self.configure(Bday::program(&std::env::current_exe().unwrap(), arguments), name)
    }

    fn configure(&self, bday: Bday, name: &str) -> Bday {
        let settings = SETTINGS.map(|(key, value)| (key, value.to_owned()));
        let settings = settings.into_iter().chain(self.receivers.settings(name));
        let settings = settings.map(|(key, value)| (format!("BDAY__{key}"), value));
        bday.envs(self.sqs.env())
            .envs(settings)
            .env("BDAY__DATABASE__URL", &self.url)
            .env("BDAY__QUEUE__KIND", self.queue.as_str())
            .env("BDAY__QUEUE__SQS__URL", self.sqs.queue_url(QUEUE))
    }

    /// Returns the number of SQS messages that are visible, delayed or in flight.
    pub(crate) fn messages(&self) -> usize {
        let counts = self.sqs.counts(QUEUE);
        counts.visible + counts.in_flight + counts.delayed
    }

    /// Drops the database of this run, and returns the server.
    pub(crate) async fn shut_down(self) -> EmbeddedPostgres {
        self.store.close().await;
        self.pool.close().await;
        statement(&self.admin, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
        drop(std::fs::remove_dir_all(&self.directory));
        self.server.into_inner()
    }
}

async fn statement(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    connection.close().await.unwrap();
}
