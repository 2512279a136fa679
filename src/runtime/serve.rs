//! Builds the parts of a process and starts their tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use metrics_exporter_prometheus::PrometheusHandle;

use super::lifecycle::Lifecycle;
use super::telemetry::TraceExport;
use super::{sampler, systemd, telemetry};
use crate::clock::heartbeat::Heartbeat;
use crate::clock::{SharedClock, SteadyClock};
use crate::config::Config;
use crate::config::login::DatabaseLogin;
use crate::config::parts::{self, Follower, Parts};
use crate::config::source::Sources;
use crate::http::{
    self, Api, Authorizer, Callbacks, Console, ConsoleSettings, Health, HealthDeadlines, Heartbeats,
    HttpServer, Limits, OpenHosts, TwilioAccounts,
};
use crate::operations::dead_letters::DeadLetters;
use crate::people::explain::ExplainSettings;
use crate::people::preview::PreviewSettings;
use crate::pipeline::channel::ConfiguredChannel;
use crate::pipeline::clock_offset::ClockOffset;
use crate::pipeline::queue::Queue;
use crate::pipeline::trace::Tracer;
use crate::pipeline::zone_data;
use crate::store::{Store, chain};

/// Connections reserved for the stages: two each to claim, to lease and to record, one to plan, and one for the rest.
const STAGE_CONNECTIONS: u32 = 8;
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

// The comments are help texts of `bday serve --role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Scheduler, workers and API
    All,
    /// Plan and claim events, and send them to the queue
    Scheduler,
    /// Deliver events from the queue
    Worker,
    /// Serve the HTTP API
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

    fn has_scheduler(self) -> bool {
        matches!(self, Self::All | Self::Scheduler)
    }

    fn has_worker(self) -> bool {
        matches!(self, Self::All | Self::Worker)
    }

    fn has_api(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    fn has_stages(self) -> bool {
        self.has_scheduler() || self.has_worker()
    }
}

/// A process that [`start`] has started.
#[derive(Debug)]
pub struct Started {
    /// The address of health, metrics and API, with the real port if port 0 was configured.
    pub http: SocketAddr,
    store: Store,
    login: DatabaseLogin,
    trace_export: TraceExport,
    drain: Duration,
}

impl Started {
    /// Runs until `lifecycle` ends.
    pub async fn run(self, lifecycle: Lifecycle) -> anyhow::Result<()> {
        let result = tokio::select! {
            result = lifecycle.run(self.drain) => result,
            // Renewed until the end, because outcomes are recorded during the shutdown.
            never = self.login.run(&self.store) => match never {},
        };
        // After the last task has ended, since outcomes are traced, too.
        self.trace_export.flush().await;
        self.store.close().await;
        result
    }
}

/// Runs a process until a signal stops it.
pub async fn serve(config: Config, role: Role, clock: SharedClock) -> anyhow::Result<()> {
    let mut lifecycle = Lifecycle::new()?;
    let started = start(&config, role, clock, &mut lifecycle).await?;
    started.run(lifecycle).await
}

/// Starts the tasks of a process once the database and the queue answer. If a signal comes first, only HTTP is started,
/// and `lifecycle.soft` is cancelled.
pub async fn start(
    config: &Config,
    role: Role,
    clock: SharedClock,
    lifecycle: &mut Lifecycle,
) -> anyhow::Result<Started> {
    // An error in the configuration itself ends the process. Values from other sources are retried.
    config.require_all(role.has_worker())?;
    if role.has_worker() {
        parts::check_files(config)?;
    }
    let process = Box::pin(Process::new(config, role, clock)).await?;
    process.log_start()?;
    let (http, authorizer) = process.start_http(lifecycle)?;
    systemd::waiting();
    if let Some(connected) = lifecycle.before_stop(Box::pin(process.connect())).await? {
        let (channels, followers) = connected?;
        process.health.set_up();
        process.health.set_queue_available(true);
        authorizer.warn_if_no_token().await;
        process.store.open_connections().await;
        process.start_scheduler(lifecycle);
        process.start_worker(channels, lifecycle)?;
        #[cfg(feature = "aws")]
        Box::pin(process.start_feedback(lifecycle)).await;
        for (key, follower) in followers {
            lifecycle.start_until_stop(key, follower);
        }
        process.start_watchdog(lifecycle);
        process.start_sampler(lifecycle);
        systemd::ready();
    } else {
        lifecycle.soft.cancel();
    }
    let Process { store, login, trace_export, .. } = process;
    Ok(Started { http, store, login, trace_export, drain: config.worker.drain })
}

