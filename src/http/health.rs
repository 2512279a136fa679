//! Liveness and readiness: whether the stages of this process make progress, and whether what they need is available.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use metrics::gauge;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::clock::heartbeat::Heartbeat;
use crate::clock::{Clock as _, SystemClock};
use crate::store::{STATEMENT_GRACE, Store};

/// A ticker without a heartbeat for this long is stuck: it missed two ticks.
const TICK_LIMIT: Duration = Duration::from_secs(150);
/// Added to the time of the longest statement.
const TICK_GRACE: Duration = Duration::from_mins(1);
/// Added to the longest wait of a worker.
const RECEIVE_GRACE: Duration = Duration::from_secs(40);
/// Body of `/livez` for a process that was set up and is not stuck.
pub const LIVE: &str = "ok";
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// The configured deadlines of single operations of a stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct HealthDeadlines {
    /// Of a poll of the queue.
    pub poll: Duration,
    /// Of a request to the receiver.
    pub request: Duration,
    /// Of a statement.
    pub statement: Duration,
}

impl HealthDeadlines {
    fn statement(self) -> Duration {
        self.statement.saturating_add(STATEMENT_GRACE)
    }

    fn tick(self) -> Duration {
        self.statement().saturating_add(TICK_GRACE).max(TICK_LIMIT)
    }

    fn receive(self) -> Duration {
        self.poll.max(self.request).max(self.statement()).saturating_add(RECEIVE_GRACE)
    }
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    heartbeat: Heartbeat,
    /// The longest time between two heartbeats.
    limit: Duration,
}

/// The heartbeats of the stages that this process has.
#[derive(Debug, Clone, Default)]
pub struct Heartbeats {
    /// Of the ticks and of the planner.
    pub scheduler: Option<(Heartbeat, Heartbeat)>,
    /// Of the workers.
    pub receive: Option<Heartbeat>,
}

pub struct Health {
    store: Store,
    /// Whether the database is migrated, the queue exists and the clocks agree: the stages may run.
    is_set_up: AtomicBool,
    is_queue_available: AtomicBool,
    stages: Vec<Stage>,
    breaker: OnceLock<BreakerState>,
    /// The last check. One request at a time queries the database; those that wait meanwhile share the next result.
    database: Mutex<Option<DatabaseCheck>>,
}

type BreakerState = Box<dyn Fn() -> &'static str + Send + Sync>;

impl Health {
    #[must_use]
    pub fn new(store: Store, heartbeats: Heartbeats, deadlines: HealthDeadlines) -> Self {
        let stage = |name, limit| move |heartbeat| Stage { name, heartbeat, limit };
        let (tick, plan) = heartbeats.scheduler.unzip();
        let stages = [
            tick.map(stage("tick", deadlines.tick())),
            plan.map(stage("plan", deadlines.tick())),
            heartbeats.receive.map(stage("receive", deadlines.receive())),
        ];
        Self {
            store,
            is_set_up: AtomicBool::new(false),
            is_queue_available: AtomicBool::new(false),
            stages: stages.into_iter().flatten().collect(),
            breaker: OnceLock::new(),
            database: Mutex::default(),
        }
    }

    /// Records that the stages may run.
    pub fn set_up(&self) {
        // They begin now: the wait for the database does not count.
        self.stages.iter().for_each(|stage| stage.heartbeat.alive());
        self.is_set_up.store(true, Ordering::Relaxed);
    }

    pub fn set_queue_available(&self, is_available: bool) {
        self.is_queue_available.store(is_available, Ordering::Relaxed);
    }

    /// Sets the function that returns the state of the workers' breaker. Only the first call has an effect.
    pub fn set_breaker(&self, state: impl Fn() -> &'static str + Send + Sync + 'static) {
        let _ = self.breaker.set(Box::new(state));
    }

