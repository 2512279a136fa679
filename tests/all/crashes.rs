//! Recovery from crashes, lost responses and outages, step by step.

use std::time::Duration;

use bday::model::EventState::{Dead, Delivered, Delivering, Pending, Queued};
use bday::model::Reason;
use bday::model::{AttemptOutcome, ChannelName};
use bday::store::{DeleteOutcome, EndedAttempt, ExpiredLeases, FailedAttempt, UserRef};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant};

const NINE: &str = "2026-05-02T09:00:00Z";

/// Returns a world at nine, and its only event, which is queued.
async fn queued() -> (World, Uuid) {
    queued_with(&[]).await
}

async fn queued_with(settings: &[(&str, &str)]) -> (World, Uuid) {
    let world = World::with("2026-05-02T00:00:00Z", settings).await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set(NINE);
    world.tick().await;
    let event = world.only_event().await;
    (world, event)
}

fn after(secs: i64) -> DateTime<Utc> {
    instant(NINE) + TimeDelta::seconds(secs)
}

/// Leases the event for 30 s, `secs` after nine. Returns the lease and the number of the attempt.
async fn lease(world: &World, event: Uuid, secs: i64) -> (Uuid, i16) {
    world.clock.set(after(secs));
    let (id, leases) = world.lease(&[event]).await;
    (id, leases[0].attempt)
}

fn delivery(event_id: Uuid, (lease_id, attempt): (Uuid, i16), secs: i64) -> EndedAttempt {
    EndedAttempt {
        event_id,
        lease_id,
        attempt,
        channel: ChannelName::Webhook,
        status: Some(200),
        provider_id: None,
        started_at: after(secs),
        finished_at: after(secs),
        trace_id: None,
    }
}

fn failure(event_id: Uuid, fence: (Uuid, i16), retry_at: Option<DateTime<Utc>>) -> FailedAttempt {
    FailedAttempt {
        ended: EndedAttempt { status: Some(500), ..delivery(event_id, fence, 1) },
        outcome: AttemptOutcome::Failed,
        reason: Reason::Status,
        error: Some("500".to_owned()),
        response: None,
        retry_at,
        counts: true,
    }
}

/// Records `delivery`; returns whether it was accepted.
async fn delivers(world: &World, delivery: EndedAttempt) -> bool {
    let event_id = delivery.event_id;
    let recorded = world.store.record_deliveries(&[delivery], &[]).await.unwrap();
    assert!(recorded.locked.is_empty());
    recorded.events.contains(&event_id)
}

/// Expires the leases, `secs` after nine.
async fn sweep(world: &World, secs: i64, max_attempts: u32) -> ExpiredLeases {
    world.store.expire_leases(after(secs), max_attempts, Duration::from_secs(30), &[]).await.unwrap()
}

/// Claims the pending event, `secs` after nine.
async fn claim(world: &World, secs: i64) {
    world.clock.set(after(secs));
    assert_eq!(world.scheduler().send_due(after(secs)).await.unwrap(), 1);
}

#[tokio::test]
async fn one_worker_holds_a_lease_until_it_expires() {
    let (world, event) = queued().await;
    let first = lease(&world, event, 0).await;
    assert_eq!(first.1, 1);
    assert!(world.lease(&[event]).await.1.is_empty());
    assert_eq!(sweep(&world, 30, 5).await, ExpiredLeases::default(), "it lasts for 30 s");
    assert_eq!(sweep(&world, 31, 5).await, ExpiredLeases { requeued: 1, dead: 0 });
    claim(&world, 31).await;
    assert_eq!(lease(&world, event, 31).await.1, 2);
    assert_eq!(world.count(Delivering).await, 1);
}

#[tokio::test]
async fn the_outcome_of_a_worker_that_lost_its_lease_is_ignored() {
    let (world, event) = queued().await;
    let first = lease(&world, event, 0).await;
    sweep(&world, 31, 5).await;
    claim(&world, 31).await;
    let second = lease(&world, event, 31).await;
    assert!(!delivers(&world, delivery(event, first, 32)).await);
    assert_eq!(world.count(Delivering).await, 1);
    let failed = [failure(event, first, None)];
    let recorded = world.store.record_failures(&failed, &[]).await.unwrap();
    assert!(recorded.events.is_empty() && recorded.locked.is_empty());
    assert!(delivers(&world, delivery(event, second, 33)).await);
    assert_eq!(world.outcomes(event).await, [(1, "failed".to_owned()), (2, "delivered".to_owned())]);
}

