//! The five stages one by one, on a real database, with a clock that is set: nothing here waits.

use bday::model::EventState::{Cancelled, Dead, Delivered, Delivering, Pending, Queued, Skipped};
use bday::pipeline::queue::Queue as _;
use bday::pipeline::scheduler::Tick;
use bday::store::{ClaimCursor, Deleted, LeaseRequest, Refusal, UserRef};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant};

#[tokio::test]
async fn a_greeting_goes_out_at_nine_where_the_person_is_and_not_before() {
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
async fn the_body_has_four_keys_and_the_rest_is_in_headers() {
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
    assert_eq!(
        record.headers["webhook-timestamp"],
        instant("2026-12-10T09:00:00Z").timestamp().to_string()
    );
    assert_eq!(
        record.headers["user-agent"],
        format!("bday/{}", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn after_a_day_of_absence_everything_due_is_sent_and_nothing_twice() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    for n in 0..30 {
        world
            .write(
                &format!("u{n}"),
                &format!("1990-05-{:02}", 2 + n % 3),
                "Europe/Berlin",
            )
            .await;
    }
    world.set("2026-05-02T12:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 10);
    // A day without a tick, in which ten more were due, and nothing beyond the horizon was planned.
    world.set("2026-05-03T12:00:00Z");
    world.minute().await;
    world.minute().await;
    assert_eq!(world.greetings(), 20);
    world.set("2026-05-04T23:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 30);
}

#[tokio::test]
async fn what_is_over_two_days_late_is_skipped_with_its_reason_even_if_it_was_never_planned() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("late", "1990-05-20", "Europe/Berlin").await;
    world.write("just", "1990-05-28", "Europe/Berlin").await;
    world.minute().await;
    world.set("2026-05-30T06:59:00Z");
    let tick = world.minute().await;
    assert_eq!(
        (tick.planned, tick.due, tick.skipped, world.greetings()),
        (2, 1, 1, 1)
    );
    assert_eq!((world.count(Skipped).await, world.count(Delivered).await), (1, 1));
}

#[tokio::test]
async fn a_tick_with_nothing_to_do_does_nothing() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-08-20", "Europe/Berlin").await;
    world.tick().await;
    assert_eq!(world.tick().await, Tick::default());
}

#[tokio::test]
async fn a_day_that_a_planner_left_half_done_is_finished_by_the_next() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.tick().await;
    let pool = world.database.pool().await;
    // As after a crash between the opening of a day and its last page.
    sqlx::query("UPDATE planned_days SET planned_at = NULL WHERE local_date = '2026-05-02'")
        .execute(&pool)
        .await
        .unwrap();
    world.write("u", "1990-05-02", "UTC").await;
    sqlx::query("DELETE FROM events").execute(&pool).await.unwrap();
    assert_eq!(world.tick().await.planned, 1);
}

#[tokio::test]
async fn two_processes_that_tick_at_once_send_each_event_once() {
    let world = World::with("2026-05-01T00:00:00Z", &[("scheduler.claim_batch", "7")]).await;
    for n in 0..100 {
        world.write(&format!("u{n}"), "1990-05-02", "UTC").await;
    }
    world.tick().await;
    world.set("2026-05-02T09:00:00Z");
    let (a, b) = (world.scheduler(), world.scheduler());
    let now = instant("2026-05-02T09:00:00Z");
    let ((one, _), (two, _)) = tokio::join!(a.run_once(now), b.run_once(now));
    assert_eq!(one.enqueued + two.enqueued, 100);
    assert_eq!(world.queue.depth().await.unwrap().visible, 100);
    let (a, b) = (world.pool(), world.pool());
    let (one, two) = tokio::join!(a.run_once(), b.run_once());
    one.and(two).unwrap();
    assert_eq!(world.greetings(), 100);
}

#[tokio::test]
async fn a_receiver_that_fails_twice_gets_the_greeting_at_the_third_attempt() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.receiver.script([
        Behaviour::Status(500),
        Behaviour::Status(429),
        Behaviour::Status(204),
    ]);
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Queued).await), (0, 1));
    // The longest first wait is 30 s, the longest second one two minutes.
    world.set("2026-05-02T09:00:31Z");
    world.minute().await;
    assert_eq!(world.greetings(), 0);
    world.set("2026-05-02T09:02:32Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
    let records = world.receiver.records();
    assert_eq!(records.len(), 3);
    assert!(
        records
            .iter()
            .all(|record| record.event_id == records[0].event_id),
        "one webhook-id"
    );
    let event = records[0].event_id.parse().unwrap();
    let outcomes: Vec<_> = world
        .store
        .attempts(event)
        .await
        .unwrap()
        .into_iter()
        .map(|a| (a.outcome, a.status))
        .collect();
    let expected = [
        ("failed", Some(500)),
        ("failed", Some(429)),
        ("delivered", Some(204)),
    ];
    assert_eq!(
        outcomes,
        expected.map(|(outcome, status)| (outcome.to_owned(), status))
    );
}

