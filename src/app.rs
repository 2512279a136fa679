//! The only file that knows everything: it builds the parts of a process and wires them.

mod outgoing;
mod sample;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::clock::{Clock, SharedClock, SteadyClock, SystemClock};
use crate::config::{Config, ConfigError, QueueKind};
use crate::dead_letters::DeadLetters;
use crate::health::Beat;
use crate::http::{self, Api, Beats, Gate, Health, Limits, Site};
use crate::lifecycle::Lifecycle;
use crate::login::Access;
use crate::pipeline::channel::Channel;
use crate::pipeline::channel::webhook::Webhook;
use crate::pipeline::queue::Queue;
use crate::pipeline::queue::postgres::PostgresQueue;
use crate::pipeline::queue::sqs::{self, SqsQueue};
use crate::pipeline::scheduler::{self, Scheduler};
use crate::pipeline::worker::{self, Pool};
use crate::skew::Skew;
use crate::source::Sources;
use crate::store::{self, Store, StoreError};
use crate::supervisor;
use crate::telemetry::chain;
use crate::{telemetry, tzguard};

pub use outgoing::{messages, signer, webhook_secrets, webhook_url, webhook_url_from, wire};
use outgoing::{warn_of_gaps, warn_of_short_drain};

/// Connections reserved for the stages: two each to claim, to lease and to record, one to plan, and one for the rest.
const STAGES: u32 = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Which parts a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Everything.
    All,
    /// The ticker.
    Scheduler,
    /// The worker pool.
    Worker,
    /// The HTTP API alone.
    Api,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Api => "api",
        }
    }

    fn schedules(self) -> bool {
        matches!(self, Self::All | Self::Scheduler)
    }

    fn answers(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    fn works(self) -> bool {
        matches!(self, Self::All | Self::Worker)
    }
}

/// The database as `config` says, with what lives elsewhere fetched: for a command, which is better told at once that
/// nobody listens there.
///
/// # Errors
/// When no database is given, the password cannot be had, or nobody answers at its address.
pub async fn store(config: &Config) -> anyhow::Result<Store> {
    config.needs_database()?;
    let store = store_without_login(config, 0);
    let sources = Sources::new(Arc::new(SystemClock));
    Access::new(config, &sources).renew(&store).await?;
    store.reach().await?;
    Ok(store)
}

