//! What nobody else would close: each case ends in a state, and a counter says how many.

use std::time::Duration;

use bday::dead_letters::Redrive;
use bday::model::EventState::{Dead, Delivered, Queued};
use bday::pipeline::queue::Queue as _;
use bday::store::{LeaseRequest, UserKey};
use chrono::{DateTime, TimeDelta, Utc};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant, person};

const NINE: &str = "2026-05-02T09:00:00Z";
/// Two hours and a moment later: `scheduler.lost_after_secs` is over.
const LATER: &str = "2026-05-02T11:00:31Z";

fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

fn swept(metrics: &PrometheusHandle, outcome: &str) -> u64 {
    let line = format!("bday_swept_total{{outcome=\"{outcome}\"}} ");
    let text = metrics.render();
    text.lines()
        .find_map(|found| found.strip_prefix(&line)?.parse().ok())
        .unwrap_or(0)
}

/// `n` people are due at nine, and their messages are on the queue.
async fn queued(n: usize) -> World {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let people: Vec<_> = (0..n)
        .map(|n| (UserKey::External, person(&format!("u{n}"), "1990-05-02", "UTC")))
        .collect();
    let now = instant("2026-05-02T00:00:00Z");
    let schedule = world.config.schedule();
    world.store.write_users(&schedule, now, &people).await.unwrap();
    world.tick().await;
    world.set(NINE);
    assert_eq!(world.tick().await.enqueued, n as u64);
    world
}

async fn event(world: &World) -> Uuid {
    sqlx::query_scalar("SELECT id FROM events")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap()
}

/// As a purge, or the end of the retention.
async fn lose_all_messages(world: &World) {
    loop {
        let received = world.queue.receive(100, Duration::ZERO).await.unwrap();
        if received.is_empty() {
            return;
        }
        let receipts: Vec<_> = received.into_iter().map(|message| message.receipt).collect();
        world.queue.ack(&receipts).await.unwrap();
    }
}

/// A worker that leases the event at `now`, and is never heard of again.
async fn lease(world: &World, event: Uuid, now: DateTime<Utc>) {
    let request = LeaseRequest {
        holder: Uuid::now_v7(),
        now,
        until: now + TimeDelta::seconds(30),
        late_before: now - TimeDelta::days(2),
    };
    let (leases, _) = world.store.lease(request, &[event]).await.unwrap();
    assert_eq!(leases.len(), 1);
}

#[tokio::test]
async fn a_purged_queue_is_filled_again_however_much_was_in_it() {
    let (recorder, metrics) = recorder();
    let guard = metrics::set_default_local_recorder(&recorder);
    let world = queued(2100).await;
    lose_all_messages(&world).await;
    world.set(LATER);
    assert_eq!(world.tick().await.enqueued, 2100);
    assert_eq!(swept(&metrics, "requeued"), 2100);
    assert_eq!(world.count(Queued).await, 2100);
    drop(guard);
}

#[tokio::test]
async fn a_message_whose_retention_ended_between_two_attempts_goes_again() {
    let (recorder, metrics) = recorder();
    let guard = metrics::set_default_local_recorder(&recorder);
    let world = queued(1).await;
    world.receiver.next([Behaviour::Status(500)]);
    world.pool().run_once().await.unwrap();
    assert_eq!(world.count(Queued).await, 1);
    world.set("2026-05-02T09:01:00Z");
    lose_all_messages(&world).await;
    world.set(LATER);
    world.tick().await;
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
    assert_eq!(swept(&metrics, "requeued"), 1);
    let records = world.receiver.records();
    assert_eq!(records[0].event_id, records[1].event_id);
    drop(guard);
}

#[tokio::test]
async fn a_lease_that_ran_out_with_its_message_gone_goes_again() {
    let (recorder, metrics) = recorder();
    let guard = metrics::set_default_local_recorder(&recorder);
    let world = queued(1).await;
    lose_all_messages(&world).await;
    let event = event(&world).await;
    lease(&world, event, instant(NINE)).await;
    world.set(LATER);
    world.tick().await;
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
    assert_eq!(swept(&metrics, "requeued"), 1);
    let attempts = world.store.attempts(event).await.unwrap();
    let outcomes: Vec<_> = attempts.into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, ["unknown", "delivered"]);
    drop(guard);
}

