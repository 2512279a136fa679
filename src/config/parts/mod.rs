//! Builds the parts of a process from the configuration.

mod built_channel;
mod channels;
mod mail;
mod slack;
mod sms;
mod twilio;
mod webhook;
mod whatsapp;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::login::DatabaseLogin;
use super::source::Sources;
use super::{Config, ConfigError, QueueKind};
use crate::clock::heartbeat::Heartbeat;
use crate::clock::{SharedClock, SystemClock};
use crate::model::ChannelName;
use crate::pipeline::channel::ConfiguredChannel;
#[cfg(feature = "aws")]
use crate::pipeline::feedback::FeedbackReader;
use crate::pipeline::queue::Queue;
use crate::pipeline::queue::postgres::PostgresQueue;
#[cfg(feature = "aws")]
use crate::pipeline::queue::sqs::{self, SqsQueue};
use crate::pipeline::scheduler::{self, Scheduler};
use crate::pipeline::trace::Tracer;
use crate::pipeline::worker::{self, WorkerPool};
use crate::store::{self, Store, StoreError};

pub use built_channel::{Follower, Parts};
pub use channels::channels;
pub use mail::mail;
pub use slack::{slack_client, slack_endpoint};
pub use twilio::{callback_accounts, sms_url, twilio_client, whatsapp_account};
pub use webhook::{http_client, messages, signer, webhook_secrets, webhook_url, webhook_url_from};

/// Opens the store for a command: fetches the login, and fails at once if the database is unreachable.
pub async fn store(config: &Config) -> anyhow::Result<Store> {
    config.require_database()?;
    let store = store_without_login(config, 0);
    let sources = Sources::new(Arc::new(SystemClock));
    DatabaseLogin::new(config, &sources).renew(&store).await?;
    store.check_reachable().await?;
    Ok(store)
}

/// Builds the store without a login and without a connection. `kept_connections` stay open once they are opened.
#[must_use]
pub fn store_without_login(config: &Config, kept_connections: u32) -> Store {
    let database = &config.database;
    Store::without_login(&store::StoreOptions {
        max_connections: database.max_connections,
        kept_connections,
        acquire_timeout: database.acquire_timeout,
        statement_timeout: database.statement_timeout,
    })
}

/// Builds the queue. Does not connect yet.
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
                visibility: queue.visibility,
            };
            Arc::new(SqsQueue::connect(options).await)
        }
        QueueKind::Postgres => {
            Arc::new(PostgresQueue::new(store.clone(), Arc::clone(clock), queue.visibility))
        }
    })
}

/// Builds the reader of the mail channel's feedback; none if no queue is configured.
#[cfg(feature = "aws")]
pub async fn feedback_reader(config: &Config, store: &Store) -> Option<FeedbackReader> {
    let url = &config.channels.mail.feedback_queue_url;
    if url.is_empty() {
        return None;
    }
    Some(FeedbackReader::connect(url.clone(), store.clone()).await)
}

/// Checks the files that the configuration of the channels names.
pub fn check_files(config: &Config) -> anyhow::Result<()> {
    for channel in config.used_channels() {
        match channel {
            ChannelName::Webhook | ChannelName::Slack => drop(http_client(config)?),
            ChannelName::Mail => drop(mail::options(config)?),
            ChannelName::Sms | ChannelName::Whatsapp => {}
        }
    }
    Ok(())
}

/// Migrates the schema and creates the queue, where the configuration allows it.
pub async fn set_up(config: &Config, store: &Store, queue: &dyn Queue) -> anyhow::Result<()> {
    store.check_sessions().await?;
    match store.check_schema().await {
        Err(StoreError::Schema { .. }) if config.database.migrate => {
            store.migrate().await?;
            tracing::info!("schema migrated");
        }
        checked => checked?,
    }
    if config.queue.create {
        queue.create().await?;
    }
    Ok(())
}

/// Builds the scheduler, with the heartbeats of its passes and of its planner.
#[must_use]
pub fn scheduler(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
    heartbeats: (Heartbeat, Heartbeat),
    tracer: Tracer,
) -> Scheduler {
    let options = scheduler::SchedulerOptions {
        horizon: config.plan.horizon,
        late_max: config.late.max,
        max_in_flight: match config.worker.max_per_second {
            0 => config.worker.max_in_flight as usize,
            // A pack that takes long to deliver delays other packs.
            cap => config.worker.max_in_flight.min(cap) as usize,
        },
        max_attempts: config.retry.max_attempts,
        retry_spread: config.retry.schedule.first().copied().unwrap_or(Duration::ZERO),
        give_up: config.give_up_channels(),
        keep_events: TimeDelta::days(i64::from(config.retention.events_days)),
        keep_audit: TimeDelta::days(i64::from(config.retention.audit_days)),
        tracer,
    };
    Scheduler::new(store, queue, clock, Arc::new(config.schedule()), options, heartbeats)
}

/// Builds the scheduler for a command: no health check reads its heartbeats, and it is not traced.
#[must_use]
pub fn scheduler_for_command(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
) -> Scheduler {
    let heartbeats = (Heartbeat::new(Arc::clone(&clock)), Heartbeat::new(Arc::clone(&clock)));
    scheduler(config, store, queue, clock, heartbeats, Tracer::default())
}

pub fn pool(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    channels: Vec<ConfiguredChannel>,
    clock: SharedClock,
    heartbeat: Heartbeat,
    tracer: Tracer,
) -> anyhow::Result<WorkerPool> {
    let messages = messages(config)?;
    let options = worker::WorkerOptions {
        max_in_flight: config.worker.max_in_flight as usize,
        wait: config.queue.wait,
        visibility: config.queue.visibility,
        max_attempts: config.retry.max_attempts,
        schedule: config.retry.schedule.clone(),
        late_max: config.late.max,
        breaker: worker::BreakerOptions { failures: config.breaker.failures, after: config.breaker.after },
        max_per_second: config.worker.max_per_second,
        routes: config.routes(),
        unsubscribe: mail::unsubscribe_links(config, &store),
        tracer,
    };
    Ok(WorkerPool::new(store, queue, channels, messages, clock, options, heartbeat))
}
