//! Lateness counts from the first instant at which a greeting could be sent.

use std::time::Duration;

use bday::clock::Clock as _;
use bday::model::EventState::Skipped;
use bday::model::Lease;
use bday::store::UserRef;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::support::world::{World, instant, person};

/// Claims and leases the due events.
async fn lease(world: &World) -> Vec<Lease> {
    world.scheduler().send_due(world.clock.now()).await.unwrap();
    let queued: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM events WHERE state = 'queued'")
        .fetch_all(&world.database.pool().await)
        .await
        .unwrap();
    world.lease(&queued).await.1
}

/// Leases the only due event; returns the time since it was due, and its lateness.
async fn lateness(world: &World) -> (Duration, Duration) {
    let leases = lease(world).await;
    assert_eq!(leases.len(), 1);
    let since = |at: DateTime<Utc>| (world.clock.now() - at).to_std().unwrap();
    (since(leases[0].due_at), since(leases[0].late_from))
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn lateness_of_a_user_added_on_the_day_counts_from_the_addition() {
    let world = World::at("2026-03-15T15:00:00Z").await;
    world.tick().await;
    world.write("late", "1990-03-15", "Etc/UTC").await;
    world.set("2026-03-15T15:00:02Z");
    let two = Duration::from_secs(2);
    assert_eq!(lateness(&world).await, (6 * HOUR + two, two));
}

#[tokio::test]
async fn lateness_counts_from_the_last_edit_of_the_date_or_zone() {
    for (birth_date, zone) in [("1990-03-15", "America/Los_Angeles"), ("1990-03-16", "Etc/UTC")] {
        let world = World::at("2026-03-15T00:00:00Z").await;
        world.tick().await;
        world.write("moved", birth_date, zone).await;
        world.set("2026-03-15T15:00:00Z");
        let user = world.write("moved", "1990-03-15", "Etc/UTC").await;
        world.set("2026-03-15T16:00:00Z");
        let schedule = world.config.schedule();
        let renamed =
            world.store.edit_user(&schedule, instant("2026-03-15T16:00:00Z"), UserRef::Id(user), |_| {
                let mut new = person("moved", "1990-03-15", "Etc/UTC");
                "Grace".clone_into(&mut new.first_name);
                Ok::<_, ()>(new)
            });
        renamed.await.unwrap();
        assert_eq!(lateness(&world).await, (7 * HOUR, HOUR), "{birth_date} {zone}");
    }
}

#[tokio::test]
async fn lateness_of_a_recreated_user_counts_from_the_recreation() {
    let world = World::at("2026-03-15T00:00:00Z").await;
    world.tick().await;
    let user = world.write("back", "1990-03-15", "Etc/UTC").await;
    world.store.delete_user(instant("2026-03-15T08:00:00Z"), UserRef::Id(user), None, None).await.unwrap();
    world.set("2026-03-15T15:00:00Z");
    world.write("back", "1990-03-15", "Etc/UTC").await;
    world.set("2026-03-15T16:00:00Z");
    assert_eq!(lateness(&world).await, (7 * HOUR, HOUR));
}

#[tokio::test]
async fn after_an_outage_lateness_counts_from_the_due_instant() {
    let world = World::at("2026-03-01T00:00:00Z").await;
    world.write("known", "1990-03-15", "Etc/UTC").await;
    world.tick().await;
    world.set("2026-03-15T15:00:00Z");
    // Paused, so that the first tick after two weeks plans the day and claims no event.
    world.store.set_pause(instant("2026-03-15T15:00:00Z"), "a test").await.unwrap();
    world.tick().await;
    world.store.end_pause().await.unwrap();
    assert_eq!(lateness(&world).await, (6 * HOUR, 6 * HOUR));
}

#[tokio::test]
async fn an_event_added_after_its_send_time_is_sent_within_late_max() {
    let world = World::with("2026-03-15T15:00:00Z", &[("late.max_secs", "3600")]).await;
    world.tick().await;
    world.write("added", "1990-03-15", "Etc/UTC").await;
    world.write("moved", "1990-03-15", "America/Los_Angeles").await;
    world.write("moved", "1990-03-15", "Etc/UTC").await;
    world.set("2026-03-15T15:59:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 2);
}

#[tokio::test]
async fn late_max_counts_from_the_addition_of_the_event() {
    let settings = [("late.max_secs", "3600")];
    for claimed in [false, true] {
        let world = World::with("2026-03-15T15:00:00Z", &settings).await;
        world.tick().await;
        world.write("added", "1990-03-15", "Etc/UTC").await;
        if claimed {
            world.tick().await;
        }
        world.set("2026-03-15T16:00:01Z");
        world.minute().await;
        assert_eq!((world.greetings(), world.count(Skipped).await), (0, 1), "{claimed}");
    }
}
