//! After an update of the zone data or the rules, one of the starting processes recomputes the pending events.

use bday::model::EventState::{Delivered, Pending};
use bday::pipeline::zone_data::{RecomputeOutcome, recompute};
use chrono::{DateTime, Utc};

use crate::support::world::{World, instant, person};

const NOW: &str = "2026-05-01T12:00:00Z";

/// Returns a world with planned events in two zones; those in Berlin are an hour off.
async fn world(users: usize) -> World {
    let world = World::at(NOW).await;
    let berlin = (0..users).map(|n| (n, "Europe/Berlin"));
    for (n, zone) in berlin.chain([(users, "Asia/Tokyo")]) {
        world.write(&format!("u{n}"), "1990-05-03", zone).await;
    }
    world.tick().await;
    let pool = world.database.pool().await;
    sqlx::query("UPDATE events SET due_at = due_at + interval '1 hour', late_from = late_from + interval '1 hour', next_attempt_at = next_attempt_at + interval '1 hour' FROM users u WHERE u.id = user_id AND time_zone = 'Europe/Berlin'")
        .execute(&pool)
        .await
        .unwrap();
    world
}

async fn due(world: &World) -> Vec<DateTime<Utc>> {
    sqlx::query_scalar("SELECT DISTINCT due_at FROM events ORDER BY 1")
        .fetch_all(&world.database.pool().await)
        .await
        .unwrap()
}

async fn recomputed(world: &World, version: &str) -> RecomputeOutcome {
    recompute(&world.store, &world.config.schedule(), &*world.clock, version, || {}).await.unwrap()
}

#[tokio::test]
async fn pending_events_move_with_new_zone_data_and_are_counted_by_zone() {
    let world = world(3).await;
    let RecomputeOutcome::Done(report) = recomputed(&world, "2026z").await else { panic!("not recomputed") };
    assert_eq!((report.recomputed, report.moved), (4, 3));
    assert_eq!(report.moved_by_zone, [("Europe/Berlin".to_owned(), 3)].into());
    assert_eq!(due(&world).await, [instant("2026-05-03T00:00:00Z"), instant("2026-05-03T07:00:00Z")]);
    assert_eq!(world.store.planning_basis().await.unwrap().unwrap().zone_data, "2026z");
    assert_eq!(recomputed(&world, "2026z").await, RecomputeOutcome::Current);
}

#[tokio::test]
async fn several_pages_are_recomputed_and_delivered_events_do_not_move() {
    let world = world(0).await;
    let users: Vec<_> = (0..1200)
        .map(|n| {
            (
                bday::store::UserKey::ExternalId,
                crate::support::world::person(&format!("p{n}"), "1990-05-02", "UTC"),
            )
        })
        .collect();
    world.store.save_users(&world.config.schedule(), instant(NOW), &users).await.unwrap();
    world.set("2026-05-03T00:00:00Z");
    world.minute().await;
    assert_eq!(world.count(Delivered).await, 1201);
    let later: Vec<_> = (0..1200)
        .map(|n| {
            (
                bday::store::UserKey::ExternalId,
                crate::support::world::person(&format!("q{n}"), "1990-05-04", "UTC"),
            )
        })
        .collect();
    world.store.save_users(&world.config.schedule(), instant("2026-05-03T00:00:00Z"), &later).await.unwrap();
    sqlx::query("UPDATE events SET due_at = due_at - interval '30 minutes', next_attempt_at = next_attempt_at - interval '30 minutes'")
        .execute(&world.database.pool().await)
        .await
        .unwrap();
    let RecomputeOutcome::Done(report) = recomputed(&world, "2026z").await else { panic!("not recomputed") };
    assert_eq!((report.moved, world.count(Pending).await), (1200, 1200));
    let due = due(&world).await;
    assert_eq!(due.last(), Some(&instant("2026-05-04T09:00:00Z")));
    assert_eq!(due.len(), 3, "delivered events moved");
}

#[tokio::test]
async fn only_one_of_several_starting_processes_recomputes() {
    let world = world(20).await;
    let outcomes =
        tokio::join!(recomputed(&world, "2026z"), recomputed(&world, "2026z"), recomputed(&world, "2026z"));
    let outcomes = [outcomes.0, outcomes.1, outcomes.2];
    let done = outcomes.iter().filter(|outcome| matches!(outcome, RecomputeOutcome::Done(_))).count();
    assert_eq!(done, 1, "{outcomes:?}");
    assert_eq!(recomputed(&world, "2026z").await, RecomputeOutcome::Current);
    assert_eq!(due(&world).await.len(), 2);
}

#[tokio::test]
async fn an_older_binary_recomputes_when_it_starts() {
    let world = world(1).await;
    for (version, moved) in [("2026z", 1), ("2026a", 0), ("2026z", 0)] {
        let RecomputeOutcome::Done(report) = recomputed(&world, version).await else {
            panic!("{version}: not recomputed")
        };
        assert_eq!(report.moved, moved, "{version}");
    }
}

/// Simulates the start of a scheduler with `settings`.
async fn start_with(world: &mut World, settings: &[(&str, &str)]) {
    let other = World::with(NOW, settings).await;
    world.config.kinds = other.config.kinds.clone();
    world.config.plan = other.config.plan.clone();
    assert!(matches!(start(world).await, RecomputeOutcome::Done(_)));
    assert_eq!(start(world).await, RecomputeOutcome::Current);
}

/// Simulates the start of a scheduler.
async fn start(world: &World) -> RecomputeOutcome {
    let version = bday::pipeline::zone_data::version();
    recompute(&world.store, &world.config.schedule(), &*world.clock, &version, || {}).await.unwrap()
}

#[tokio::test]
async fn days_planned_before_a_new_kind_are_planned_again() {
    let mut world = World::at("2026-05-09T00:00:00Z").await;
    let mut user = person("u", "1990-01-01", "UTC");
    user.occasions.insert("work_anniversary".to_owned(), Some("2019-05-10".parse().unwrap()));
    world.write_user(user).await;
    world.minute().await;
    start(&world).await;
    let settings = [("kinds.work_anniversary.message", "{{ years }} years with us!")];
    start_with(&mut world, &settings).await;
    world.minute().await;
    world.set("2026-05-10T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_new_leap_day_rule_applies_to_days_already_planned() {
    let mut world = World::with("2026-02-27T00:00:00Z", &[("plan.leap_day", "leap_years_only")]).await;
    world.write("u", "2000-02-29", "UTC").await;
    world.minute().await;
    assert_eq!(world.count(Pending).await, 0);
    start(&world).await;
    start_with(&mut world, &[("plan.leap_day", "feb28")]).await;
    world.minute().await;
    world.set("2026-02-28T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_new_send_time_moves_all_pending_events() {
    let mut world = World::at("2026-05-09T00:00:00Z").await;
    for user in ["near", "far"] {
        world.write(user, "1990-05-10", "UTC").await;
    }
    world.minute().await;
    world.write("far", "1990-08-10", "UTC").await;
    start(&world).await;
    start_with(&mut world, &[("kinds.birthday.send_at", "10:30")]).await;
    assert_eq!(due(&world).await, [instant("2026-05-10T10:30:00Z"), instant("2026-08-10T10:30:00Z")]);
}