#[tokio::test]
async fn a_worker_that_dies_in_the_last_receive_leaves_a_dead_event_and_a_dead_letter() {
    let (recorder, metrics) = recorder();
    let guard = metrics::set_default_local_recorder(&recorder);
    let world = queued(1).await;
    let event = event(&world).await;
    let mut now = instant(NINE);
    for _ in 0..5 {
        assert_eq!(world.queue.receive(1, Duration::ZERO).await.unwrap().len(), 1);
        lease(&world, event, now).await;
        now += TimeDelta::seconds(31);
        world.clock.set(now);
    }
    // Not yet: the message might be on its way.
    world.tick().await;
    assert_eq!(world.count(Dead).await, 0);
    world.set("2026-05-02T09:05:00Z");
    world.minute().await;
    world.minute().await;
    let found = world.store.event(event).await.unwrap().unwrap();
    assert_eq!(
        (found.state, found.reason.as_deref()),
        (Dead, Some("worker_lost"))
    );
    assert_eq!(swept(&metrics, "dead"), 1);
    assert_eq!(world.queue.depth().await.unwrap().dead_letters, 1);
    let (strays, _) = world.dead_letters().strays(10).await.unwrap();
    assert!(strays.is_empty(), "the message stands for the dead event");
    assert_eq!(world.greetings(), 0);
    drop(guard);
}

#[tokio::test]
async fn a_dead_letter_of_an_event_that_the_sweeper_will_find_dead_is_not_taken_away() {
    let world = queued(1).await;
    let event = event(&world).await;
    let mut now = instant(NINE);
    for _ in 0..5 {
        let received = world.queue.receive(1, Duration::ZERO).await.unwrap();
        lease(&world, event, now).await;
        now += TimeDelta::seconds(31);
        world.clock.set(now);
        assert_eq!(received.len(), 1);
    }
    assert!(world.queue.receive(1, Duration::ZERO).await.unwrap().is_empty());
    let (report, result) = world.dead_letters().redrive(&Redrive::default(), |_| {}).await;
    result.unwrap();
    assert_eq!((report.messages_deleted, report.messages_kept), (0, 1));
}

#[tokio::test]
async fn a_worker_that_died_in_its_last_attempt_leaves_a_dead_event() {
    let world = World::with("2026-05-01T00:00:00Z", &[("queue.max_receives", "1")]).await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let dying = event(&world).await;
    let now = instant("2026-05-02T09:00:00Z");
    let until = now + TimeDelta::seconds(30);
    let request = LeaseRequest {
        holder: Uuid::now_v7(),
        now,
        until,
        late_before: now - TimeDelta::days(2),
    };
    world.queue.receive(1, Duration::ZERO).await.unwrap();
    world.store.lease(request, &[dying]).await.unwrap();
    world.set("2026-05-02T09:02:00Z");
    // The sweeper waits until no message is there that could be this one's: the queue buries it with the next receive.
    world.minute().await;
    world.minute().await;
    let found = world.store.event(dying).await.unwrap().unwrap();
    assert_eq!(
        (found.state, found.reason.as_deref()),
        (Dead, Some("worker_lost"))
    );
    assert_eq!(world.store.attempts(dying).await.unwrap()[0].outcome, "unknown");
    assert_eq!(world.greetings(), 0);
}

#[tokio::test]
async fn an_event_whose_message_vanished_goes_to_the_queue_again() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    lose_all_messages(&world).await;
    world.set("2026-05-02T11:00:01Z");
    world.minute().await;
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn what_a_tick_puts_on_the_queue_itself_does_not_keep_it_from_sweeping() {
    let world = queued(1).await;
    let lost = event(&world).await;
    lose_all_messages(&world).await;
    world.write("later", "1990-05-02", "Etc/GMT+2").await;
    // Both are due now: the new one, and the one whose message is lost.
    world.set(LATER);
    assert_eq!(world.tick().await.enqueued, 2);
    assert_eq!(world.store.event(lost).await.unwrap().unwrap().state, Queued);
    world.pool().run_once().await.unwrap();
    assert_eq!(world.greetings(), 2);
}
