//! The environment of one run: all processes except the daemon.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::SystemClock;
use bday::config::QueueKind;
use bday::dev::postgres::{self, EmbeddedPostgres};
use bday::pipeline::queue::Queue as _;
use bday::pipeline::queue::postgres::PostgresQueue;
use bday::store::{self, Store};
use serde::Serialize;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

use super::channels;
use super::endpoint::Figures;
use super::load::Load;
use super::options::Options;
use super::part::Part;
use super::procfs;
use super::receiver::Urls;

/// CPU seconds, user and system, by process.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) daemon: f64,
    pub(crate) postgres: f64,
    pub(crate) sqs: f64,
    pub(crate) receiver: f64,
}

impl std::ops::Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            daemon: self.daemon - before.daemon,
            postgres: self.postgres - before.postgres,
            sqs: self.sqs - before.sqs,
            receiver: self.receiver - before.receiver,
        }
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) pool: PgPool,
    pub(crate) receiver: Part,
    server: EmbeddedPostgres,
    queue: Waiting,
    environment: Vec<(String, String)>,
}

/// Access to the depth of the queue.
#[derive(Debug)]
enum Waiting {
    Sqs(Box<Part>),
    Postgres(PostgresQueue),
}

/// Starts PostgreSQL, as durable as in production, with `settings`. The options take precedence.
pub(crate) async fn postgres(
    options: &Options,
    settings: &[(&str, &str)],
) -> anyhow::Result<EmbeddedPostgres> {
    let mut settings: Vec<(String, String)> =
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    settings.extend(options.postgres()?);
    if options.statements {
        settings.push(("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned()));
    }
    Ok(EmbeddedPostgres::start(postgres::PostgresOptions {
        fast: options.no_fsync,
        settings,
        ..postgres::PostgresOptions::default()
    })
    .await?)
}

/// Returns a store for stages that run in this process.
pub(crate) fn store(url: &str) -> anyhow::Result<Store> {
    let options = store::StoreOptions {
        max_connections: 2,
        acquire_timeout: Duration::from_secs(10),
        kept_connections: 0,
        // Writing a million users takes minutes.
        statement_timeout: Duration::from_mins(10),
    };
    Ok(Store::new(url, &options)?)
}

/// Returns connections for the benchmark's own statements.
pub(crate) fn pool(url: &str) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(2).connect_lazy(url)?)
}

/// Creates an empty database, and returns its URL.
pub(crate) async fn create_database(server: &EmbeddedPostgres, name: &str) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect(&server.url()).await?;
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    connection.close().await?;
    Ok(server.url_of(name))
}

impl World {
    pub(crate) async fn start(load: &Load, options: &Options) -> anyhow::Result<Self> {
        let server = postgres(options, &[]).await?;
        let (store, pool) = (store(&server.url())?, pool(&server.url())?);
        let (receiver, urls) = Part::start(&["receiver", &load.latency.as_millis().to_string()]).await?;
        let urls: Urls = serde_json::from_str(&urls)?;
        let mut environment = vec![
            ("BDAY__DATABASE__URL".to_owned(), server.url()),
            ("BDAY__WEBHOOK__URL".to_owned(), urls.webhook.clone()),
            ("BDAY__QUEUE__KIND".to_owned(), load.queue.as_str().to_owned()),
            ("BDAY__QUEUE__CREATE".to_owned(), "true".to_owned()),
        ];
        let queue = match load.queue {
            QueueKind::Sqs => {
                let (endpoint, variables) = Part::start(&["endpoint"]).await?;
                environment.extend(serde_json::from_str::<Vec<(String, String)>>(&variables)?);
                Waiting::Sqs(Box::new(endpoint))
            }
            QueueKind::Postgres => {
                let visibility = Duration::from_secs(30);
                Waiting::Postgres(PostgresQueue::new(store.clone(), Arc::new(SystemClock), visibility))
            }
        };
        if let Some(in_flight) = load.in_flight {
            environment.push(("BDAY__WORKER__MAX_IN_FLIGHT".to_owned(), in_flight.to_string()));
        }
        if !load.channels.is_empty() {
            environment.extend(channels::environment(&urls));
        }
        if options.pollers > 0 {
            environment.push(("BDAY__HTTP__AUTH".to_owned(), "off".to_owned()));
        }
        environment.extend(options.config()?);
        Ok(Self { store, pool, receiver, server, queue, environment })
    }

    /// Returns the environment variables of a daemon.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    /// Returns the CPU time of all parts so far. `daemon` is zero: the daemon is not part of this world.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu {
            daemon: 0.0,
            postgres: self.server.pid().map_or(0.0, procfs::family_cpu_secs),
            sqs: match &self.queue {
                Waiting::Sqs(endpoint) => endpoint.cpu_secs(),
                Waiting::Postgres(_) => 0.0,
            },
            receiver: self.receiver.cpu_secs(),
        }
    }

    /// Returns the number of messages in the queue and of SQS calls.
    pub(crate) async fn queue(&mut self) -> anyhow::Result<Figures> {
        match &mut self.queue {
            Waiting::Sqs(endpoint) => Ok(serde_json::from_str(&endpoint.ask("figures").await?)?),
            Waiting::Postgres(queue) => {
                let depth = queue.depth().await?;
                Ok(Figures { messages: depth.visible + depth.in_flight, calls: 0 })
            }
        }
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.store.close().await;
        self.pool.close().await;
        Ok(self.server.stop().await?)
    }
}