/// The parts that the tasks share.
struct Process<'a> {
    config: &'a Config,
    role: Role,
    clock: SharedClock,
    sources: Sources,
    store: Store,
    login: DatabaseLogin,
    queue: Arc<dyn Queue>,
    heartbeats: Heartbeats,
    health: Arc<Health>,
    metrics: PrometheusHandle,
    tracer: Tracer,
    trace_export: TraceExport,
    /// None: this process serves no callbacks.
    twilio_accounts: Option<TwilioAccounts>,
}

impl<'a> Process<'a> {
    async fn new(config: &'a Config, role: Role, clock: SharedClock) -> anyhow::Result<Self> {
        let clock: SharedClock = Arc::new(SteadyClock::new(clock));
        let metrics =
            telemetry::collect_metrics(config.kinds.keys().map(String::as_str), &config.used_channels())?;
        let sources = Sources::new(Arc::clone(&clock));
        let (tracer, trace_export) = TraceExport::start(config, &sources, &clock)?;
        let store = parts::store_without_login(config, if role.has_stages() { STAGE_CONNECTIONS } else { 0 });
        let login = DatabaseLogin::new(config, &sources);
        if login.is_fixed() {
            login.renew(&store).await?;
        }
        let queue = parts::queue(config, &store, &clock).await?;
        let heartbeat = || Heartbeat::new(Arc::clone(&clock));
        let heartbeats = Heartbeats {
            scheduler: role.has_scheduler().then(|| (heartbeat(), heartbeat())),
            receive: role.has_worker().then(heartbeat),
        };
        let deadlines = HealthDeadlines {
            poll: config.queue.wait,
            request: config.longest_timeout(),
            statement: config.database.statement_timeout,
        };
        let health = Arc::new(Health::new(store.clone(), heartbeats.clone(), deadlines));
        let twilio_accounts = (role.has_api() && config.may_use_twilio()).then(TwilioAccounts::default);
        Ok(Self {
            config,
            role,
            clock,
            sources,
            store,
            login,
            queue,
            heartbeats,
            health,
            metrics,
            tracer,
            trace_export,
            twilio_accounts,
        })
    }

