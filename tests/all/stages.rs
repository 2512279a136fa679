//! The stages of the pipeline on a real database, with a clock that the tests set.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::heartbeat::Heartbeat;
use bday::clock::{Clock as _, SettableClock, SharedClock};
use bday::model::EventState::{Cancelled, Dead, Delivered, Pending, Queued, Skipped};
use bday::pipeline::scheduler::Tick;
use bday::store::{DeferredPack, DeleteOutcome, Pack, UserKey, UserRef};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant, person};

#[tokio::test]
async fn a_greeting_is_sent_at_nine_in_the_zone_of_the_user_and_not_before() {
    let world = World::at("2026-03-01T00:00:00Z").await;
    world.write("auckland", "1990-03-15", "Pacific/Auckland").await;
    world.write("berlin", "1990-03-15", "Europe/Berlin").await;
    world.write("phoenix", "--03-15", "America/Phoenix").await;
    world.minute().await;
    for (before, at, greetings) in [
        ("2026-03-14T19:59:59Z", "2026-03-14T20:00:00Z", 1),
        ("2026-03-15T07:59:59Z", "2026-03-15T08:00:00Z", 2),
        ("2026-03-15T15:59:59Z", "2026-03-15T16:00:00Z", 3),
    ] {
        world.set(before);
        world.minute().await;
        assert_eq!(world.greetings(), greetings - 1, "{before}");
        world.set(at);
        world.minute().await;
        assert_eq!(world.greetings(), greetings, "{at}");
    }
    assert_eq!(world.count(Delivered).await, 3);
}

#[tokio::test]
async fn the_body_has_four_keys_and_metadata_is_in_headers() {
    let world = World::at("2026-03-15T00:00:00Z").await;
    let user = world.write("Lovelace", "1815-12-10", "Europe/London").await;
    world.set("2026-12-10T09:00:00Z");
    world.minute().await;
    let records = world.receiver.records();
    let record = &records[0];
    let body: serde_json::Value = serde_json::from_slice(&record.body).unwrap();
    let expected = serde_json::json!({
        "message": "Hey, Ada Lovelace it's your birthday",
        "userId": user,
        "eventId": record.event_id,
        "timestamp": "2026-12-10T09:00:00Z",
    });
    assert_eq!(body, expected);
    assert_eq!(record.method, "POST");
    assert_eq!(record.headers["content-type"], "application/json");
    assert_eq!(record.headers["webhook-timestamp"], instant("2026-12-10T09:00:00Z").timestamp().to_string());
    assert_eq!(record.headers["user-agent"], format!("bday/{}", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn after_a_day_without_ticks_every_due_event_is_sent_once() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    for n in 0..30 {
        world.write(&format!("u{n}"), &format!("1990-05-{:02}", 2 + n % 3), "Europe/Berlin").await;
    }
    world.set("2026-05-02T12:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 10);
    // Ten more fell due in a day without a tick. Days beyond the horizon are not planned.
    world.set("2026-05-03T12:00:00Z");
    world.minute().await;
    world.minute().await;
    assert_eq!(world.greetings(), 20);
    world.set("2026-05-04T23:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 30);
}

#[tokio::test]
async fn events_over_two_days_late_are_skipped_even_if_not_planned() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("late", "1990-05-20", "Europe/Berlin").await;
    world.write("just", "1990-05-28", "Europe/Berlin").await;
    world.minute().await;
    world.set("2026-05-30T06:59:00Z");
    let tick = world.minute().await;
    assert_eq!((tick.planned, tick.due, tick.skipped, world.greetings()), (2, 1, 1, 1));
    assert_eq!((world.count(Skipped).await, world.count(Delivered).await), (1, 1));
}

#[tokio::test]
async fn a_tick_without_due_events_changes_nothing() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-08-20", "Europe/Berlin").await;
    world.tick().await;
    assert_eq!(world.tick().await, Tick::default());
}

#[tokio::test]
async fn the_next_planner_finishes_a_day_after_a_crash() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.tick().await;
    let pool = world.database.pool().await;
    // The state after a crash during the planning of a day.
    sqlx::query("UPDATE planned_days SET planned_at = NULL WHERE local_date = '2026-05-02'")
        .execute(&pool)
        .await
        .unwrap();
    world.write("u", "1990-05-02", "UTC").await;
    sqlx::query("DELETE FROM events").execute(&pool).await.unwrap();
    assert_eq!(world.tick().await.planned, 1);
}

#[tokio::test]
async fn two_concurrent_ticks_send_each_event_once() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let people: Vec<_> =
        (0..1300).map(|n| (UserKey::ExternalId, person(&format!("u{n}"), "1990-05-02", "UTC"))).collect();
    let schedule = world.config.schedule();
    let now = instant("2026-05-01T00:00:00Z");
    world.store.save_users(&schedule, now, &people).await.unwrap();
    world.tick().await;
    world.set("2026-05-02T09:00:00Z");
    let (a, b) = (world.scheduler(), world.scheduler());
    let now = instant("2026-05-02T09:00:00Z");
    let ((one, _), (two, _)) = tokio::join!(a.run_once(now), b.run_once(now));
    assert_eq!(one.enqueued + two.enqueued, 1300);
    assert_eq!(world.count(Queued).await, 1300);
    let (a, b) = (world.pool(), world.pool());
    let (one, two) = tokio::join!(a.run_once(), b.run_once());
    one.and(two).unwrap();
    assert_eq!(world.greetings(), 1300);
}

