//! The daemon with PostgreSQL, SQS over HTTP, a receiver on a socket, and the system clock.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use bday::model::EventState::{self, Dead, Delivered, Queued};
use chrono::{DateTime, NaiveDate, TimeDelta, Timelike as _, Utc};
use serde_json::Value;

use crate::support::database::Database;
use crate::support::process::{Bday, Running};
use crate::support::receiver::{Behaviour, Receiver};
use crate::support::sqs::Sqs;
use crate::support::wait::eventually;

pub(crate) const QUEUE: &str = "bday-messages";

/// A database, an SQS endpoint and a receiver for a daemon.
pub(crate) struct Place {
    pub(crate) database: Database,
    pub(crate) sqs: Sqs,
    pub(crate) receiver: Receiver,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let (database, sqs, receiver) = tokio::join!(Database::new(), Sqs::start(), Receiver::start());
        Self { database, sqs, receiver }
    }

    pub(crate) fn bday(&self, arguments: &[&str]) -> Bday {
        Bday::new(arguments)
            .envs(self.sqs.env())
            .env("BDAY__DATABASE__URL", self.database.url())
            .env("BDAY__QUEUE__SQS__URL", self.sqs.queue_url(QUEUE))
            .env("BDAY__QUEUE__CREATE", "true")
            .env("BDAY__WEBHOOK__URL", self.receiver.url())
    }

    pub(crate) fn serve(&self) -> Running {
        self.bday(&["serve"]).start()
    }

    /// Imports `n` people whose send time was a few minutes ago, and returns their zone and date.
    pub(crate) async fn people_who_are_due(&self, n: usize) -> (String, NaiveDate) {
        self.these_people_are_due(0..n).await
    }

    /// Imports people with these numbers in their names.
    async fn these_people_are_due(&self, numbers: Range<usize>) -> (String, NaiveDate) {
        let n = numbers.len();
        let now: DateTime<Utc> = self.database.store().clock().await.unwrap();
        let people = people(numbers, now, TimeDelta::minutes(-5));
        let file = file("people.csv", people.csv.as_bytes());
        let imported = self.bday(&["user", "import", file.path(), "--json"]).finish().await;
        assert!(imported.status.success(), "{imported:?}");
        let report: Value = serde_json::from_str(&imported.stdout).unwrap();
        assert_eq!(report["created"], n);
        (people.zone, people.date)
    }

    pub(crate) async fn count(&self, state: EventState) -> i64 {
        self.database.count(state).await
    }

    /// Waits until all messages are deleted from the queue.
    pub(crate) async fn until_quiet(&self) {
        self.sqs
            .until("empty", QUEUE, |counts| counts.visible + counts.in_flight + counts.delayed == 0)
            .await;
    }

    pub(crate) fn assert_each_once(&self, n: usize) {
        let accepted = self.receiver.accepted();
        assert_eq!(accepted.len(), n);
        assert!(accepted.values().all(|times| *times == 1), "some were accepted twice");
    }
}

/// People to import, all with the same zone and date.
pub(crate) struct People {
    pub(crate) csv: String,
    pub(crate) zone: String,
    pub(crate) date: NaiveDate,
}

