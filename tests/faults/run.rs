//! One run: executes the plan of a seed, and judges the result.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use bday::dev::postgres::EmbeddedPostgres;
use chrono::TimeDelta;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::course;
use super::fleet::Daemon;
use super::judge::{self, Counts};
use super::place::{self, Place};
use super::plan::Queue;
use super::plan::{DAEMONS, Plan, Scale};
use super::seed;

/// All events must end within this time after the last fault. The longest single delay is that of an event hit by two faults: a lease
/// of 15 s, plus 1 s for each receive by a daemon that lacks its kind.
const PATIENCE: Duration = Duration::from_secs(180);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    seed: u64,
    queue: Queue,
    plan: String,
    counts: Counts,
    /// A description of each broken rule.
    violations: Vec<String>,
    report: String,
    took: Duration,
    /// From the last fault until all events had ended.
    healed_in: Duration,
}

/// Runs the plan of `seed` on a separate database. Returns the server, or a new one if the run panicked.
pub(crate) async fn run(
    server: EmbeddedPostgres,
    queue: Queue,
    seed: u64,
    scale: Scale,
) -> (EmbeddedPostgres, Outcome) {
    let mut task = JoinSet::new();
    task.spawn(attempt(server, queue, seed, scale));
    match task.join_next().await.unwrap() {
        Ok(done) => done,
        Err(panic) => {
            let outcome = Outcome {
                seed,
                queue,
                plan: Plan::new(seed, queue, scale).to_string(),
                counts: Counts::default(),
                violations: vec![format!("the fault suite itself panicked: {panic}")],
                report: String::new(),
                took: Duration::ZERO,
                healed_in: Duration::ZERO,
            };
            (place::server().await, outcome)
        }
    }
}

async fn attempt(
    server: EmbeddedPostgres,
    queue: Queue,
    seed: u64,
    scale: Scale,
) -> (EmbeddedPostgres, Outcome) {
    let plan = Plan::new(seed, queue, scale);
    let place = Place::new(server, queue, seed).await;
    let mut daemons: Vec<Daemon<'_>> = (0..DAEMONS).map(|number| Daemon::start(&place, number)).collect();
    // The plan requires running daemons, so wait until all of them listen.
    for daemon in &daemons {
        daemon.ready().await;
    }
    seed::planned(&place).await;
    place.journal.begin();
    let first_due = SystemClock.now() - TimeDelta::seconds(1);
    seed::due(&place, scale.events, first_due, scale.faults).await;

    let stop = CancellationToken::new();
    let course = async {
        Box::pin(course::run(&place, &plan, &mut daemons)).await;
        place.journal.note(format!("all faults ended at {}", SystemClock.now()));
        let (from, amid_faults) = (place.journal.now(), place.receivers.sent().len());
        let stuck = until_quiet(&place).await;
        stop.cancel();
        (stuck, place.journal.now().saturating_sub(from), amid_faults as u64)
    };
    let ((stuck, healed_in, amid_faults), ()) = tokio::join!(course, course::ticks(&place, &plan, &stop));
    for daemon in &mut daemons {
        daemon.stop().await;
    }

    let mut verdict = judge::judge(&place).await;
    verdict.violations.extend(stuck);
    verdict.counts.amid_faults = amid_faults;
    let mut logs = BTreeMap::new();
    for daemon in daemons {
        verdict.violations.extend(daemon.complaints);
        logs.extend(daemon.logs);
    }
    let mut report = report(&place, &verdict.suspects, &logs);
    if !verdict.violations.is_empty() {
        let _infallible = writeln!(report, "logs of the daemons: {}", keep(&logs, queue, seed).display());
    }
    let outcome = Outcome {
        seed,
        queue,
        plan: plan.to_string(),
        counts: verdict.counts,
        violations: verdict.violations,
        report,
        took: place.journal.now(),
        healed_in,
    };
    (place.shut_down().await, outcome)
}

/// Waits until every event has ended and the queue is empty. Returns a violation after [`PATIENCE`].
async fn until_quiet(place: &Place) -> Option<String> {
    let deadline = place.journal.now() + PATIENCE;
    let mut looks = tokio::time::interval(Duration::from_millis(200));
    loop {
        looks.tick().await;
        let open = judge::open(place).await;
        let messages = place.messages();
        if let (Ok(0), 0) = (&open, messages) {
            return None;
        }
        if place.journal.now() > deadline {
            return Some(format!(
                "{} s after the last fault: open events: {open:?}, messages in the queue: {messages}",
                PATIENCE.as_secs()
            ));
        }
    }
}

/// Returns the notes of the journal, and the requests and log lines of the first five suspect events.
fn report(place: &Place, suspects: &[uuid::Uuid], logs: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = String::new();
    for (at, note) in place.journal.notes() {
        let _infallible = writeln!(text, "  {:6.2} s  {note}", at.as_secs_f64());
    }
    for event in suspects.iter().take(5) {
        let event = event.to_string();
        let _infallible = writeln!(text, "event {event}");
        for sent in place.receivers.sent().iter().filter(|sent| sent.event_id.as_ref() == Some(&event)) {
            let (at, accepted_at) = (sent.at.as_secs_f64(), sent.accepted_at);
            let (channel, sender) = (sent.channel, &sent.sender);
            let _infallible = writeln!(
                text,
                "  {at:6.2} s  request by {channel} from {sender}, accepted at {accepted_at:?}"
            );
        }
        for (name, lines) in logs {
            for line in lines.iter().filter(|line| line.contains(&event)) {
                let _infallible = writeln!(text, "  {name}: {line}");
            }
        }
    }
    text
}

/// Writes the logs to a directory that is kept after the run.
fn keep(logs: &BTreeMap<String, Vec<String>>, queue: Queue, seed: u64) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}-{seed}", queue.as_str()));
    std::fs::create_dir_all(&directory).unwrap();
    for (name, lines) in logs {
        std::fs::write(directory.join(name), lines.join("\n")).unwrap();
    }
    directory
}

impl Outcome {
    pub(crate) fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// Returns the result as one line.
    pub(crate) fn line(&self) -> String {
        let Self { seed, queue, counts, took, healed_in, .. } = self;
        let verdict = if self.holds() { "ok" } else { "BROKEN" };
        format!(
            "seed {seed} on {}: {verdict}: {counts}; {:.1} s, recovered in {:.1} s",
            queue.as_str(),
            took.as_secs_f64(),
            healed_in.as_secs_f64()
        )
    }

    /// Returns the report of the run, for debugging.
    pub(crate) fn report(&self) -> String {
        let Self { seed, queue, plan, violations, report, .. } = self;
        format!(
            "plan of seed {seed}:\n{plan}\nwhat happened:\n{report}\nbroken rules:\n  - {}\nreplay: cargo test --test \
             faults -- --queue {} --seed {seed} --verbose",
            violations.join("\n  - "),
            queue.as_str()
        )
    }
}

/// The totals of a series of runs.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    runs: u64,
    broken: Vec<u64>,
    counts: Counts,
}

impl Totals {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.counts += &outcome.counts;
        if !outcome.holds() {
            self.broken.push(outcome.seed);
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    pub(crate) fn line(&self, queue: Queue) -> String {
        let Self { runs, broken, counts } = self;
        format!("{runs} runs on {}, {} broken {broken:?}: {counts}", queue.as_str(), broken.len())
    }
}