    /// Returns a stage that is stuck. A stage that fails because the database is unavailable is not stuck.
    #[must_use]
    pub fn stuck(&self) -> Option<&'static str> {
        let stuck = |stage: &&Stage| stage.heartbeat.alive_age() > stage.limit;
        self.stages.iter().find(stuck).map(|stage| stage.name)
    }

    /// Returns whether this process should keep running, and the body of `/livez`. An unavailable database or queue is no reason for a
    /// restart: this process may hold outcomes that are not recorded yet, and a new one would send those greetings again.
    #[must_use]
    pub fn liveness(&self) -> (bool, String) {
        if !self.is_set_up.load(Ordering::Relaxed) {
            return (true, "starting".to_owned());
        }
        match self.stuck() {
            None => (true, LIVE.to_owned()),
            Some(stage) => (false, format!("stuck: {stage}")),
        }
    }

    /// Returns what is wrong with this process as of the last checks, as sentences. Queries nothing.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.is_set_up.load(Ordering::Relaxed) {
            problems.push("This process waits for the database or the queue: see its log.".to_owned());
        } else if !self.is_queue_available.load(Ordering::Relaxed) {
            problems.push("The queue did not answer at the last check.".to_owned());
        }
        if let Some(stage) = self.stuck() {
            problems
                .push(format!("The stage {stage} of this process is stuck: restart it, and report its log."));
        }
        let breaker = self.breaker.get().map(|state| state());
        if let Some(state) = breaker.filter(|state| *state != "closed") {
            problems.push(format!(
                "The breaker is {state}: the receiver does not accept greetings. They wait, and lose no attempts."
            ));
        }
        problems
    }

    /// Sets the gauges of ages. They grow by themselves, so this precedes each scrape.
    pub fn set_age_gauges(&self) {
        for stage in &self.stages {
            if let Some(age) = stage.heartbeat.age() {
                gauge!(format!("bday_{}_age_seconds", stage.name)).set(age.as_secs_f64());
            }
        }
    }

    /// Checks the database and the pause. The check begins after the call, so its result is never out of date.
    async fn check_database(&self) -> DatabaseCheck {
        let called_at = SystemClock.monotonic();
        let mut last = self.database.lock().await;
        if let Some(check) = last.filter(|check| check.began_at >= called_at) {
            return check;
        }
        let began_at = SystemClock.monotonic();
        let is_available = self.store.ping(PING_DEADLINE).await.is_ok();
        let pause = async { tokio::time::timeout(PING_DEADLINE, self.store.pause()).await.ok()?.ok() };
        let pause = if is_available { pause.await } else { None };
        let is_paused = pause.as_ref().map(Option::is_some);
        let paused_since = pause.flatten().map(|pause| pause.since);
        *last.insert(DatabaseCheck { began_at, is_available, is_paused, paused_since })
    }
}

#[derive(Debug, Clone, Copy)]
struct DatabaseCheck {
    began_at: Instant,
    is_available: bool,
    /// `None` if unknown.
    is_paused: Option<bool>,
    paused_since: Option<DateTime<Utc>>,
}

pub(super) fn livez(health: &Health) -> (StatusCode, String) {
    let (is_live, body) = health.liveness();
    let status = if is_live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{body}\n"))
}

