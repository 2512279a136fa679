//! What a crash, a lost answer or an outage leaves behind, step by step: each of these was a fault once, here or elsewhere.

use std::time::Duration;

use bday::model::AttemptOutcome;
use bday::model::EventState::{Dead, Delivered, Delivering, Pending, Queued};
use bday::pipeline::queue::Queue as _;
use bday::store::{LeaseRequest, NextStep, Outcome, SweepLimits};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::support::world::{World, instant};

const NINE: &str = "2026-05-02T09:00:00Z";

/// A world at nine, and its one event, queued.
async fn queued() -> (World, Uuid) {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set(NINE);
    world.tick().await;
    let event = sqlx::query_scalar("SELECT id FROM events")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap();
    (world, event)
}

fn after(secs: i64) -> DateTime<Utc> {
    instant(NINE) + TimeDelta::seconds(secs)
}

/// `holder` takes the lease, `secs` after nine, for 30 s. Gives the attempt.
async fn lease(world: &World, holder: u128, event: Uuid, secs: i64) -> i16 {
    let request = LeaseRequest {
        holder: Uuid::from_u128(holder),
        now: after(secs),
        until: after(secs + 30),
        late_before: after(-86_400),
    };
    let (leases, _) = world.store.lease(request, &[event]).await.unwrap();
    leases[0].attempt
}

fn delivered(event_id: Uuid, attempt: i16, secs: i64) -> Outcome {
    Outcome {
        event_id,
        attempt,
        outcome: AttemptOutcome::Delivered,
        status: Some(200),
        reason: None,
        error: None,
        response: None,
        started_at: after(secs),
        finished_at: after(secs),
        next: NextStep::Delivered,
    }
}

