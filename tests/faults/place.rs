//! Everything but the daemons, for one run.

use std::path::PathBuf;
use std::time::Duration;

use bday::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use bday::store::{self, Store};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use tokio::sync::Mutex;

use super::journal::Journal;
use super::plan::Queue;
use super::support::process::Bday;
use super::support::receiver::Receiver;
use super::support::sqs::Sqs;

/// The queue's name in SQS.
pub(crate) const QUEUE: &str = "bday_messages";
/// Production's settings, made small where they are times: a lease of 15 s stands for 30 s. Attempts, breaker and the lateness rule
/// are the default.
const SETTINGS: [(&str, &str); 12] = [
    ("QUEUE__CREATE", "true"),
    ("QUEUE__VISIBILITY_SECS", "15"),
    ("QUEUE__WAIT_SECS", "2"),
    ("WEBHOOK__TIMEOUT_SECS", "2"),
    ("WEBHOOK__CONNECT_TIMEOUT_SECS", "1"),
    ("RETRY__SCHEDULE_SECS", "1,1,2,2"),
    ("WORKER__MAX_IN_FLIGHT", "64"),
    ("WORKER__DRAIN_SECS", "6"),
    ("DATABASE__ACQUIRE_TIMEOUT_SECS", "4"),
    ("DATABASE__STATEMENT_TIMEOUT_SECS", "3"),
    ("DATABASE__MAX_CONNECTIONS", "8"),
    ("LOG__LEVEL", "info"),
];

/// What a daemon needs, and the handles to break it.
pub(crate) struct Place {
    pub(crate) server: Mutex<EmbeddedPostgres>,
    /// The judge's own connections.
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    pub(crate) sqs: Sqs,
    pub(crate) receiver: Receiver,
    pub(crate) journal: Journal,
    pub(crate) queue: Queue,
    /// Where the turned clock's offset stands.
    pub(crate) offset: PathBuf,
    /// A directory for files of this run.
    pub(crate) directory: PathBuf,
    name: String,
    admin: String,
    url: String,
}

/// A server for all runs of a series. A crash of the server loses nothing that was committed; only a crash of the
/// machine could, and there is none here.
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
        let (sqs, receiver) = tokio::join!(Sqs::start(), Receiver::start());
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
            receiver,
            journal: Journal::start(),
            queue,
            offset,
            directory,
            name,
            admin,
            url,
        }
    }

    /// `bday` with these arguments, posting to `path` of the receiver.
    pub(crate) fn bday(&self, arguments: &[&str], path: &str) -> Bday {
        self.dress(Bday::new(arguments), path)
    }

    /// This binary as a daemon with a turned clock.
    pub(crate) fn turned(&self, path: &str) -> Bday {
        let arguments = ["daemon-with-a-turned-clock".as_ref(), self.offset.as_os_str()];
        self.dress(Bday::program(&std::env::current_exe().unwrap(), arguments), path)
    }

    fn dress(&self, bday: Bday, path: &str) -> Bday {
        let settings = SETTINGS.map(|(key, value)| (format!("BDAY__{key}"), value.to_owned()));
        bday.envs(self.sqs.env())
            .envs(settings)
            .env("BDAY__DATABASE__URL", &self.url)
            .env("BDAY__QUEUE__KIND", self.queue.as_str())
            .env("BDAY__QUEUE__SQS__URL", self.sqs.queue_url(QUEUE))
            .env("BDAY__WEBHOOK__URL", format!("{}{path}", self.receiver.url()))
    }

    /// How many messages wait or are in flight.
    pub(crate) fn messages(&self) -> usize {
        let counts = self.sqs.counts(QUEUE);
        counts.visible + counts.in_flight + counts.delayed
    }

    /// Gives the server back, without this run's database.
    pub(crate) async fn leave(self) -> EmbeddedPostgres {
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
