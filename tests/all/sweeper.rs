//! Lost packs are sent again, and expired rows are deleted.

use bday::model::EventState::{Delivered, Pending, Queued};
use bday::pipeline::queue::Queue;
use bday::pipeline::queue::sqs::{SqsOptions, SqsQueue};
use bday::store::UserKey;
use chrono::TimeDelta;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use crate::support::sqs::Sqs;
use crate::support::world::{World, instant, person};

const NINE: &str = "2026-05-02T09:00:00Z";

/// Returns a world with `n` users due at nine, whose packs are on an SQS queue.
async fn queued(n: usize) -> (World, Sqs) {
    let (mut world, sqs) = tokio::join!(World::at("2026-05-02T00:00:00Z"), Sqs::start());
    let options = SqsOptions {
        url: sqs.queue_url("greetings"),
        dead_letter_url: String::new(),
        visibility: Duration::from_secs(30),
    };
    world.queue = Arc::new(SqsQueue::new(sqs.client(), options)) as Arc<dyn Queue>;
    world.queue.create().await.unwrap();
    let people: Vec<_> =
        (0..n).map(|n| (UserKey::ExternalId, person(&format!("u{n}"), "1990-05-02", "UTC"))).collect();
    let schedule = world.config.schedule();
    let now = instant("2026-05-02T00:00:00Z");
    world.store.save_users(&schedule, now, &people).await.unwrap();
    world.tick().await;
    world.set(NINE);
    assert_eq!(world.tick().await.enqueued, n as u64);
    (world, sqs)
}

/// Simulates a purge, or messages past their retention.
async fn lose_all_messages(world: &World) {
    loop {
        let received = world.queue.receive(10, Duration::ZERO).await.unwrap();
        if received.is_empty() {
            return;
        }
        let receipts: Vec<_> = received.into_iter().map(|message| message.receipt).collect();
        world.queue.ack(&receipts).await.unwrap();
    }
}

#[tokio::test]
async fn packs_of_a_purged_queue_are_sent_again() {
    let (world, _sqs) = queued(700).await;
    lose_all_messages(&world).await;
    world.set("2026-05-02T09:01:59Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Queued).await), (0, 700));
    world.set("2026-05-02T09:02:01Z");
    assert_eq!(world.tick().await.enqueued, 700);
    world.pool().run_once().await.unwrap();
    assert_eq!(world.greetings(), 700);
}

#[tokio::test]
async fn packs_in_a_busy_queue_are_sent_again_only_after_two_hours() {
    let (world, sqs) = queued(100).await;
    let waiting = sqs.counts("greetings").visible;
    world.set("2026-05-02T09:10:00Z");
    assert_eq!(world.tick().await.enqueued, 0);
    assert_eq!(sqs.counts("greetings").visible, waiting);
    // After two hours a second copy is sent in any case. The workers drop duplicates.
    world.set("2026-05-02T11:00:01Z");
    assert_eq!(world.tick().await.enqueued, 100);
    world.pool().run_once().await.unwrap();
    assert_eq!(world.greetings(), 100);
}

#[tokio::test]
async fn packs_left_unsent_by_a_crash_are_sent_by_another_process() {
    let (world, sqs) = queued(40).await;
    world.pool().run_once().await.unwrap();
    let packs = async |statement| {
        sqlx::query(statement).execute(&world.database.pool().await).await.unwrap().rows_affected()
    };
    for n in 0..40 {
        world.write(&format!("v{n}"), "1990-05-02", "UTC").await;
    }
    sqs.refuse().await;
    world.clock.advance(TimeDelta::seconds(1));
    let (_, result) = world.scheduler().run_once(instant("2026-05-02T09:00:01Z")).await;
    result.unwrap_err();
    assert_eq!(world.count(Queued).await, 40);
    // The state after a crash of the sender before it released the packs.
    let taken = packs("UPDATE outbox SET available_at = '2026-05-02T09:00:16Z'").await;
    assert!(taken > 0);
    sqs.accept().await;
    world.set("2026-05-02T09:00:15Z");
    assert_eq!(world.tick().await.enqueued, 0, "the other process may still be sending");
    world.set("2026-05-02T09:00:16Z");
    assert_eq!(world.tick().await.enqueued, 40);
    world.pool().run_once().await.unwrap();
    assert_eq!((world.greetings(), world.count(Delivered).await), (80, 80));
}

#[tokio::test]
async fn finished_events_are_deleted_after_their_retention() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let (old, recent) =
        (world.write("old", "1990-05-02", "UTC").await, world.write("recent", "1990-05-02", "UTC").await);
    world.set(NINE);
    world.minute().await;
    assert_eq!(world.count(Delivered).await, 2);
    world.write("later", "1990-05-03", "UTC").await;
    let pool = world.database.pool().await;
    let (old, recent) = (world.event_of(old).await, world.event_of(recent).await);
    // The id contains the time of its creation, so an old event needs an old id.
    let ago = Uuid::from_u128(0x0180_0000_0000_7000_8000_0000_0000_0001);
    for statement in [
        "UPDATE events SET id = $2, finished_at = '2024-02-20T09:00:00Z' WHERE id = $1",
        "INSERT INTO attempts (event_id, number, outcome, reason) SELECT $2, 1, 'failed', 'status' WHERE $1 IS NOT NULL",
    ] {
        sqlx::query(statement).bind(old).bind(ago).execute(&pool).await.unwrap();
    }
    let before = instant("2024-02-22T09:00:00Z");
    assert_eq!(world.store.forget_events(before, 100).await.unwrap(), 1);
    assert_eq!(world.store.forget_events(before, 100).await.unwrap(), 0);
    assert!(world.store.event(ago).await.unwrap().is_none());
    assert!(world.store.attempts(ago).await.unwrap().is_empty());
    assert!(world.store.event(recent).await.unwrap().is_some());
    assert_eq!(world.count(Pending).await, 1);
}
