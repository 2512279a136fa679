//! New zone data in a binary: what was computed with the old moves, once, whoever else starts at the same time.

use bday::model::EventState::{Delivered, Pending};
use bday::pipeline::zone_data::{RecomputeOutcome, recompute};
use chrono::{DateTime, Utc};

use crate::support::world::{World, instant, person};

const NOW: &str = "2026-05-01T12:00:00Z";

/// People in two zones, planned; those in Berlin as if its clock went an hour otherwise.
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
async fn pending_events_move_to_where_the_new_data_puts_them_and_the_moves_are_told_by_zone() {
    let world = world(3).await;
    let RecomputeOutcome::Done(report) = recomputed(&world, "2026z").await else { panic!("it was not done") };
    assert_eq!((report.looked_at, report.moved), (4, 3));
    assert_eq!(report.by_zone, [("Europe/Berlin".to_owned(), 3)].into());
    assert_eq!(due(&world).await, [instant("2026-05-03T00:00:00Z"), instant("2026-05-03T07:00:00Z")]);
    assert_eq!(world.store.planning_basis().await.unwrap().unwrap().zone_data, "2026z");
    assert_eq!(recomputed(&world, "2026z").await, RecomputeOutcome::Current);
}

#[tokio::test]
async fn more_than_a_page_is_recomputed_and_what_was_sent_stays() {
    let world = world(0).await;
    let users: Vec<_> = (0..1200)
        .map(|n| {
            (
                bday::store::UserKey::External,
                crate::support::world::person(&format!("p{n}"), "1990-05-02", "UTC"),
            )
        })
        .collect();
    world.store.write_users(&world.config.schedule(), instant(NOW), &users).await.unwrap();
    world.set("2026-05-03T00:00:00Z");
    world.minute().await;
    assert_eq!(world.count(Delivered).await, 1201);
    let later: Vec<_> = (0..1200)
        .map(|n| {
            (
                bday::store::UserKey::External,
                crate::support::world::person(&format!("q{n}"), "1990-05-04", "UTC"),
            )
        })
        .collect();
    world.store.write_users(&world.config.schedule(), instant("2026-05-03T00:00:00Z"), &later).await.unwrap();
    sqlx::query("UPDATE events SET due_at = due_at - interval '30 minutes', next_attempt_at = next_attempt_at - interval '30 minutes'")
        .execute(&world.database.pool().await)
        .await
        .unwrap();
    let RecomputeOutcome::Done(report) = recomputed(&world, "2026z").await else { panic!("it was not done") };
    assert_eq!((report.moved, world.count(Pending).await), (1200, 1200));
    let due = due(&world).await;
    assert_eq!(due.last(), Some(&instant("2026-05-04T09:00:00Z")));
    assert_eq!(due.len(), 3, "delivered events keep the instant they had");
}

#[tokio::test]
async fn of_processes_that_start_at_once_one_does_it_and_the_others_see_that() {
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
async fn an_older_binary_that_comes_back_computes_again() {
    let world = world(1).await;
    for (version, moved) in [("2026z", 1), ("2026a", 0), ("2026z", 0)] {
        let RecomputeOutcome::Done(report) = recomputed(&world, version).await else {
            panic!("{version} was not done")
        };
        assert_eq!(report.moved, moved, "{version}");
    }
}

/// The rules of planning as `settings` have them, from now on, as a scheduler that starts with them.
async fn start_with(world: &mut World, settings: &[(&str, &str)]) {
    let other = World::with(NOW, settings).await;
    world.config.kinds = other.config.kinds.clone();
    world.config.plan = other.config.plan.clone();
    assert!(matches!(start(world).await, RecomputeOutcome::Done(_)));
    assert_eq!(start(world).await, RecomputeOutcome::Current);
}

/// A scheduler starts.
async fn start(world: &World) -> RecomputeOutcome {
    let version = bday::pipeline::zone_data::version();
    recompute(&world.store, &world.config.schedule(), &*world.clock, &version, || {}).await.unwrap()
}

#[tokio::test]
async fn a_kind_that_is_configured_late_reaches_the_days_that_were_planned_without_it() {
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
async fn another_rule_for_29_february_reaches_a_28_february_that_is_planned_already() {
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
async fn another_send_time_reaches_events_that_are_planned_days_and_months_ahead() {
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