#[tokio::test]
async fn a_late_outcome_of_a_deleted_user_is_not_recorded() {
    let (world, event) = queued().await;
    let lost = lease(&world, event, 0).await;
    sweep(&world, 31, 5).await;
    let user = world.store.event(event).await.unwrap().unwrap().user_id;
    let deleted = world.store.delete_user(after(32), UserRef::Id(user), None, None);
    assert_eq!(deleted.await.unwrap(), DeleteOutcome::Deleted(user));
    let failed = [failure(event, lost, Some(after(60)))];
    let recorded = world.store.record_failures(&failed, &[]).await.unwrap();
    assert!(recorded.events.is_empty() && recorded.locked.is_empty());
    assert_eq!(world.outcomes(event).await, []);
}

#[tokio::test]
async fn attempts_of_crashed_workers_are_recorded_as_unknown() {
    let (world, event) = queued().await;
    let mut last = lease(&world, event, 0).await;
    for attempt in 1..4 {
        let now = attempt * 200;
        assert_eq!(sweep(&world, now, 5).await.requeued, 1);
        // The first lost attempt is retried immediately, later ones after a delay.
        claim(&world, now + 100).await;
        last = lease(&world, event, now + 100).await;
    }
    assert!(delivers(&world, delivery(event, last, 900)).await);
    let unknown = |n| (n, "unknown".to_owned());
    assert_eq!(
        world.outcomes(event).await,
        [unknown(1), unknown(2), unknown(3), (4, "delivered".to_owned())]
    );
}

#[tokio::test]
async fn only_the_second_lost_attempt_delays_the_retry() {
    let (world, event) = queued().await;
    let next = async || world.store.event(event).await.unwrap().unwrap().next_attempt_at;
    lease(&world, event, 0).await;
    sweep(&world, 31, 5).await;
    assert_eq!(next().await, Some(after(31)));
    claim(&world, 31).await;
    lease(&world, event, 31).await;
    sweep(&world, 70, 5).await;
    let spread = (next().await.unwrap() - after(70)).num_seconds();
    assert!((30..=60).contains(&spread), "{spread}");
}

#[tokio::test]
async fn an_event_whose_worker_crashed_is_retried_in_its_own_pack() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    for n in 0..40 {
        world.write(&format!("u{n}"), "1990-05-02", "UTC").await;
    }
    world.set(NINE);
    world.tick().await;
    let pool = world.database.pool().await;
    let packs = async || -> Vec<i32> {
        sqlx::query_scalar("SELECT cardinality(event_ids) FROM outbox ORDER BY 1")
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    assert_eq!(packs().await.iter().sum::<i32>(), 40);
    let lost: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM events LIMIT 2").fetch_all(&pool).await.unwrap();
    world.lease(&lost).await;
    sqlx::query("DELETE FROM outbox").execute(&pool).await.unwrap();
    sweep(&world, 31, 5).await;
    for n in 0..3 {
        world.write(&format!("v{n}"), "1990-05-02", "UTC").await;
    }
    world.clock.set(after(31));
    world.scheduler().send_due(after(31)).await.unwrap();
    let alone: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM outbox WHERE cardinality(event_ids) = 1 AND event_ids[1] = ANY($1)",
    )
    .bind(&lost)
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(alone, 2);
}

#[tokio::test]
async fn recording_an_outcome_is_idempotent() {
    let (world, event) = queued().await;
    let first = lease(&world, event, 0).await;
    let failed = [failure(event, first, Some(after(60)))];
    let recorded = world.store.record_failures(&failed, &[]).await.unwrap();
    assert!(recorded.events.contains(&event));
    world.store.record_failures(&failed, &[]).await.unwrap();
    assert_eq!(world.outcomes(event).await.len(), 1);
    assert_eq!(world.count(Pending).await, 1);
    claim(&world, 60).await;
    let second = lease(&world, event, 60).await;
    for _ in 0..2 {
        assert!(delivers(&world, delivery(event, second, 61)).await);
    }
    assert_eq!(world.count(Delivered).await, 1);
}

#[tokio::test]
async fn a_delivery_is_recorded_after_its_lease_was_swept() {
    for (max_attempts, swept_to) in [(1, Dead), (5, Pending)] {
        let (world, event) = queued().await;
        let first = lease(&world, event, 0).await;
        sweep(&world, 100, max_attempts).await;
        assert_eq!(world.count(swept_to).await, 1);
        for _ in 0..2 {
            assert!(delivers(&world, delivery(event, first, 1)).await, "{swept_to:?}");
        }
        let found = world.store.event(event).await.unwrap().unwrap();
        assert_eq!((found.state, found.reason), (Delivered, None));
        assert_eq!(world.outcomes(event).await, [(1, "delivered".to_owned())], "{swept_to:?}");
        assert_eq!(world.dead_messages().await, 0);
        world.clock.set(after(120));
        world.minute().await;
        assert_eq!(world.greetings(), 0);
    }
}