/// Returns people who are due in `due_in`, in a zone where it is about noon, so that tests do not depend on the time of day.
pub(crate) fn people(numbers: Range<usize>, now: DateTime<Utc>, due_in: TimeDelta) -> People {
    let ahead = 12 - i64::from(now.hour());
    let zone = match ahead {
        0 => "Etc/UTC".to_owned(),
        // These zones have the sign convention of POSIX: west is positive.
        ahead => format!("Etc/GMT{:+}", -ahead),
    };
    let local = now + TimeDelta::hours(ahead);
    let send_at = (local + due_in).format("%H:%M");
    let born = local.format("2000-%m-%d");
    let mut csv = "first_name,last_name,birth_date,time_zone,send_at\n".to_owned();
    for n in numbers {
        writeln!(csv, "John,Doe {n},{born},{zone},{send_at}").unwrap();
    }
    People { csv, zone, date: local.date_naive() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_thousand_due_users_gets_one_correct_greeting() {
    let place = Place::new().await;
    place.people_who_are_due(1000).await;
    let mut daemon = place.serve();
    place.receiver.until_accepted(1000).await;
    place.until_quiet().await;
    place.assert_each_once(1000);
    let records = place.receiver.records();
    let messages: BTreeSet<String> = records
        .iter()
        .map(|record| {
            let body: Value = serde_json::from_slice(&record.body).unwrap();
            let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["eventId", "message", "timestamp", "userId"]);
            assert_eq!(body["eventId"].as_str(), Some(record.event_id.as_str()));
            assert!(body["timestamp"].as_str().unwrap().ends_with(":00Z"));
            body["message"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected: BTreeSet<String> =
        (0..1000).map(|n| format!("Hey, John Doe {n} it's your birthday")).collect();
    assert_eq!(messages, expected);
    daemon.logged("tick").await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
    assert_eq!(place.count(Delivered).await, 1000);
    let sum = |field: &str| {
        let logs = daemon.logs().into_iter();
        let ticks = logs.filter(|line| line["message"] == "tick");
        ticks.filter_map(|line| line[field].as_u64()).sum::<u64>()
    };
    assert_eq!((sum("due"), sum("enqueued"), sum("failed")), (1000, 1000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_send_each_greeting_once_even_if_one_stops() {
    let place = Place::new().await;
    place.people_who_are_due(1000).await;
    place.receiver.script([Behaviour::slow(Duration::from_secs(1))]);
    let mut daemons = [place.serve(), place.serve(), place.serve()];
    place.receiver.until_received(150).await;
    daemons[0].terminate();
    assert!(daemons[0].exit().await.success());
    place.receiver.until_accepted(1000).await;
    place.until_quiet().await;
    for daemon in &mut daemons[1..] {
        daemon.terminate();
        assert!(daemon.exit().await.success());
    }
    place.assert_each_once(1000);
    assert_eq!(place.count(Delivered).await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_failed_attempts_create_a_dead_letter() {
    let place = Place::new().await;
    place.people_who_are_due(3).await;
    place.receiver.script([Behaviour::Status(500)]);
    let daemon = place.bday(&["serve"]).env("BDAY__RETRY__SCHEDULE_SECS", "0,0,0,0").start();
    daemon.ready().await;
    place.sqs.until("dead letters", &format!("{QUEUE}-dlq"), |counts| counts.visible == 3).await;
    place.until_quiet().await;
    assert_eq!(place.receiver.records().len(), 15);
    assert_eq!(place.count(Dead).await, 3);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_attempt_delivers_after_two_failures() {
    let place = Place::new().await;
    place.people_who_are_due(2).await;
    place.receiver.script([Behaviour::Status(500), Behaviour::Reset, Behaviour::Status(200)]);
    let daemon = place.bday(&["serve"]).env("BDAY__RETRY__SCHEDULE_SECS", "0,0,0,0").start();
    place.receiver.until_accepted(2).await;
    place.until_quiet().await;
    assert_eq!(place.receiver.records().len(), 6);
    place.assert_each_once(2);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_daemon_logs_the_error_and_is_not_ready() {
    let place = Place::new().await;
    place.people_who_are_due(1).await;
    let daemon =
        place.bday(&["serve"]).env("BDAY__DATABASE__URL", "postgres://bday:secret@127.0.0.1:1/bday").start();
    let address = daemon.address().await;
    let line = daemon.logged("not ready yet").await;
    assert!(line["error"].as_str().unwrap().contains("refused"), "{line}");
    assert!(!line.to_string().contains("secret"));
    let answer = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(reqwest::get(format!("http://{address}/livez")).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_waits_for_an_unavailable_queue() {
    let place = Place::new().await;
    place.people_who_are_due(5).await;
    place.sqs.refuse().await;
    let daemon = place.serve();
    daemon.logged("not ready yet").await;
    place.sqs.accept().await;
    daemon.ready().await;
    place.receiver.until_accepted(5).await;
    place.until_quiet().await;
    place.assert_each_once(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_can_run_in_separate_processes() {
    let place = Place::new().await;
    place.people_who_are_due(20).await;
    let scheduler = place.bday(&["serve", "--role", "scheduler"]).start();
    scheduler.ready().await;
    scheduler
        .log("a tick that sends all", |line| {
            (line["message"] == "tick" && line["enqueued"] == 20).then_some(())
        })
        .await;
    assert_eq!(place.receiver.records().len(), 0);
    let worker = place.bday(&["serve", "--role", "worker"]).start();
    worker.ready().await;
    place.receiver.until_accepted(20).await;
    place.until_quiet().await;
    place.assert_each_once(20);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_added_after_their_send_time_do_not_count_as_late() {
    let place = Place::new().await;
    place.people_who_are_due(7).await;
    let mut daemon = place.serve();
    let address = daemon.ready().await;
    place.receiver.until_accepted(7).await;
    place.until_quiet().await;
    let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    for line in [
        "bday_events_queued_total 7",
        "bday_events_delivered_total{kind=\"birthday\",channel=\"webhook\"} 7",
        // The users were due five minutes ago, but added only now.
        "bday_lateness_seconds_bucket{le=\"60\"} 7",
        "bday_lateness_seconds_count 7",
        "bday_ticks_total{outcome=\"ok\"}",
        "bday_tick_age_seconds",
        "bday_receive_age_seconds",
        "bday_queue_messages{state=\"visible\"}",
        "bday_events_waiting_oldest_age_seconds",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    daemon.terminate();
    daemon.exit().await;
    let minute = daemon.logged("deliveries").await;
    assert!(minute["lateness_max_ms"].as_u64().unwrap() < 60_000, "{minute}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_used_by_alarms_start_at_zero() {
    let place = Place::new().await;
    let daemon = place.serve();
    let address = daemon.address().await;
    let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "bday_ticks_total{outcome=\"error\"} 0",
        "bday_attempts_failed_total{reason=\"status\",channel=\"webhook\"} 0",
        "bday_attempts_failed_total{reason=\"timeout\",channel=\"webhook\"} 0",
        "bday_attempts_failed_total{reason=\"connect\",channel=\"webhook\"} 0",
        "bday_events_delivered_total{kind=\"birthday\",channel=\"webhook\"} 0",
        "bday_events_dead_total{reason=\"worker_lost\"} 0",
        "bday_events_skipped_total{reason=\"late\"} 0",
        "bday_send_failed_total 0",
        "bday_lateness_seconds_bucket{le=\"300\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_requests_in_flight_and_releases_the_rest() {
    let place = Place::new().await;
    place.people_who_are_due(300).await;
    place.receiver.script([Behaviour::slow(Duration::from_secs(1))]);
    let mut daemon = place.bday(&["serve"]).env("BDAY__WORKER__MAX_IN_FLIGHT", "100").start();
    place.receiver.until_received(50).await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
    let after = place.receiver.accepted().len();
    assert!((50..300).contains(&after), "{after}");
    assert_eq!(place.count(Delivered).await, after as i64);
    // The next process sends the rest immediately, without waiting for a lease or a visibility timeout.
    let daemon = place.serve();
    place.receiver.until_accepted(300).await;
    place.until_quiet().await;
    place.assert_each_once(300);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_immediately() {
    let place = Place::new().await;
    place.people_who_are_due(3).await;
    place.receiver.script([Behaviour::Hang]);
    let mut daemon = place.serve();
    place.receiver.until_received(3).await;
    daemon.terminate();
    daemon.logged("shutting down").await;
    // The daemon ignores signals right after the first one, so the signal is repeated.
    let repeated = async {
        loop {
            daemon.terminate();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        _ = daemon.logged("second signal: exiting immediately") => {}
        () = repeated => {}
    }
    daemon.exit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_receiver_does_not_delay_the_tick() {
    let place = Place::new().await;
    place.people_who_are_due(50).await;
    place.receiver.script([Behaviour::Hang]);
    let daemon = place
        .bday(&["serve"])
        .env("BDAY__WORKER__MAX_IN_FLIGHT", "10")
        .env("BDAY__WEBHOOK__TIMEOUT_SECS", "25")
        .start();
    place.receiver.until_received(10).await;
    // While all requests hang, the process must still plan and claim newly due events.
    place.these_people_are_due(50..100).await;
    let began = SystemClock.monotonic();
    eventually("the daemon to claim them", async || (place.count(Queued).await == 90).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(place.receiver.records().len(), 10);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_request_slots_are_used_for_odd_numbers_of_messages() {
    let place = Place::new().await;
    place.receiver.script([Behaviour::slow(Duration::from_secs(20))]);
    let mut daemon = place
        .bday(&["serve"])
        .env("BDAY__WORKER__MAX_IN_FLIGHT", "80")
        .env("BDAY__WEBHOOK__TIMEOUT_SECS", "25")
        .start();
    daemon.ready().await;
    // After receives of ten messages each, nine of 79 messages are left.
    for people in [0..1, 1..80] {
        let all = people.end as u64;
        place.these_people_are_due(people).await;
        let tick = place.bday(&["tick"]).finish().await;
        assert!(tick.status.success(), "{tick:?}");
        place.receiver.until_received(all).await;
    }
    assert_eq!(place.receiver.accepted().len(), 0, "the last request waited for the first");
    daemon.kill();
    daemon.exit().await;
}

/// A file that is deleted on drop.
pub(crate) struct File(std::path::PathBuf);

impl File {
    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

pub(crate) fn file(name: &str, content: &[u8]) -> File {
    let dir = std::env::temp_dir().join(format!("bday-test-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    File(path)
}