/// Responds 200 if each stage makes progress and all that it needs is available, else 503, with the details of each check. Errors of the
/// database are only logged, since they name hosts and roles.
pub(super) async fn readyz(health: Arc<Health>) -> impl IntoResponse {
    let is_set_up = health.is_set_up.load(Ordering::Relaxed);
    let is_queue_available = health.is_queue_available.load(Ordering::Relaxed);
    let database = health.check_database().await;
    let detail = |holds, yes, no| json!(if holds { yes } else { no });
    let sending = json!({
        "paused": database.is_paused,
        "since": database.paused_since,
        "breaker": health.breaker.get().map(|state| state()),
    });
    let mut checks = vec![
        ("setUp", is_set_up, detail(is_set_up, "done", "waiting for the database or the queue")),
        (
            "database",
            database.is_available,
            detail(database.is_available, "available", "unavailable; see the log"),
        ),
        // Neither a pause nor an open breaker makes this process unready.
        ("sending", true, sending),
        (
            "queue",
            is_queue_available,
            detail(is_queue_available, "available", "unavailable at the last check"),
        ),
    ];
    for Stage { name, heartbeat, limit } in &health.stages {
        let age = heartbeat.age();
        let detail = json!({ "ageSecs": age.map(|age| age.as_secs()), "limitSecs": limit.as_secs() });
        checks.push((name, age.is_some_and(|age| age < *limit), detail));
    }
    let is_ready = checks.iter().all(|(_, holds, _)| *holds);
    let checks = checks
        .into_iter()
        .map(|(name, holds, detail)| (name.to_owned(), json!({ "ok": holds, "detail": detail })));
    let checks = Value::Object(checks.collect::<Map<_, _>>());
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": is_ready, "checks": checks })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stopwatch;
    use crate::store::StoreOptions;

    const DEFAULT: HealthDeadlines = HealthDeadlines {
        poll: Duration::from_secs(20),
        request: Duration::from_secs(10),
        statement: Duration::from_secs(30),
    };

    fn unconnected_store() -> Store {
        Store::without_login(&StoreOptions {
            max_connections: 1,
            acquire_timeout: Duration::from_secs(1),
            kept_connections: 0,
            statement_timeout: Duration::from_secs(1),
        })
    }

    #[test]
    fn a_stage_that_waits_as_long_as_configured_is_not_stuck() {
        let secs = Duration::from_secs;
        assert_eq!((DEFAULT.tick(), DEFAULT.receive()), (secs(150), secs(75)));
        let slow_receiver = HealthDeadlines { request: secs(120), ..DEFAULT };
        assert_eq!((slow_receiver.tick(), slow_receiver.receive()), (secs(150), secs(160)));
        let slow_database = HealthDeadlines { statement: secs(300), ..DEFAULT };
        assert_eq!((slow_database.tick(), slow_database.receive()), (secs(365), secs(345)));
    }

    #[tokio::test]
    async fn a_process_waiting_for_its_database_is_live_and_a_stuck_one_is_not() {
        let clock = Arc::new(Stopwatch::default());
        let receive = Heartbeat::new(Arc::clone(&clock) as crate::clock::SharedClock);
        let health = Health::new(
            unconnected_store(),
            Heartbeats { receive: Some(receive.clone()), ..Heartbeats::default() },
            DEFAULT,
        );
        let liveness = || health.liveness();
        clock.pass(Duration::from_hours(1));
        assert_eq!(liveness(), (true, "starting".to_owned()));
        health.set_up();
        assert_eq!(liveness(), (true, LIVE.to_owned()));
        clock.pass(Duration::from_mins(2));
        assert_eq!(liveness(), (false, "stuck: receive".to_owned()));
        receive.alive();
        assert_eq!(liveness(), (true, LIVE.to_owned()));
    }

    #[tokio::test]
    async fn a_stage_that_runs_without_success_is_not_stuck_and_one_that_hangs_is() {
        let clock = Arc::new(Stopwatch::default());
        let pass = |secs| clock.pass(Duration::from_secs(secs));
        let heartbeat = || Heartbeat::new(Arc::clone(&clock) as crate::clock::SharedClock);
        let (tick, receive) = (heartbeat(), heartbeat());
        let health = Health::new(
            unconnected_store(),
            Heartbeats { scheduler: Some((tick.clone(), tick.clone())), receive: Some(receive.clone()) },
            DEFAULT,
        );
        for _ in 0..10 {
            pass(50);
            tick.alive();
            receive.progress();
            assert_eq!(health.stuck(), None);
        }
        assert_eq!(tick.age(), None);
        pass(76);
        assert_eq!(health.stuck(), Some("receive"));
        receive.alive();
        assert_eq!(health.stuck(), None);
        pass(75);
        receive.alive();
        assert_eq!(health.stuck(), Some("tick"));
    }
}