#[tokio::test]
async fn a_delivery_is_recorded_after_its_event_was_queued_again() {
    let (world, event) = queued().await;
    let first = lease(&world, event, 0).await;
    sweep(&world, 100, 5).await;
    claim(&world, 120).await;
    assert_eq!(world.count(Queued).await, 1);
    assert!(delivers(&world, delivery(event, first, 1)).await);
    world.pool().run_once().await.unwrap();
    assert_eq!((world.count(Delivered).await, world.greetings()), (1, 0));
}

#[tokio::test]
async fn a_failure_recorded_after_the_sweep_changes_no_state() {
    for (max_attempts, swept_to) in [(1, Dead), (5, Pending)] {
        let (world, event) = queued().await;
        let first = lease(&world, event, 0).await;
        sweep(&world, 100, max_attempts).await;
        for next in [Some(after(7200)), None] {
            let recorded = world.store.record_failures(&[failure(event, first, next)], &[]).await.unwrap();
            assert_eq!((recorded.events.len(), world.count(swept_to).await), (0, 1));
        }
        // Only the outcome of the attempt is updated.
        assert_eq!(world.outcomes(event).await, [(1, "failed".to_owned())]);
    }
}

#[tokio::test]
async fn a_late_heartbeat_does_not_shorten_a_lease() {
    let (world, event) = queued().await;
    let (id, _) = lease(&world, event, 0).await;
    for secs in [60, 40] {
        let kept = world.store.extend_leases(after(secs), &[id]).await.unwrap();
        assert!(kept.contains(&id));
    }
    assert_eq!(sweep(&world, 60, 5).await, ExpiredLeases::default());
    assert_eq!(sweep(&world, 61, 5).await.requeued, 1);
    let kept = world.store.extend_leases(after(90), &[id]).await.unwrap();
    assert!(kept.is_empty(), "it is gone");
}

#[tokio::test]
async fn after_a_crash_the_greeting_is_sent_when_the_lease_expires() {
    let (world, event) = queued().await;
    world.receiver.script([Behaviour::Hang]);
    let crashed = world.pool();
    tokio::select! {
        _ = crashed.run_once() => panic!("it hangs"),
        () = world.receiver.until_received(1) => {}
    }
    world.receiver.script([]);
    world.clock.set(after(29));
    world.minute().await;
    assert_eq!(world.greetings(), 0);
    world.clock.set(after(31));
    world.minute().await;
    assert_eq!(world.greetings(), 1);
    assert_eq!(world.outcomes(event).await, [(1, "unknown".to_owned()), (2, "delivered".to_owned())]);
}

#[tokio::test]
async fn a_crash_during_the_last_attempt_creates_a_dead_letter() {
    let (world, event) = queued_with(&[("retry.max_attempts", "1")]).await;
    lease(&world, event, 0).await;
    world.clock.set(after(31));
    world.minute().await;
    let found = world.store.event(event).await.unwrap().unwrap();
    assert_eq!((found.state, found.reason.as_deref()), (Dead, Some("worker_lost")));
    assert_eq!(world.outcomes(event).await, [(1, "unknown".to_owned())]);
    assert_eq!((world.dead_messages().await, world.greetings()), (1, 0));
}

#[tokio::test]
async fn all_events_of_an_expired_lease_are_requeued() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    for n in 0..30 {
        world.write(&format!("u{n}"), "1990-05-02", "UTC").await;
    }
    world.set(NINE);
    world.tick().await;
    let pool = world.database.pool().await;
    let all: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM events").fetch_all(&pool).await.unwrap();
    world.lease(&all).await;
    // An event locked by another transaction waits for the next sweep and does not delay the others.
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM events WHERE id = $1 FOR UPDATE")
        .bind(all[7])
        .execute(&mut *other)
        .await
        .unwrap();
    assert_eq!(sweep(&world, 31, 5).await.requeued, 29);
    other.rollback().await.unwrap();
    assert_eq!(sweep(&world, 31, 5).await.requeued, 1);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM leases").fetch_one(&pool).await.unwrap();
    assert_eq!((left, world.count(Pending).await), (0, 30));
}
