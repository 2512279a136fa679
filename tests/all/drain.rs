//! Shutdowns and outages of the daemon under load.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::heartbeat::Heartbeat;
use bday::clock::{Clock as _, SharedClock, Stopwatch, SystemClock};
use bday::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use bday::model::EventState::{Dead, Delivered, Queued};
use bday::store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::serve::{Place, QUEUE};
use crate::support::receiver::{Behaviour, Record};
use crate::support::wait::eventually;
use crate::support::world::World;

/// `worker.drain_secs` of the default configuration.
const DRAIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_with_1000_requests_in_flight_sends_each_once() {
    let place = Place::new().await;
    place.people_who_are_due(1000).await;
    // Long enough that the last request is sent before the first response, even on a busy machine.
    place.receiver.script([Behaviour::slow(Duration::from_secs(4))]);
    let mut daemon = place.bday(&["serve"]).env("BDAY__WORKER__MAX_IN_FLIGHT", "1000").start();
    place.receiver.until_received(1000).await;
    let answered = place.receiver.accepted().len();
    let stopped_at = SystemClock.monotonic();
    daemon.terminate();
    assert!(daemon.exit().await.success());
    let took = stopped_at.elapsed();
    println!("{} in flight at the stop, which took {took:.2?}", 1000 - answered);
    assert!(took < DRAIN, "{took:?}");
    place.assert_each_once(1000);
    assert_eq!(place.count(Delivered).await, 1000);
    // All messages are acknowledged.
    let counts = place.sqs.counts(QUEUE);
    assert_eq!((counts.visible, counts.in_flight), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_during_a_shutdown_is_visible_to_the_next_process() {
    let place = Place::new().await;
    place.people_who_are_due(1).await;
    let mut daemon = place.bday(&["serve"]).start();
    place.receiver.until_accepted(1).await;
    place.until_quiet().await;
    // The daemon is in a long poll.
    daemon.terminate();
    let event = &place.receiver.records()[0].event_id;
    let body = format!(r#"{{"v":1,"events":["{event}"]}}"#);
    let send = place.sqs.client().send_message().queue_url(place.sqs.queue_url(QUEUE));
    send.message_body(body).send().await.unwrap();
    assert!(daemon.exit().await.success());
    let counts = place.sqs.counts(QUEUE);
    // Even if the daemon received the message, it is visible to the next process.
    assert_eq!(counts.in_flight, 0);
    assert_eq!(place.receiver.records().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_after_the_queue_was_unavailable_for_two_ticks() {
    let place = Place::new().await;
    place.people_who_are_due(250).await;
    place.sqs.refuse().await;
    for _ in 0..2 {
        let tick = place.bday(&["tick"]).env("BDAY__QUEUE__CREATE", "false").finish().await;
        assert!(!tick.status.success());
        // The events are claimed and in the outbox.
        assert_eq!(place.count(Queued).await, 250);
    }
    place.sqs.accept().await;
    let daemon = place.bday(&["serve"]).start();
    place.receiver.until_accepted(250).await;
    place.until_quiet().await;
    place.assert_each_once(250);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_outage_uses_up_no_receives() {
    let place = Place::new().await;
    let server = EmbeddedPostgres::start(PostgresOptions::throwaway()).await.unwrap();
    let bday = |arguments: &[&str]| {
        place
            .bday(arguments)
            .env("BDAY__DATABASE__URL", server.url())
            .env("BDAY__QUEUE__VISIBILITY_SECS", "6")
            .env("BDAY__WEBHOOK__TIMEOUT_SECS", "1")
            .env("BDAY__WEBHOOK__CONNECT_TIMEOUT_SECS", "1")
            .env("BDAY__DATABASE__STATEMENT_TIMEOUT_SECS", "1")
            .env("BDAY__DATABASE__ACQUIRE_TIMEOUT_SECS", "1")
    };
    let daemon = bday(&["serve"]).start();
    daemon.ready().await;
    server.freeze().unwrap();
    // The events of this message cannot be leased until the database responds.
    let body = r#"{"v":1,"events":["0197d5a0-0000-7000-8000-000000000000"]}"#;
    let send = place.sqs.client().send_message().queue_url(place.sqs.queue_url(QUEUE));
    send.message_body(body).send().await.unwrap();
    daemon.logged("leasing stopped: the database does not answer").await;
    // The message must not be received, although it becomes visible several times.
    for _ in 0..10 {
        place.sqs.skip(Duration::from_secs(6));
    }
    server.thaw().unwrap();
    place.until_quiet().await;
    let metrics = format!("http://{}/metrics", daemon.address().await);
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let received =
        metrics.lines().find_map(|line| line.strip_prefix("bday_messages_received_total ")).unwrap();
    // One receive before the lease failed, one by the poll in progress at that time, and one after the outage.
    assert!(received.parse::<u32>().unwrap() <= 3, "{received}");
    assert_eq!(place.sqs.counts(&format!("{QUEUE}-dlq")).visible, 0);
}

/// If the watchdog ended the process, all unrecorded deliveries would be repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_the_database_keeps_its_heartbeat() {
    let mut world = World::with("2026-05-02T09:00:00Z", &[("worker.max_in_flight", "4")]).await;
    let second = Duration::from_secs(1);
    let options = bday::store::StoreOptions {
        max_connections: 4,
        acquire_timeout: second,
        kept_connections: 0,
        statement_timeout: second,
    };
    world.store = Store::new("postgres://bday@127.0.0.1:1/bday", &options).unwrap();
    let watch = Arc::new(Stopwatch::default());
    let heartbeat = Heartbeat::new(Arc::clone(&watch) as SharedClock);
    let (pool, soft) = (world.pool_with(heartbeat.clone()), CancellationToken::new());
    let mut running = JoinSet::new();
    let until = soft.clone();
    running.spawn(async move { pool.run(until, CancellationToken::new()).await });
    for _ in 0..3 {
        watch.pass(Duration::from_mins(2));
        eventually("the heartbeat", async || (heartbeat.alive_age() < Duration::from_mins(1)).then_some(()))
            .await;
    }
    soft.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}

/// Simulates an outage of half an hour in a hundredth of the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_outage_kills_no_event_and_sending_ramps_up() {
    const DUE: u64 = 2_000;
    let place = Place::new().await;
    place.people_who_are_due(DUE as usize).await;
    place.receiver.script([Behaviour::Status(503)]);
    let daemon = place
        .bday(&["serve"])
        .env("BDAY__RETRY__SCHEDULE_SECS", "0,1,6,18")
        .env("BDAY__BREAKER__AFTER_SECS", "1")
        .start();
    let logs = async |what: &str| {
        let wanted = what.to_owned();
        let line = daemon.log(what, move |line| {
            line["message"].as_str().is_some_and(|text| text.starts_with(&wanted)).then_some(())
        });
        line.await;
    };
    logs("breaker opened").await;
    // The requests in flight have ended; from now on the breaker only sends probes, at growing intervals.
    logs("breaker stays open").await;
    let (before, outage) = (place.receiver.records().len(), SystemClock.monotonic());
    place.receiver.until_received(before as u64 + 1).await;
    let probes = place.receiver.records().len() - before;
    assert!(probes <= 3, "{probes} requests in {:.1?} of an outage", outage.elapsed());
    place.receiver.script([]);
    let back = SystemClock.monotonic();
    for accepted in (DUE / 10..=DUE).step_by(DUE as usize / 10) {
        place.receiver.until_accepted(accepted).await;
    }
    println!(
        "{before} requests failed before the probes; all were delivered {:.1?} after the end",
        back.elapsed()
    );
    place.until_quiet().await;
    place.assert_each_once(DUE as usize);
    assert_eq!((place.count(Dead).await, place.count(Delivered).await), (0, DUE as i64));
    // Only attempts in flight when the breaker became suspect fail, and a few more.
    assert!(before <= 20 + 256 + 10, "{before} requests failed before the breaker opened");
    logs("breaker ramping up").await;
    logs("breaker closed").await;
    // Each success admits two more requests, so few of the first requests after the outage are concurrent.
    let records = place.receiver.records();
    let first = records.iter().position(|record| record.accepted).unwrap();
    let mut most = 0;
    for (n, record) in records[first..].iter().enumerate().take(200) {
        let before = |other: &&Record| other.accepted_at.is_some_and(|at| at <= record.at);
        let answered = records[first..].iter().take(n).filter(before).count();
        most = most.max(n + 1 - answered);
        assert!(n < 1 + 2 * answered, "request {n} after {answered} answers");
    }
    println!("at most {most} in flight in the first 200 requests of the ramp");
}