#[tokio::test]
async fn the_size_of_packs_grows_with_the_due_events_up_to_a_limit() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let sizes = async || -> Vec<i32> {
        let pool = world.database.pool().await;
        sqlx::query_scalar("SELECT cardinality(event_ids) FROM outbox").fetch_all(&pool).await.unwrap()
    };
    for (due, most, birth_date) in [(10, 1, "1990-05-02"), (160, 10, "1990-05-03"), (1600, 32, "1990-05-04")]
    {
        let people: Vec<_> = (0..due)
            .map(|n| (UserKey::ExternalId, person(&format!("u{due}-{n}"), birth_date, "UTC")))
            .collect();
        let schedule = world.config.schedule();
        world.store.save_users(&schedule, world.clock.now(), &people).await.unwrap();
        world.tick().await;
        world.set(&format!("2026{}T09:00:00Z", &birth_date[4..]));
        world.tick().await;
        let sizes = sizes().await;
        assert_eq!(sizes.iter().sum::<i32>(), due);
        assert_eq!(sizes.iter().max(), Some(&most), "{due} due");
        world.pool().run_once().await.unwrap();
    }
}

#[tokio::test]
async fn the_third_attempt_delivers_after_two_failures() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.receiver.script([Behaviour::Status(500), Behaviour::Status(429), Behaviour::Status(204)]);
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Pending).await), (0, 1));
    // The first retry is at most 30 s later, the second at most two minutes.
    world.set("2026-05-02T09:00:31Z");
    world.minute().await;
    assert_eq!(world.greetings(), 0);
    world.set("2026-05-02T09:02:32Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
    let records = world.receiver.records();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.event_id == records[0].event_id), "the webhook-id changed");
    let event = records[0].event_id.parse().unwrap();
    let outcomes: Vec<_> =
        world.store.attempts(event).await.unwrap().into_iter().map(|a| (a.outcome, a.status)).collect();
    let expected = [("failed", Some(500)), ("failed", Some(429)), ("delivered", Some(204))];
    assert_eq!(outcomes, expected.map(|(outcome, status)| (outcome.to_owned(), status)));
}

#[tokio::test]
async fn five_failed_attempts_create_a_dead_letter() {
    let world = World::with("2026-05-02T00:00:00Z", &[("retry.schedule_secs", "0,0,0,0")]).await;
    world.write("u", "1990-05-02", "UTC").await;
    world.receiver.script([Behaviour::Status(503)]);
    world.set("2026-05-02T09:00:00Z");
    for _ in 0..7 {
        world.minute().await;
    }
    assert_eq!((world.receiver.records().len(), world.count(Dead).await), (5, 1));
    assert_eq!(world.dead_messages().await, 1);
    let event = world.store.event(world.only_event().await).await.unwrap().unwrap();
    assert_eq!(event.reason.as_deref(), Some("status"));
    assert_eq!(event.last_error.as_deref(), Some("the receiver answered 503 Service Unavailable"));
}