async fn outcomes(world: &World, event: Uuid) -> Vec<(i16, String)> {
    let attempts = world.store.attempts(event).await.unwrap();
    attempts
        .into_iter()
        .map(|attempt| (attempt.number, attempt.outcome))
        .collect()
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_changes_nothing_but_its_request_is_on_record() {
    let (world, event) = queued().await;
    lease(&world, 1, event, 0).await;
    lease(&world, 2, event, 31).await;
    let lost = world
        .store
        .record(Uuid::from_u128(1), &[delivered(event, 1, 32)])
        .await
        .unwrap();
    assert_eq!(lost.into_iter().collect::<Vec<_>>(), [(event, 1)]);
    assert_eq!(world.count(Delivering).await, 1);
    assert_eq!(outcomes(&world, event).await, [(1, "delivered".to_owned())]);
}

#[tokio::test]
async fn every_attempt_that_died_with_its_worker_is_on_record() {
    let (world, event) = queued().await;
    for (holder, secs) in [(1, 0), (2, 31), (3, 62), (4, 93)] {
        lease(&world, holder, event, secs).await;
    }
    let lost = world
        .store
        .record(Uuid::from_u128(4), &[delivered(event, 4, 94)])
        .await
        .unwrap();
    assert!(lost.is_empty());
    let unknown = |n| (n, "unknown".to_owned());
    assert_eq!(
        outcomes(&world, event).await,
        [unknown(1), unknown(2), unknown(3), (4, "delivered".to_owned())]
    );
}

#[tokio::test]
async fn two_attempts_of_one_event_can_be_recorded_together() {
    let (world, event) = queued().await;
    lease(&world, 1, event, 0).await;
    lease(&world, 1, event, 31).await;
    // As after an outage, when the outcome of the first was still waiting.
    let both = [delivered(event, 1, 1), delivered(event, 2, 32)];
    let lost = world.store.record(Uuid::from_u128(1), &both).await.unwrap();
    assert_eq!(lost.into_iter().collect::<Vec<_>>(), [(event, 1)]);
    assert_eq!(world.count(Delivered).await, 1);
    let done = |n| (n, "delivered".to_owned());
    assert_eq!(outcomes(&world, event).await, [done(1), done(2)]);
}

#[tokio::test]
async fn a_record_whose_answer_was_lost_is_no_lost_lease_when_it_is_made_again() {
    let (world, event) = queued().await;
    lease(&world, 1, event, 0).await;
    let retry = Outcome {
        outcome: AttemptOutcome::Failed,
        status: Some(500),
        reason: Some(bday::model::Reason::Status),
        next: NextStep::Retry(after(7200)),
        ..delivered(event, 1, 1)
    };
    for _ in 0..2 {
        let lost = world
            .store
            .record(Uuid::from_u128(1), std::slice::from_ref(&retry))
            .await
            .unwrap();
        assert!(lost.is_empty());
    }
    assert_eq!(world.count(Queued).await, 1);
    lease(&world, 1, event, 40).await;
    for _ in 0..2 {
        let lost = world
            .store
            .record(Uuid::from_u128(1), &[delivered(event, 2, 41)])
            .await
            .unwrap();
        assert!(lost.is_empty());
    }
    assert_eq!(world.count(Delivered).await, 1);
    // But the first attempt is over, whoever asks.
    let lost = world.store.record(Uuid::from_u128(1), &[retry]).await.unwrap();
    assert_eq!(lost.len(), 1);
}

/// As after an outage of the database: the lease ran out meanwhile, and the tick came before the record.
async fn swept(world: &World, secs: i64, max_receives: u32) {
    let limits = SweepLimits {
        now: after(secs),
        lease_before: after(secs),
        last_lease_before: after(secs),
        max_receives,
    };
    let dead = world.store.sweep_dead(limits, 10).await.unwrap();
    let lost = world.store.sweep_lost(limits, 10).await.unwrap();
    assert_eq!(dead + lost, 1);
}

#[tokio::test]
async fn what_was_delivered_is_delivered_even_if_the_sweeper_took_its_worker_for_dead() {
    for (max_receives, swept_to) in [(1, Dead), (5, Pending)] {
        let (world, event) = queued().await;
        lease(&world, 1, event, 0).await;
        swept(&world, 100, max_receives).await;
        assert_eq!(world.count(swept_to).await, 1);
        // Told twice, as when the first answer was lost.
        for _ in 0..2 {
            let outcome = [delivered(event, 1, 1)];
            let lost = world.store.record(Uuid::from_u128(1), &outcome).await.unwrap();
            assert!(lost.is_empty(), "{swept_to:?}");
        }
        let found = world.store.event(event).await.unwrap().unwrap();
        assert_eq!((found.state, found.reason), (Delivered, None));
        assert_eq!(
            outcomes(&world, event).await,
            [(1, "delivered".to_owned())],
            "{swept_to:?}"
        );
        // It is on the queue once more perhaps, and greets nobody.
        world.set("2026-05-02T09:02:00Z");
        world.minute().await;
        assert_eq!(world.greetings(), 0);
    }
}

#[tokio::test]
async fn what_was_delivered_is_delivered_even_if_its_message_was_made_again() {
    let (world, event) = queued().await;
    lease(&world, 1, event, 0).await;
    swept(&world, 100, 5).await;
    world.set("2026-05-02T09:02:00Z");
    assert_eq!(world.tick().await.enqueued, 1);
    assert_eq!(world.count(Queued).await, 1);
    let outcome = [delivered(event, 1, 1)];
    let lost = world.store.record(Uuid::from_u128(1), &outcome).await.unwrap();
    assert_eq!((lost.len(), world.count(Delivered).await), (0, 1));
    world.pool().run_once().await.unwrap();
    assert_eq!(world.greetings(), 0);
}

#[tokio::test]
async fn a_failure_that_is_told_after_the_sweep_changes_nothing() {
    for (max_receives, swept_to) in [(1, Dead), (5, Pending)] {
        let (world, event) = queued().await;
        lease(&world, 1, event, 0).await;
        swept(&world, 100, max_receives).await;
        for next in [
            NextStep::Retry(after(7200)),
            NextStep::Dead(bday::model::Reason::Status),
        ] {
            let failed = Outcome {
                outcome: AttemptOutcome::Failed,
                status: Some(500),
                reason: Some(bday::model::Reason::Status),
                next,
                ..delivered(event, 1, 1)
            };
            let lost = world.store.record(Uuid::from_u128(1), &[failed]).await.unwrap();
            assert_eq!((lost.len(), world.count(swept_to).await), (1, 1), "{next:?}");
        }
    }
}

#[tokio::test]
async fn a_delivery_that_is_told_after_the_sweep_and_the_next_lease_changes_nothing() {
    let (world, event) = queued().await;
    lease(&world, 1, event, 0).await;
    swept(&world, 100, 5).await;
    world.set("2026-05-02T09:02:00Z");
    world.tick().await;
    assert_eq!(lease(&world, 2, event, 121).await, 2);
    let outcome = [delivered(event, 1, 1)];
    let lost = world.store.record(Uuid::from_u128(1), &outcome).await.unwrap();
    assert_eq!((lost.len(), world.count(Delivering).await), (1, 1));
    // Nor once that one was swept in its turn: the number is another.
    swept(&world, 200, 5).await;
    let lost = world.store.record(Uuid::from_u128(1), &outcome).await.unwrap();
    assert_eq!((lost.len(), world.count(Pending).await), (1, 1));
}

#[tokio::test]
async fn a_heartbeat_that_comes_late_does_not_shorten_the_lease() {
    let (world, event) = queued().await;
    lease(&world, 1, event, 0).await;
    let beat = async |secs| {
        let leases = [(event, 1)];
        let lost = world
            .store
            .extend_leases(Uuid::from_u128(1), after(secs), &leases);
        lost.await.unwrap()
    };
    assert!(beat(60).await.is_empty());
    assert!(beat(40).await.is_empty());
    let request = LeaseRequest {
        holder: Uuid::from_u128(2),
        now: after(59),
        until: after(89),
        late_before: after(-86_400),
    };
    let (leases, _) = world.store.lease(request, &[event]).await.unwrap();
    assert!(leases.is_empty(), "it lasts for 60 s");
}

#[tokio::test]
async fn after_a_crash_the_next_receive_can_take_over_at_once() {
    let (world, event) = queued().await;
    // A worker that hangs in its request, and is gone.
    world.receiver.script([crate::support::receiver::Behaviour::Hang]);
    let crashed = world.pool();
    tokio::select! {
        _ = crashed.run_once() => panic!("it hangs"),
        () = world.receiver.until_received(1) => {}
    }
    world.receiver.script([]);
    // The very moment in which its message shows again.
    world.set("2026-05-02T09:00:30Z");
    world.pool().run_once().await.unwrap();
    assert_eq!(world.greetings(), 1);
    let found = outcomes(&world, event).await;
    assert_eq!(found, [(1, "unknown".to_owned()), (2, "delivered".to_owned())]);
}

#[tokio::test]
async fn the_sweeper_takes_nothing_for_dead_while_messages_wait() {
    let (world, event) = queued().await;
    for attempt in 0..5 {
        lease(&world, 1, event, attempt * 31).await;
    }
    // Its message is there and waits: a fresh one, as after a redrive.
    world.set("2026-05-02T09:10:00Z");
    world.tick().await;
    assert_eq!((world.count(Dead).await, world.count(Delivering).await), (0, 1));
    world.pool().run_once().await.unwrap();
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn what_the_sweeper_finds_ends_in_a_state_each() {
    let (world, lost) = queued().await;
    world.write("v", "1990-05-02", "UTC").await;
    world.tick().await;
    // The queue was purged: nobody will ever receive these.
    let all = world.queue.receive(10, Duration::ZERO).await.unwrap();
    let receipts: Vec<_> = all.into_iter().map(|message| message.receipt).collect();
    world.queue.ack(&receipts).await.unwrap();
    let died: Uuid = sqlx::query_scalar("SELECT id FROM events WHERE id <> $1")
        .bind(lost)
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap();
    for attempt in 0..5 {
        lease(&world, 1, died, attempt * 31).await;
    }
    let limits = SweepLimits {
        now: after(7201),
        lease_before: after(1),
        last_lease_before: after(7141),
        max_receives: 5,
    };
    assert!(world.store.has_lost(limits).await.unwrap());
    assert_eq!(world.store.sweep_dead(limits, 10).await.unwrap(), 1);
    assert_eq!(world.store.sweep_lost(limits, 10).await.unwrap(), 1);
    assert_eq!((world.count(Dead).await, world.count(Pending).await), (1, 1));
    assert!(!world.store.has_lost(limits).await.unwrap());
    assert_eq!(outcomes(&world, died).await.len(), 5);
}