#[tokio::test]
async fn after_five_failed_receives_the_message_is_a_dead_letter_and_the_event_is_dead() {
    let world = World::with("2026-05-02T00:00:00Z", &[("retry.schedule_secs", "0,0,0,0")]).await;
    world.write("u", "1990-05-02", "UTC").await;
    world.receiver.script([Behaviour::Status(503)]);
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    for _ in 0..7 {
        world.pool().run_once().await.unwrap();
    }
    assert_eq!((world.receiver.records().len(), world.count(Dead).await), (5, 1));
    assert_eq!(world.queue.buried().len(), 1);
    let event = world
        .store
        .event(world.receiver.records()[0].event_id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(event.reason.as_deref(), Some("status"));
    assert_eq!(
        event.last_error.as_deref(),
        Some("the receiver answered 503 Service Unavailable")
    );
}

#[tokio::test]
async fn a_410_is_dead_at_once() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.receiver.script([Behaviour::Status(410)]);
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!((world.receiver.records().len(), world.count(Dead).await), (1, 1));
    assert_eq!(world.queue.buried()[0].1, "gone");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    let elsewhere = format!("location: {}elsewhere\r\n", world.receiver.url());
    world
        .receiver
        .script([Behaviour::Answer(302, elsewhere, Vec::new())]);
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!(
        (world.receiver.records().len(), world.count(Queued).await),
        (1, 1)
    );
}

#[tokio::test]
async fn a_message_that_comes_twice_makes_one_request() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let event = only_event(&world).await;
    world.queue.send(&[event, event]).await.unwrap();
    world.pool().run_once().await.unwrap();
    // The copies that were left alone come back when their visibility ends.
    world.set("2026-05-02T09:00:31Z");
    world.pool().run_once().await.unwrap();
    assert_eq!((world.receiver.records().len(), world.greetings()), (1, 1));
    let depth = world.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (0, 0));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_a_dead_letter_at_once_and_takes_nobody_along() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    for foreign in [
        "",
        "hello",
        "{}",
        r#"{"v":1,"event":"x"}"#,
        r#"{"v":9}"#,
        &"x".repeat(200_000),
    ] {
        world.queue.put(foreign.to_owned());
    }
    world.minute().await;
    assert_eq!((world.greetings(), world.queue.buried().len()), (1, 6));
    assert!(
        world
            .queue
            .buried()
            .iter()
            .all(|(_, reason)| reason.starts_with("unreadable"))
    );
}

#[tokio::test]
async fn a_message_for_an_event_that_nobody_knows_is_dropped() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.queue.send(&[Uuid::now_v7()]).await.unwrap();
    world.pool().run_once().await.unwrap();
    let depth = world.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 0, 0));
}

#[tokio::test]
async fn a_user_who_is_deleted_is_not_greeted_wherever_the_event_is() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let (pending, queued) = (
        world.write("a", "1990-05-03", "UTC").await,
        world.write("b", "1990-05-02", "UTC").await,
    );
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    for user in [pending, queued] {
        let deleted_at = instant("2026-05-02T09:00:01Z");
        for expected in [Deleted::Done(user), Deleted::Gone] {
            let deleted = world.store.delete_user(deleted_at, UserRef::Id(user), None).await;
            assert_eq!(deleted.unwrap(), expected);
        }
    }
    world.pool().run_once().await.unwrap();
    world.set("2026-05-03T09:00:00Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Cancelled).await), (0, 2));
}