#[tokio::test]
async fn a_410_response_creates_a_dead_letter_immediately() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.receiver.script([Behaviour::Status(410)]);
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!((world.receiver.records().len(), world.count(Dead).await), (1, 1));
    let letters = world.queue.dead_letters(None, 10, Duration::ZERO).await.unwrap();
    assert_eq!(letters[0].reason.as_deref(), Some("gone"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    let elsewhere = format!("location: {}elsewhere\r\n", world.receiver.url());
    world.receiver.script([Behaviour::Answer(302, elsewhere, Vec::new())]);
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!((world.receiver.records().len(), world.count(Pending).await), (1, 1));
}

#[tokio::test]
async fn a_pack_that_is_received_twice_causes_one_request() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let pool = world.database.pool().await;
    sqlx::query("INSERT INTO outbox (event_ids, created_at, available_at) SELECT event_ids || event_ids, created_at, available_at FROM outbox")
        .execute(&pool)
        .await
        .unwrap();
    world.pool().run_once().await.unwrap();
    // The duplicate in the pack is deferred; on redelivery, its event is already delivered.
    world.set("2026-05-02T09:00:31Z");
    world.pool().run_once().await.unwrap();
    assert_eq!((world.receiver.records().len(), world.greetings()), (1, 1));
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_pack_of_unknown_events_is_dropped() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let pool = world.database.pool().await;
    sqlx::query(
        "INSERT INTO outbox (event_ids, created_at, available_at) VALUES (ARRAY[gen_random_uuid()], $1, $1)",
    )
    .bind(instant("2026-05-02T00:00:00Z"))
    .execute(&pool)
    .await
    .unwrap();
    world.pool().run_once().await.unwrap();
    let depth = world.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 0, 0));
}

#[tokio::test]
async fn a_message_of_another_database_does_not_change_packs() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let pool = world.database.pool().await;
    let packs = async || -> Vec<Pack> {
        sqlx::query_as("SELECT id, event_ids, traceparent FROM outbox").fetch_all(&pool).await.unwrap()
    };
    let before = packs().await;
    let foreign = Pack { id: before[0].id, event_ids: vec![Uuid::now_v7()], traceparent: None };
    let deferred = DeferredPack {
        queued: foreign.event_ids.clone(),
        pack: foreign.clone(),
        available_at: instant("2026-05-02T09:00:00Z"),
    };
    world.store.defer_packs(&[deferred]).await.unwrap();
    world.store.delete_packs(&[foreign]).await.unwrap();
    assert_eq!(packs().await, before);
    world.store.delete_packs(&before).await.unwrap();
    assert_eq!(packs().await, []);
}

#[tokio::test]
async fn a_deletion_cancels_pending_and_queued_events() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let (pending, queued) =
        (world.write("a", "1990-05-03", "UTC").await, world.write("b", "1990-05-02", "UTC").await);
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    for user in [pending, queued] {
        let deleted_at = instant("2026-05-02T09:00:01Z");
        for expected in [DeleteOutcome::Deleted(user), DeleteOutcome::NotFound] {
            let deleted = world.store.delete_user(deleted_at, UserRef::Id(user), None, None).await;
            assert_eq!(deleted.unwrap(), expected);
        }
    }
    world.pool().run_once().await.unwrap();
    world.set("2026-05-03T09:00:00Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Cancelled).await), (0, 2));
}

#[tokio::test]
async fn an_event_moved_to_a_later_date_is_not_sent_by_its_old_pack() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    assert_eq!(world.count(Queued).await, 1);
    world.write("u", "1990-05-03", "UTC").await;
    world.pool().run_once().await.unwrap();
    assert_eq!((world.greetings(), world.count(Pending).await), (0, 1));
    world.set("2026-05-03T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

/// The clocks of two processes may differ by seconds, so the worker does not check the due instant.
#[tokio::test]
async fn a_worker_with_a_slow_clock_sends_claimed_events() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let behind = Arc::new(SettableClock::new(instant("2026-05-02T09:00:00Z")));
    behind.advance(TimeDelta::seconds(-4));
    let clock = Arc::clone(&behind) as SharedClock;
    let pool = world.pool_on(Arc::clone(&clock), Heartbeat::new(clock));
    pool.run_once().await.unwrap();
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_pause_stops_claims_and_leases_but_not_the_late_limit() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("queued", "1990-05-02", "UTC").await;
    world.write("claimed", "1990-05-03", "UTC").await;
    world.write("late", "1990-05-04", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let event = sqlx::query_scalar("SELECT id FROM events WHERE state = 'queued'");
    let event: Uuid = event.fetch_one(&world.database.pool().await).await.unwrap();
    let now = instant("2026-05-02T09:00:00Z");
    assert!(world.store.set_pause(now, "moving").await.unwrap());
    assert!(!world.store.set_pause(now, "again").await.unwrap());
    assert!(world.lease(&[event]).await.1.is_empty());
    world.set("2026-05-04T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 0);
    world.set("2026-05-05T09:00:01Z");
    assert!(world.store.end_pause().await.unwrap());
    world.minute().await;
    // The first two are over two days late.
    assert_eq!((world.greetings(), world.count(Skipped).await), (1, 2));
}
