//! The parts of a process, built as the configuration says.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::login::DatabaseLogin;
use super::source::Sources;
use super::{Config, ConfigError, QueueKind};
use crate::clock::heartbeat::Heartbeat;
use crate::clock::{SharedClock, SystemClock};
use crate::pipeline::channel::Channel;
use crate::pipeline::queue::Queue;
use crate::pipeline::queue::postgres::PostgresQueue;
#[cfg(feature = "aws")]
use crate::pipeline::queue::sqs::{self, SqsQueue};
use crate::pipeline::scheduler::{self, Scheduler};
use crate::pipeline::worker::{self, WorkerPool};
use crate::store::{self, Store, StoreError};

pub use super::outgoing::{http_client, messages, signer, webhook_secrets, webhook_url, webhook_url_from};
pub(crate) use super::outgoing::{warn_of_gaps, warn_of_short_drain};

/// The database as `config` says, with what lives elsewhere fetched: for a command, which is better told at once that
/// nobody listens there.
///
/// # Errors
/// When no database is given, the password cannot be had, or nobody answers at its address.
pub async fn store(config: &Config) -> anyhow::Result<Store> {
    config.require_database()?;
    let store = store_without_login(config, 0);
    let sources = Sources::new(Arc::new(SystemClock));
    DatabaseLogin::new(config, &sources).renew(&store).await?;
    store.reach().await?;
    Ok(store)
}

/// The same before its login is known. `kept_connections` stay open.
#[must_use]
pub fn store_without_login(config: &Config, kept_connections: u32) -> Store {
    let database = &config.database;
    Store::without_login(&store::StoreOptions {
        max_connections: database.max_connections,
        kept_connections,
        acquire_timeout: Duration::from_secs(database.acquire_timeout_secs),
        statement_timeout: Duration::from_secs(database.statement_timeout_secs),
    })
}

/// The queue as `config` says. Does not connect yet.
///
/// # Errors
/// When no queue is given.
#[cfg_attr(not(feature = "aws"), allow(clippy::unused_async, reason = "only SQS is connected to"))]
pub async fn queue(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
) -> Result<Arc<dyn Queue>, ConfigError> {
    config.require_queue()?;
    let queue = &config.queue;
    Ok(match queue.kind {
        #[cfg(not(feature = "aws"))]
        QueueKind::Sqs => {
            return Err(ConfigError::Invalid(vec![super::source::SourceError::NoAws.to_string()]));
        }
        #[cfg(feature = "aws")]
        QueueKind::Sqs => {
            let options = sqs::SqsOptions {
                url: queue.sqs.url.clone(),
                dead_letter_url: queue.sqs.dead_letter_url.clone(),
                visibility: queue.visibility(),
            };
            Arc::new(SqsQueue::connect(options).await)
        }
        QueueKind::Postgres => {
            Arc::new(PostgresQueue::new(store.clone(), Arc::clone(clock), queue.visibility()))
        }
    })
}

/// Brings the schema up to date, and creates the queue where that is ours to do.
///
/// # Errors
/// When the database or the queue is unavailable or refuses.
pub async fn set_up(config: &Config, store: &Store, queue: &dyn Queue) -> anyhow::Result<()> {
    store.check_sessions().await?;
    match store.check_schema().await {
        Err(StoreError::Schema { .. }) if config.database.migrate => {
            store.migrate().await?;
            tracing::info!("the schema is up to date");
        }
        checked => checked?,
    }
    if config.queue.create {
        queue.create().await?;
    }
    Ok(())
}

/// The scheduler as `config` says, with the heartbeats of its passes and of its planner.
#[must_use]
pub fn scheduler(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
    heartbeats: (Heartbeat, Heartbeat),
) -> Scheduler {
    let options = scheduler::SchedulerOptions {
        horizon: Duration::from_secs(config.plan.horizon_secs),
        late_max: Duration::from_secs(config.late.max_secs),
        max_in_flight: match config.worker.max_per_second {
            0 => config.worker.max_in_flight as usize,
            // A pack that takes long to send holds others up.
            cap => config.worker.max_in_flight.min(cap) as usize,
        },
        max_attempts: config.retry.max_attempts,
        retry_spread: Duration::from_secs(config.retry.schedule_secs.first().copied().unwrap_or(0)),
        keep_events: TimeDelta::days(i64::from(config.retention.events_days)),
        keep_audit: TimeDelta::days(i64::from(config.retention.audit_days)),
    };
    Scheduler::new(store, queue, clock, Arc::new(config.schedule()), options, heartbeats)
}

/// The scheduler for a command; no health check reads its heartbeats.
#[must_use]
pub fn scheduler_for_command(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
) -> Scheduler {
    let heartbeats = (Heartbeat::new(Arc::clone(&clock)), Heartbeat::new(Arc::clone(&clock)));
    scheduler(config, store, queue, clock, heartbeats)
}

/// The worker pool as `config` says, sending through `channel`.
pub fn pool(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    channel: Arc<dyn Channel>,
    clock: SharedClock,
    heartbeat: Heartbeat,
) -> anyhow::Result<WorkerPool> {
    let messages = messages(config)?;
    let options = worker::WorkerOptions {
        max_in_flight: config.worker.max_in_flight as usize,
        wait: Duration::from_secs(config.queue.wait_secs),
        visibility: config.queue.visibility(),
        max_attempts: config.retry.max_attempts,
        schedule: config.retry.schedule_secs.iter().copied().map(Duration::from_secs).collect(),
        late_max: Duration::from_secs(config.late.max_secs),
        breaker: worker::BreakerOptions {
            failures: config.breaker.failures,
            after: Duration::from_secs(config.breaker.after_secs),
        },
        max_per_second: config.worker.max_per_second,
    };
    Ok(WorkerPool::new(store, queue, channel, messages, clock, options, heartbeat))
}