    fn log_start(&self) -> anyhow::Result<()> {
        let (version, role) = (env!("CARGO_PKG_VERSION"), self.role.as_str());
        tracing::info!(version, role, queue = self.config.queue.kind.as_str(), "starting");
        if !self.role.has_worker() {
            return Ok(());
        }
        let messages = parts::messages(self.config)?;
        let kinds: Vec<&str> = messages.kinds_printing_unknown_years().collect();
        if !kinds.is_empty() {
            tracing::warn!(
                kinds = kinds.join(","),
                "message prints years, which some dates do not have: write {{% if years %}}…{{% endif %}} around it"
            );
        }
        if let Some(warning) = self.config.short_drain() {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    fn start_http(&self, lifecycle: &mut Lifecycle) -> anyhow::Result<(SocketAddr, Authorizer)> {
        let config = self.config;
        // Hanging requests must not use the connections of the stages.
        let store =
            if self.role.has_stages() { self.store.reserving(STAGE_CONNECTIONS) } else { self.store.clone() };
        let clock = || Arc::clone(&self.clock);
        let api = self.role.has_api().then(|| {
            let dead_letters = DeadLetters::new(config, store.clone(), Arc::clone(&self.queue), clock());
            let preview = PreviewSettings::new(config)?;
            anyhow::Ok(Api::new(store.clone(), ExplainSettings::new(config), preview, dead_letters, clock()))
        });
        let api = api.transpose()?;
        if let Some(api) = api.clone() {
            lifecycle.start_until_stop("statistics", api.count_ahead());
        }
        let callbacks = self
            .twilio_accounts
            .clone()
            .zip(config.http.public_base())
            .map(|(accounts, public_url)| Callbacks::new(store.clone(), clock(), accounts, &public_url));
        let open_hosts = (!config.http.requires_token()).then(|| OpenHosts::from(&config.http));
        let authorizer = Authorizer::new(store, clock(), open_hosts);
        let console = api.clone().map(|api| {
            let (authorizer, health) = (authorizer.clone(), Arc::clone(&self.health));
            Console::new(api, authorizer, health, ConsoleSettings::from(config))
        });
        let server = HttpServer {
            health: Arc::clone(&self.health),
            metrics: self.metrics.clone(),
            api,
            callbacks,
            console,
            authorizer: authorizer.clone(),
            limits: Limits::from(&config.http),
        };
        let listener = http::bind(config.http.listen)?;
        let address = listener.local_addr()?;
        // From the stop on, HTTP accepts no new request and answers those in progress.
        lifecycle.start("http", server.serve(listener, lifecycle.soft.clone()));
        Ok((address, authorizer))
    }

    /// Migrates, creates the queue, compares the clocks, and builds the channels of a worker. Retries every error but a wrong clock,
    /// which waiting does not correct.
    async fn connect(&self) -> anyhow::Result<(Vec<ConfiguredChannel>, Vec<Follower>)> {
        let set_up = || async {
            // Fetched for each attempt, because the login may be the cause.
            if !self.login.is_fixed() {
                self.login.renew(&self.store).await?;
            }
            parts::set_up(self.config, &self.store, &*self.queue).await?;
            anyhow::Ok(ClockOffset::measure(&*self.clock, &self.store).await?)
        };
        retry(set_up).await?.ensure_within_limit()?;
        let Self { config, sources, store, clock, .. } = self;
        let parts = Parts { config, sources, store, clock };
        let (mut channels, mut followers) = (Vec::new(), Vec::new());
        if self.role.has_worker() {
            (channels, followers) = retry(|| parts::channels(&parts)).await?;
        }
        if let Some(twilio_accounts) = &self.twilio_accounts {
            let (accounts, more) = retry(|| parts::callback_accounts(&parts)).await?;
            twilio_accounts.set(accounts);
            followers.extend(more);
        }
        Ok((channels, followers))
    }

    fn start_scheduler(&self, lifecycle: &mut Lifecycle) {
        let Some(heartbeats) = self.heartbeats.scheduler.clone() else { return };
        let waiting = [heartbeats.0.clone(), heartbeats.1.clone()];
        let (store, queue, clock) = (self.store.clone(), Arc::clone(&self.queue), Arc::clone(&self.clock));
        let tracer = self.tracer.clone();
        let scheduler =
            parts::scheduler(self.config, store.clone(), queue, Arc::clone(&clock), heartbeats, tracer);
        let (schedule, soft) = (self.config.schedule(), lifecycle.soft.clone());
        lifecycle.start("scheduler", async move {
            zone_data::ensure_current(&store, &schedule, &clock, &waiting, &soft).await;
            Box::pin(scheduler.run(soft)).await
        });
    }

    fn start_worker(
        &self,
        channels: Vec<ConfiguredChannel>,
        lifecycle: &mut Lifecycle,
    ) -> anyhow::Result<()> {
        let Some(heartbeat) = self.heartbeats.receive.clone() else { return Ok(()) };
        let (store, queue, clock) = (self.store.clone(), Arc::clone(&self.queue), Arc::clone(&self.clock));
        let tracer = self.tracer.clone();
        let pool = parts::pool(self.config, store, queue, channels, clock, heartbeat, tracer)?;
        let breaker = pool.clone();
        self.health.set_breaker(move || breaker.breaker_state());
        let (soft, hard) = (lifecycle.soft.child_token(), lifecycle.hard.clone());
        lifecycle.start("worker", async move { pool.run(soft, hard).await });
        Ok(())
    }

    #[cfg(feature = "aws")]
    async fn start_feedback(&self, lifecycle: &mut Lifecycle) {
        if !self.role.has_worker() {
            return;
        }
        if let Some(reader) = parts::feedback_reader(self.config, &self.store).await {
            lifecycle.start("feedback", reader.run(lifecycle.soft.clone()));
        }
    }

    fn start_watchdog(&self, lifecycle: &mut Lifecycle) {
        lifecycle.start_until_stop("watchdog", systemd::feed_watchdog(Arc::clone(&self.health)));
    }

    fn start_sampler(&self, lifecycle: &mut Lifecycle) {
        let sampler = sampler::Sampler {
            store: self.store.clone(),
            queue: Arc::clone(&self.queue),
            clock: Arc::clone(&self.clock),
            health: Arc::clone(&self.health),
            metrics: self.metrics.clone(),
            has_scheduler: self.role.has_scheduler(),
        };
        lifecycle.start_until_stop("sampler", sampler.run());
    }
}

/// Calls `step` until it succeeds.
async fn retry<T, F>(step: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let backoff = ExponentialBuilder::new()
        .with_min_delay(MIN_RETRY_DELAY)
        .with_max_delay(MAX_RETRY_DELAY)
        .without_max_times();
    let log = |error: &anyhow::Error, delay: Duration| {
        let retry_in_secs = delay.as_secs_f32();
        tracing::warn!(error = chain(error.as_ref()), retry_in_secs, "not ready yet");
    };
    step.retry(backoff).notify(log).await
}