#[tokio::test]
async fn a_lease_is_held_by_one_and_taken_over_when_it_runs_out() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let event = only_event(&world).await;
    let lease = |holder: u128, now: &str| LeaseRequest {
        holder: Uuid::from_u128(holder),
        now: instant(now),
        until: instant(now) + TimeDelta::seconds(30),
        late_before: instant(now) - TimeDelta::days(2),
    };
    let (held, _) = world
        .store
        .lease(lease(1, "2026-05-02T09:00:00Z"), &[event])
        .await
        .unwrap();
    assert_eq!(held[0].attempt, 1);
    let (none, refused) = world
        .store
        .lease(lease(2, "2026-05-02T09:00:29Z"), &[event])
        .await
        .unwrap();
    assert!(none.is_empty());
    assert_eq!(refused[0].refusal, Refusal::Wait(instant("2026-05-02T09:00:30Z")));
    let (taken, _) = world
        .store
        .lease(lease(2, "2026-05-02T09:00:30Z"), &[event])
        .await
        .unwrap();
    assert_eq!(taken[0].attempt, 2);
    assert_eq!(world.count(Delivering).await, 1);
}

#[tokio::test]
async fn a_message_that_overtakes_its_claim_is_served_and_not_dropped() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.tick().await;
    world.set("2026-05-02T09:00:00Z");
    assert_eq!(world.count(Pending).await, 1);
    // As after a crash between the send and the commit: the message is out, the row is pending.
    world.queue.send(&[only_event(&world).await]).await.unwrap();
    world.pool().run_once().await.unwrap();
    assert_eq!(world.greetings(), 1);
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_claim_that_waits_for_the_queue_does_not_hold_up_the_workers() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("slow", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let queued = only_event(&world).await;
    world.write("claimed", "1990-05-02", "UTC").await;
    let now = instant("2026-05-02T09:00:00Z");
    let claim = world
        .store
        .claim(now, 10, &mut ClaimCursor::default())
        .await
        .unwrap();
    let claimed = claim.event_ids[0];
    // Both messages in one batch: the one is leased although the other's claim is still open.
    let request = LeaseRequest {
        holder: Uuid::now_v7(),
        now,
        until: now + TimeDelta::seconds(30),
        late_before: now - TimeDelta::days(2),
    };
    let (leases, refused) = world.store.lease(request, &[queued, claimed]).await.unwrap();
    assert_eq!((leases.len(), leases[0].event_id), (1, queued));
    assert_eq!(
        (refused[0].event_id, refused[0].refusal),
        (claimed, Refusal::Soon)
    );
    claim
        .commit(now, now + TimeDelta::hours(2), &[claimed])
        .await
        .unwrap();
    let (leases, _) = world.store.lease(request, &[claimed]).await.unwrap();
    assert_eq!(leases.len(), 1);
}

#[tokio::test]
async fn a_stale_message_for_an_event_that_was_moved_ahead_is_dropped() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.tick().await;
    world.queue.send(&[only_event(&world).await]).await.unwrap();
    world.pool().run_once().await.unwrap();
    assert_eq!((world.greetings(), world.count(Pending).await), (0, 1));
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn an_attempt_that_died_with_its_worker_is_on_record_as_unknown() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let event = only_event(&world).await;
    let now = instant("2026-05-02T09:00:00Z");
    let until = now + TimeDelta::seconds(30);
    let dead = LeaseRequest {
        holder: Uuid::now_v7(),
        now,
        until,
        late_before: now - TimeDelta::days(2),
    };
    world.store.lease(dead, &[event]).await.unwrap();
    world.set("2026-05-02T09:00:31Z");
    world.pool().run_once().await.unwrap();
    let outcomes: Vec<_> = world
        .store
        .attempts(event)
        .await
        .unwrap()
        .into_iter()
        .map(|a| a.outcome)
        .collect();
    assert_eq!(outcomes, ["unknown", "delivered"]);
    assert_eq!(world.greetings(), 1);
}

async fn only_event(world: &World) -> Uuid {
    sqlx::query_scalar("SELECT id FROM events")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn while_paused_nothing_is_claimed_or_leased_and_afterwards_the_late_rule_holds() {
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
    let request = LeaseRequest {
        holder: Uuid::now_v7(),
        now,
        until: now + TimeDelta::seconds(30),
        late_before: now - TimeDelta::days(2),
    };
    let (leases, _) = world.store.lease(request, &[event]).await.unwrap();
    assert!(leases.is_empty());
    world.set("2026-05-04T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 0);
    world.set("2026-05-05T09:00:01Z");
    assert!(world.store.end_pause().await.unwrap());
    world.minute().await;
    // The first two are over two days late by now.
    assert_eq!((world.greetings(), world.count(Skipped).await), (1, 2));
}
