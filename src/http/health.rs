//! Whether this process does its work: not only that it answers, but that its stages make progress.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use metrics::gauge;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::clock::heartbeat::Heartbeat;
use crate::clock::{Clock as _, SystemClock};
use crate::pipeline::worker::WorkerPool;
use crate::store::{STATEMENT_GRACE, Store};

/// A ticker that made no progress for this long is stuck: two ticks were missed.
const TICK_LIMIT: Duration = Duration::from_secs(150);
/// Or for this long after a statement has used up its time.
const TICK_GRACE: Duration = Duration::from_mins(1);
/// Beyond the longest that a worker waits for one thing.
const RECEIVE_GRACE: Duration = Duration::from_secs(40);
/// What `/livez` says of a process that was set up and is not stuck.
pub const LIVE: &str = "ok";
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// How long a stage that is not stuck may wait for one thing, as configured.
#[derive(Debug, Clone, Copy, Default)]
pub struct HealthDeadlines {
    /// The longest poll of the queue.
    pub poll: Duration,
    /// The longest request to the receiver: all places may be taken by such.
    pub request: Duration,
    /// The longest statement.
    pub statement: Duration,
}

impl HealthDeadlines {
    fn statement(self) -> Duration {
        self.statement.saturating_add(STATEMENT_GRACE)
    }

    /// A ticker that did not go round for longer is stuck.
    fn tick(self) -> Duration {
        self.statement().saturating_add(TICK_GRACE).max(TICK_LIMIT)
    }

    /// Workers that did not go round for longer are stuck.
    fn receive(self) -> Duration {
        self.poll.max(self.request).max(self.statement()).saturating_add(RECEIVE_GRACE)
    }
}

/// A stage of this process.
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
    /// The scheduler's passes, and its planner.
    pub scheduler: Option<(Heartbeat, Heartbeat)>,
    /// The workers.
    pub receive: Option<Heartbeat>,
}

/// What `/readyz` looks at.
#[derive(Debug)]
pub struct Health {
    store: Store,
    /// Migrated, queue there, clock compared: the stages may run.
    set_up: AtomicBool,
    queue: AtomicBool,
    stages: Vec<Stage>,
    workers: OnceLock<WorkerPool>,
    /// The last answer of the database. One request at a time asks, and those that wait meanwhile share the next answer.
    database: Mutex<Option<Asked>>,
}

impl Health {
    /// For a process with these stages.
    #[must_use]
    pub fn new(store: Store, heartbeats: Heartbeats, patience: HealthDeadlines) -> Self {
        let mut stages = Vec::new();
        let mut add = |name, heartbeat, limit| stages.push(Stage { name, heartbeat, limit });
        if let Some((tick, plan)) = heartbeats.scheduler {
            add("tick", tick, patience.tick());
            add("plan", plan, patience.tick());
        }
        if let Some(receive) = heartbeats.receive {
            add("receive", receive, patience.receive());
        }
        Self {
            store,
            set_up: AtomicBool::new(false),
            queue: AtomicBool::new(false),
            stages,
            workers: OnceLock::new(),
            database: Mutex::default(),
        }
    }

    /// Notes that the stages may run.
    pub fn set_up(&self) {
        // They begin now, however long the database was waited for.
        for stage in &self.stages {
            stage.heartbeat.alive();
        }
        self.set_up.store(true, Ordering::Relaxed);
    }

    /// Notes whether the queue answered when it was asked last.
    pub fn queue_answers(&self, answers: bool) {
        self.queue.store(answers, Ordering::Relaxed);
    }

    /// Notes whose breaker is to be told.
    pub fn workers(&self, workers: WorkerPool) {
        // There is one pool a process.
        let _ = self.workers.set(workers);
    }

    /// The stage that has not gone round for too long, if there is one. Success is not asked for: a stage that waits
    /// for a database that is unavailable is not stuck.
    #[must_use]
    pub fn stuck(&self) -> Option<&'static str> {
        let stuck = |stage: &&Stage| stage.heartbeat.alive_age() > stage.limit;
        self.stages.iter().find(stuck).map(|stage| stage.name)
    }

    /// Returns the stage that is stuck; then `/livez` fails, and the process is to be restarted. An unavailable database or queue
    /// is no reason for a restart: this process may hold outcomes that are not recorded yet, and a new one would send those
    /// greetings again.
    #[must_use]
    pub fn live(&self) -> (bool, String) {
        if !self.set_up.load(Ordering::Relaxed) {
            return (true, "starting".to_owned());
        }
        match self.stuck() {
            None => (true, LIVE.to_owned()),
            Some(stage) => (false, format!("stuck: {stage}")),
        }
    }

    /// Gauges that grow by themselves are set when somebody looks.
    pub fn set_age_gauges(&self) {
        for stage in &self.stages {
            if let Some(age) = stage.heartbeat.age() {
                gauge!(format!("bday_{}_age_seconds", stage.name)).set(age.as_secs_f64());
            }
        }
    }
}