/// The same before its login is known. `kept_connections` stay open.
#[must_use]
pub fn store_without_login(config: &Config, kept_connections: u32) -> Store {
    let database = &config.database;
    Store::without_login(&store::Options {
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
pub async fn queue(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
) -> Result<Arc<dyn Queue>, ConfigError> {
    config.needs_queue()?;
    let queue = &config.queue;
    Ok(match queue.kind {
        QueueKind::Sqs => {
            let options = sqs::Options {
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

/// The scheduler as `config` says, with the beats of its passes and of its planner.
#[must_use]
pub fn scheduler(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
    beats: (Beat, Beat),
) -> Scheduler {
    let options = scheduler::Options {
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
    Scheduler::new(store, queue, clock, Arc::new(config.schedule()), options, beats)
}

/// The scheduler for a command; no health check reads its beats.
#[must_use]
pub fn scheduler_for_command(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
) -> Scheduler {
    let beats = (Beat::new(Arc::clone(&clock)), Beat::new(Arc::clone(&clock)));
    scheduler(config, store, queue, clock, beats)
}

/// The dead letters, with the queue and the rules that `config` names.
#[must_use]
pub fn dead_letters(config: &Config, store: Store, queue: Arc<dyn Queue>, clock: SharedClock) -> DeadLetters {
    let scheduler = scheduler_for_command(config, store.clone(), Arc::clone(&queue), Arc::clone(&clock));
    DeadLetters::new(store, queue, clock, scheduler)
}

/// The worker pool as `config` says, sending through `channel`.
pub fn pool(
    config: &Config,
    store: Store,
    queue: Arc<dyn Queue>,
    channel: Arc<dyn Channel>,
    clock: SharedClock,
    beat: Beat,
) -> anyhow::Result<Pool> {
    let messages = messages(config)?;
    let options = worker::Options {
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
    Ok(Pool::new(store, queue, channel, messages, clock, options, beat))
}

/// What [`start`] leaves running.
#[derive(Debug)]
pub struct Started {
    /// Where health and metrics are served; the port is the real one, also where 0 was asked for.
    pub http: SocketAddr,
    store: Store,
    access: Access,
    drain: Duration,
}

impl Started {
    /// Goes on until `lifecycle` says stop, and ends everything.
    pub async fn run(self, lifecycle: Lifecycle) -> anyhow::Result<()> {
        let result = tokio::select! {
            result = lifecycle.run(self.drain) => result,
            // To the very end: what is in flight while the process stops wants to be recorded.
            never = self.access.run(&self.store) => match never {},
        };
        self.store.close().await;
        result
    }
}

/// Runs a process of `role` until it is told to stop.
pub async fn serve(config: Config, role: Role, clock: SharedClock) -> anyhow::Result<()> {
    let mut lifecycle = Lifecycle::new()?;
    let started = start(&config, role, clock, &mut lifecycle).await?;
    started.run(lifecycle).await
}

/// Starts the parts of a process of `role` in `lifecycle`, once the database and the queue are there. When the
/// signal to stop comes first, only HTTP has been started and `lifecycle.soft` is cancelled.
pub async fn start(
    config: &Config,
    role: Role,
    clock: SharedClock,
    lifecycle: &mut Lifecycle,
) -> anyhow::Result<Started> {
    let clock: SharedClock = Arc::new(SteadyClock::new(clock));
    let metrics = telemetry::collect_metrics(config.kinds.keys().map(String::as_str))?;
    // What is wrong in the configuration itself ends the process at once. What lives elsewhere may heal.
    config.needs_all(role.works())?;
    let wire = role.works().then(|| wire(config)).transpose()?;
    let stages = role.schedules() || role.works();
    let store = store_without_login(config, if stages { STAGES } else { 0 });
    let sources = Sources::new(Arc::clone(&clock));
    let access = Access::new(config, &sources);
    if access.is_fixed() {
        access.renew(&store).await?;
    }
    let queue = queue(config, &store, &clock).await?;
    let beat = || Beat::new(Arc::clone(&clock));
    let beats =
        Beats { scheduler: role.schedules().then(|| (beat(), beat())), receive: role.works().then(beat) };
    let health = Arc::new(Health::new(
        store.clone(),
        beats.clone(),
        http::Patience {
            poll: Duration::from_secs(config.queue.wait_secs),
            request: Duration::from_secs(config.webhook.timeout_secs),
            statement: Duration::from_secs(config.database.statement_timeout_secs),
        },
    ));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        role = role.as_str(),
        queue = config.queue.kind.as_str(),
        "starting"
    );
    if role.works() {
        warn_of_gaps(&messages(config)?);
        warn_of_short_drain(config);
    }

    // Hanging requests must not take the connections of the stages.
    let asked = if stages { store.reserving(STAGES) } else { store.clone() };
    let api = role.answers().then(|| {
        let (queue, shared) = (Arc::clone(&queue), Arc::clone(&clock));
        let letters = dead_letters(config, asked.clone(), queue, shared);
        Api::new(asked.clone(), config.terms(), letters, Arc::clone(&clock))
    });
    let listener = http::bind(config.http.listen)?;
    let address = listener.local_addr()?;
    let gate = Gate::new(asked, Arc::clone(&clock), config.http.needs_token());
    let site = Site {
        health: Arc::clone(&health),
        metrics: metrics.clone(),
        api,
        gate: gate.clone(),
        limits: Limits::from(&config.http),
    };
    // HTTP takes nothing new from the stop on; what was asked before is answered.
    let answers = lifecycle.soft.clone();
    lifecycle.start("http", site.serve(listener, answers));

    let set_up = async {
        until_set_up(config, &access, &store, &*queue, &*clock).await?;
        let followed = async || {
            let url = webhook_url(config, &sources).await?;
            anyhow::Ok((url, webhook_secrets(config, &sources).await?))
        };
        anyhow::Ok(match wire {
            Some(wire) => Some((wire, patiently(followed).await)),
            None => None,
        })
    };
    supervisor::waiting();
    let ready = lifecycle.before_stop(set_up).await?;
    if let Some(set_up) = ready {
        let webhook = set_up?;
        health.set_up();
        health.queue_answers(true);
        gate.warn_if_shut().await;
        store.open_connections().await;
        if let Some(beats) = beats.scheduler {
            let (plan_store, plan_clock, waiting) =
                (store.clone(), Arc::clone(&clock), [beats.0.clone(), beats.1.clone()]);
            let (store, queue, clock) = (store.clone(), Arc::clone(&queue), Arc::clone(&clock));
            let scheduler = scheduler(config, store, queue, clock, beats);
            let (schedule, soft) = (config.schedule(), lifecycle.soft.clone());
            lifecycle.start("scheduler", async move {
                tzguard::until_current(&plan_store, &schedule, &plan_clock, &waiting, &soft).await;
                Box::pin(scheduler.run(soft)).await
            });
        }
        if let (Some((wire, (url, secrets))), Some(receive)) = (webhook, beats.receive) {
            let signer = signer(&secrets);
            if signer.secrets() == 0 {
                tracing::info!("webhook.secrets is empty: greetings go out unsigned");
            }
            let channel = Arc::new(Webhook::new(wire, url.watch(), signer, Arc::clone(&clock)));
            let (store, queue, clock) = (store.clone(), Arc::clone(&queue), Arc::clone(&clock));
            let pool = pool(config, store, queue, channel, clock, receive)?;
            health.workers(pool.clone());
            let (soft, hard) = (lifecycle.soft.child_token(), lifecycle.hard.clone());
            lifecycle.start("worker", async move { pool.run(soft, hard).await });
            let interval = Duration::from_secs(config.source.refresh_secs);
            let soft = lifecycle.soft.clone();
            lifecycle.start("webhook.url", async move {
                soft.run_until_cancelled(url.run(interval)).await;
                Ok(())
            });
            for secrets in secrets {
                let soft = lifecycle.soft.clone();
                lifecycle.start("webhook.secrets", async move {
                    soft.run_until_cancelled(secrets.run(interval)).await;
                    Ok(())
                });
            }
        }
        let watchdog = supervisor::feed_watchdog(Arc::clone(&health));
        let soft = lifecycle.soft.clone();
        lifecycle.start("watchdog", async move {
            soft.run_until_cancelled(watchdog).await;
            Ok(())
        });
        let sampler = sample::run(store.clone(), queue, clock, health, metrics, role.schedules());
        let soft = lifecycle.soft.clone();
        lifecycle.start("sampler", async move {
            soft.run_until_cancelled(sampler).await;
            Ok(())
        });
        supervisor::ready();
    } else {
        lifecycle.soft.cancel();
    }
    Ok(Started { http: address, store, access, drain: Duration::from_secs(config.worker.drain_secs) })
}

/// Sets up, again and again until it works. Only a clock that is wrong ends it: that does not heal by waiting.
async fn until_set_up(
    config: &Config,
    access: &Access,
    store: &Store,
    queue: &dyn Queue,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    let step = async || {
        // Anew for each try: it may have been the password.
        if !access.is_fixed() {
            access.renew(store).await?;
        }
        set_up(config, store, queue).await?;
        // Within the step: only a clock that is wrong ends the process, not one that could not be asked.
        anyhow::Ok(Skew::look(clock, store).await?)
    };
    Ok(patiently(step).await.check()?)
}

/// Does `step` again and again, with growing pauses, until it works.
async fn patiently<T>(step: impl AsyncFn() -> anyhow::Result<T>) -> T {
    let mut pause = Duration::from_millis(500);
    loop {
        match step().await {
            Ok(done) => return done,
            Err(error) => {
                let error = chain(error.as_ref());
                tracing::warn!(error, retry_in_secs = pause.as_secs_f32(), "not ready yet");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
