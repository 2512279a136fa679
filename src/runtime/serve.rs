//! Wires the parts of a process and starts them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::lifecycle::Lifecycle;
use super::{sampler, supervisor, telemetry};
use crate::clock::heartbeat::Heartbeat;
use crate::clock::{Clock, SharedClock, SteadyClock};
use crate::config::Config;
use crate::config::login::DatabaseLogin;
use crate::config::parts::{
    http_client, messages, pool, queue, scheduler, set_up, signer, store_without_login, warn_of_gaps,
    warn_of_short_drain, webhook_secrets, webhook_url,
};
use crate::config::source::Sources;
use crate::http::{self, Api, Authorizer, Health, Heartbeats, HttpServer, Limits};
use crate::operations::dead_letters::DeadLetters;
use crate::people::explain::ExplainSettings;
use crate::pipeline::channel::webhook::Webhook;
use crate::pipeline::clock_offset::ClockOffset;
use crate::pipeline::queue::Queue;
use crate::pipeline::zone_data;
use crate::store::{Store, chain};

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

/// What [`start`] leaves running.
#[derive(Debug)]
pub struct Started {
    /// Where health and metrics are served; the port is the real one, also where 0 was asked for.
    pub http: SocketAddr,
    store: Store,
    access: DatabaseLogin,
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
    config.require_all(role.works())?;
    let client = role.works().then(|| http_client(config)).transpose()?;
    let stages = role.schedules() || role.works();
    let store = store_without_login(config, if stages { STAGES } else { 0 });
    let sources = Sources::new(Arc::clone(&clock));
    let access = DatabaseLogin::new(config, &sources);
    if access.is_fixed() {
        access.renew(&store).await?;
    }
    let queue = queue(config, &store, &clock).await?;
    let heartbeat = || Heartbeat::new(Arc::clone(&clock));
    let heartbeats = Heartbeats {
        scheduler: role.schedules().then(|| (heartbeat(), heartbeat())),
        receive: role.works().then(heartbeat),
    };
    let health = Arc::new(Health::new(
        store.clone(),
        heartbeats.clone(),
        http::HealthDeadlines {
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
        let dead_letters = DeadLetters::new(config, asked.clone(), queue, shared);
        Api::new(asked.clone(), ExplainSettings::new(config), dead_letters, Arc::clone(&clock))
    });
    let listener = http::bind(config.http.listen)?;
    let address = listener.local_addr()?;
    let authorizer = Authorizer::new(asked, Arc::clone(&clock), config.http.require_token());
    let server = HttpServer {
        health: Arc::clone(&health),
        metrics: metrics.clone(),
        api,
        authorizer: authorizer.clone(),
        limits: Limits::from(&config.http),
    };
    // HTTP takes nothing new from the stop on; what was asked before is answered.
    let answers = lifecycle.soft.clone();
    lifecycle.start("http", server.serve(listener, answers));

    let set_up = async {
        until_set_up(config, &access, &store, &*queue, &*clock).await?;
        let followed = async || {
            let url = webhook_url(config, &sources).await?;
            anyhow::Ok((url, webhook_secrets(config, &sources).await?))
        };
        anyhow::Ok(match client {
            Some(client) => Some((client, patiently(followed).await)),
            None => None,
        })
    };
    supervisor::waiting();
    let ready = lifecycle.before_stop(set_up).await?;
    if let Some(set_up) = ready {
        let webhook = set_up?;
        health.set_up();
        health.set_queue_available(true);
        authorizer.warn_if_no_token().await;
        store.open_connections().await;
        if let Some(heartbeats) = heartbeats.scheduler {
            let (plan_store, plan_clock, waiting) =
                (store.clone(), Arc::clone(&clock), [heartbeats.0.clone(), heartbeats.1.clone()]);
            let (store, queue, clock) = (store.clone(), Arc::clone(&queue), Arc::clone(&clock));
            let scheduler = scheduler(config, store, queue, clock, heartbeats);
            let (schedule, soft) = (config.schedule(), lifecycle.soft.clone());
            lifecycle.start("scheduler", async move {
                zone_data::ensure_current(&plan_store, &schedule, &plan_clock, &waiting, &soft).await;
                Box::pin(scheduler.run(soft)).await
            });
        }
        if let (Some((client, (url, secrets))), Some(receive)) = (webhook, heartbeats.receive) {
            let signer = signer(&secrets);
            if signer.secret_count() == 0 {
                tracing::info!("webhook.secrets is empty: greetings go out unsigned");
            }
            let channel = Arc::new(Webhook::new(client, url.watch(), signer, Arc::clone(&clock)));
            let (store, queue, clock) = (store.clone(), Arc::clone(&queue), Arc::clone(&clock));
            let pool = pool(config, store, queue, channel, clock, receive)?;
            let breaker = pool.clone();
            health.set_breaker(move || breaker.breaker_state());
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
        let sampler = sampler::run(store.clone(), queue, clock, health, metrics, role.schedules());
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
    access: &DatabaseLogin,
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
        anyhow::Ok(ClockOffset::measure(clock, store).await?)
    };
    Ok(patiently(step).await.ensure_within_limit()?)
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