/// 200 as long as nothing is gained by ending this process, else 503; with a word on it.
pub(super) fn livez(health: &Health) -> (StatusCode, String) {
    let (live, word) = health.live();
    let status = if live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{word}\n"))
}

/// 200 when everything that this process needs and does is well, else 503; either way with the details. Errors of the
/// database, which name hosts and roles, are in the log only.
pub(super) async fn readyz(health: Arc<Health>) -> impl IntoResponse {
    let mut checks = Map::new();
    let mut ready = true;
    let mut note = |name: &str, holds: bool, detail: Value| {
        ready &= holds;
        checks.insert(name.to_owned(), json!({ "ok": holds, "detail": detail }));
    };
    let set_up = health.set_up.load(Ordering::Relaxed);
    note("setUp", set_up, json!(if set_up { "done" } else { "waiting for the database or the queue" }));
    let (answers, sending) = ask_database(&health).await;
    note("database", answers, json!(if answers { "answers" } else { "does not answer: see the log" }));
    // Neither a pause nor an open breaker makes this process unfit.
    note("sending", true, sending);
    let queue = health.queue.load(Ordering::Relaxed);
    note("queue", queue, json!(if queue { "answers" } else { "did not answer when last asked" }));
    for stage in &health.stages {
        let age = stage.heartbeat.age();
        let alive = age.is_some_and(|age| age < stage.limit);
        let detail = json!({ "ageSecs": age.map(|age| age.as_secs()), "limitSecs": stage.limit.as_secs() });
        note(stage.name, alive, detail);
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "checks": checks })))
}

/// What the database answered.
#[derive(Debug)]
struct Asked {
    begun_at: Instant,
    answers: bool,
    sending: Value,
}

/// Whether the database answers, and whether greetings go out. Begun after the call, so never out of date.
async fn ask_database(health: &Health) -> (bool, Value) {
    let called_at = SystemClock.monotonic();
    let mut last = health.database.lock().await;
    if let Some(asked) = last.as_ref().filter(|asked| asked.begun_at >= called_at) {
        return (asked.answers, asked.sending.clone());
    }
    let begun_at = SystemClock.monotonic();
    let answers = health.store.ping(PING_DEADLINE).await.is_ok();
    let sending = sending(health, answers).await;
    *last = Some(Asked { begun_at, answers, sending: sending.clone() });
    (answers, sending)
}

/// Whether greetings go out at the moment. What is not known is null.
async fn sending(health: &Health, database_answers: bool) -> Value {
    let pause = if database_answers {
        let pause = tokio::time::timeout(PING_DEADLINE, health.store.pause()).await;
        pause.ok().and_then(Result::ok)
    } else {
        None
    };
    json!({
        "paused": pause.as_ref().map(Option::is_some),
        "since": pause.flatten().map(|pause| pause.since),
        "breaker": health.workers.get().map(WorkerPool::breaker_state),
    })
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

    fn nowhere() -> Store {
        Store::without_login(&StoreOptions {
            max_connections: 1,
            acquire_timeout: Duration::from_secs(1),
            kept_connections: 0,
            statement_timeout: Duration::from_secs(1),
        })
    }

    #[test]
    fn whoever_waits_as_long_as_is_configured_is_not_stuck() {
        let secs = Duration::from_secs;
        assert_eq!((DEFAULT.tick(), DEFAULT.receive()), (secs(150), secs(75)));
        let slow_receiver = HealthDeadlines { request: secs(120), ..DEFAULT };
        assert_eq!((slow_receiver.tick(), slow_receiver.receive()), (secs(150), secs(160)));
        let slow_database = HealthDeadlines { statement: secs(300), ..DEFAULT };
        assert_eq!((slow_database.tick(), slow_database.receive()), (secs(365), secs(345)));
    }

    #[tokio::test]
    async fn a_process_that_waits_for_its_database_lives_and_one_that_is_stuck_does_not() {
        let clock = Arc::new(Stopwatch::default());
        let receive = Heartbeat::new(Arc::clone(&clock) as crate::clock::SharedClock);
        let health = Health::new(
            nowhere(),
            Heartbeats { receive: Some(receive.clone()), ..Heartbeats::default() },
            DEFAULT,
        );
        let said = || health.live();
        clock.pass(Duration::from_hours(1));
        assert_eq!(said(), (true, "starting".to_owned()));
        // The wait was none of the stage's.
        health.set_up();
        assert_eq!(said(), (true, LIVE.to_owned()));
        clock.pass(Duration::from_mins(2));
        assert_eq!(said(), (false, "stuck: receive".to_owned()));
        receive.alive();
        assert_eq!(said(), (true, LIVE.to_owned()));
    }

    #[tokio::test]
    async fn a_stage_that_goes_round_without_success_is_not_stuck_and_one_that_hangs_is() {
        let clock = Arc::new(Stopwatch::default());
        let pass = |secs| clock.pass(Duration::from_secs(secs));
        let heartbeat = || Heartbeat::new(Arc::clone(&clock) as crate::clock::SharedClock);
        let (tick, receive) = (heartbeat(), heartbeat());
        let health = Health::new(
            nowhere(),
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
