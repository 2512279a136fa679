//! Users added on the day, deleted, and added again.

use std::io::BufReader;
use std::sync::Arc;
use std::time::Duration;

use bday::clock::SharedClock;
use bday::model::EventState::{Cancelled, Delivered, Pending, Skipped};
use bday::model::{EventState, Schedule};
use bday::people::import::{self, ImportFormat, ImportOptions};
use bday::store::{EventFilter, EventOrder, UserFilter};
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::world::World;

#[tokio::test]
async fn a_user_added_on_the_day_is_greeted_on_that_day() {
    for (late_join, added_at, greetings, skipped) in [
        // In Tokyo: 08:59, 09:01 and 23:59 on the day, and 00:00 on the next day.
        ("send", "2026-05-09T23:59:00Z", 1, 0),
        ("send", "2026-05-10T00:01:00Z", 1, 0),
        ("send", "2026-05-10T14:59:00Z", 1, 0),
        ("send", "2026-05-10T15:00:00Z", 0, 0),
        ("skip", "2026-05-09T23:59:00Z", 1, 0),
        ("skip", "2026-05-10T00:01:00Z", 0, 1),
        ("skip", "2026-05-10T14:59:00Z", 0, 1),
        ("skip", "2026-05-10T15:00:00Z", 0, 0),
    ] {
        let world = World::with("2026-05-09T20:00:00Z", &[("plan.late_join", late_join)]).await;
        world.minute().await;
        world.set(added_at);
        world.write("u", "1990-05-10", "Asia/Tokyo").await;
        // The next tick is a minute later; after an addition at 23:59 it is on the next day.
        world.clock.advance(chrono::TimeDelta::minutes(1));
        world.minute().await;
        world.live_until("2026-05-12T00:00:00Z").await;
        let found = (world.greetings(), world.count(Skipped).await);
        assert_eq!(found, (greetings, skipped), "{late_join} {added_at}");
    }
}

#[tokio::test]
async fn users_added_before_the_first_plan_are_greeted_within_late_max() {
    for (first_tick, greetings) in
        [("2026-05-10T09:01:00Z", 1), ("2026-05-11T08:00:00Z", 1), ("2026-05-13T00:00:00Z", 0)]
    {
        let world = World::at("2026-05-10T09:00:30Z").await;
        world.write("u", "1990-05-10", "UTC").await;
        world.set(first_tick);
        world.minute().await;
        assert_eq!(world.greetings(), greetings, "{first_tick}");
    }
}

#[tokio::test]
async fn a_user_deleted_while_pending_or_queued_is_not_greeted() {
    for queued in [false, true] {
        let world = World::at("2026-05-09T00:00:00Z").await;
        let user = world.write("u", "1990-05-10", "UTC").await;
        world.minute().await;
        world.set("2026-05-10T09:00:00Z");
        if queued {
            world.tick().await;
        }
        world.delete(user).await;
        world.live_until("2026-05-12T00:00:00Z").await;
        assert_eq!((world.greetings(), world.count(Cancelled).await), (0, 1));
        assert!(world.receiver.records().is_empty());
    }
}

#[tokio::test]
async fn a_deletion_cancels_retries_but_not_the_request_in_flight() {
    for (answer, greetings, state) in [(200, 1, Delivered), (500, 0, Cancelled)] {
        let world = World::at("2026-05-09T00:00:00Z").await;
        let user = world.write("u", "1990-05-10", "UTC").await;
        world.minute().await;
        world.set("2026-05-10T09:00:00Z");
        world.tick().await;
        let slowly = Behaviour::After(Duration::from_millis(300), Box::new(Behaviour::Status(answer)));
        world.receiver.next([slowly]);
        let pool = world.pool();
        let (ended, ()) = tokio::join!(pool.run_once(), async {
            world.receiver.until_received(1).await;
            world.delete(user).await;
        });
        ended.unwrap();
        world.live_until("2026-05-12T00:00:00Z").await;
        assert_eq!((world.greetings(), world.receiver.records().len()), (greetings, 1));
        assert_eq!(world.count(state).await, 1);
    }
}

#[tokio::test]
async fn a_user_deleted_and_created_again_on_the_day_is_greeted_once() {
    for (deleted_at, back_at, greetings) in [
        // Both before the greeting, one on either side of it, both after it, and added again only on the next day.
        ("2026-05-10T06:00:00Z", "2026-05-10T06:00:00Z", 1),
        ("2026-05-10T06:00:00Z", "2026-05-10T12:00:00Z", 1),
        ("2026-05-10T12:00:00Z", "2026-05-10T12:00:00Z", 1),
        ("2026-05-10T12:00:00Z", "2026-05-10T18:00:00Z", 1),
        ("2026-05-10T06:00:00Z", "2026-05-11T06:00:00Z", 0),
    ] {
        let world = World::at("2026-05-09T00:00:00Z").await;
        let user = world.write("u", "1990-05-10", "UTC").await;
        world.minute().await;
        world.live_until(deleted_at).await;
        world.delete(user).await;
        world.live_until(back_at).await;
        assert_eq!(world.write("u", "1990-05-10", "UTC").await, user);
        world.live_until("2026-05-13T00:00:00Z").await;
        assert_eq!(world.greetings(), greetings, "{deleted_at} {back_at}");
    }
}

#[tokio::test]
async fn a_user_created_again_before_the_day_is_greeted_on_it() {
    let world = World::at("2026-05-09T00:00:00Z").await;
    let user = world.write("u", "1990-05-10", "UTC").await;
    world.minute().await;
    // The new date is far beyond the horizon.
    world.correct("u", "1990-08-20").await;
    world.delete(user).await;
    assert_eq!(world.count(Cancelled).await, 1);
    world.write("u", "1990-08-20", "UTC").await;
    world.set("2026-08-19T00:00:00Z");
    world.minute().await;
    assert_eq!(world.count(Pending).await, 1);
    world.live_until("2026-08-22T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_recreated_user_keeps_its_id_if_external_ids_were_swapped() {
    let world = World::at("2026-05-09T00:00:00Z").await;
    let first = world.write("a", "1990-05-10", "UTC").await;
    world.minute().await;
    world.live_until("2026-05-10T09:00:00Z").await;
    // The first user gets a new external id; a second user gets the old one.
    world.change("a", |user| user.external_id = Some("b".to_owned())).await;
    let second = world.write("a", "1990-05-10", "UTC").await;
    assert_ne!(first, second);
    world.minute().await;
    assert_eq!(world.greetings(), 2);
    for user in [first, second] {
        world.delete(user).await;
    }
    assert_eq!(world.write("a", "1990-05-10", "UTC").await, second);
    assert_eq!(world.write("b", "1990-05-10", "UTC").await, first);
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(world.greetings(), 2);
}

#[tokio::test]
async fn a_repeated_import_without_external_ids_adds_no_user() {
    let world = World::at("2026-05-09T00:00:00Z").await;
    world.minute().await;
    let import = async || {
        let file = "first_name,last_name,birth_date,time_zone\nAda,,1990-05-10,UTC\nAda,,1990-05-10,UTC\n";
        let schedule: Schedule = world.config.schedule();
        let clock = Arc::clone(&world.clock) as SharedClock;
        let input = BufReader::new(file.as_bytes());
        let options = ImportOptions::new(ImportFormat::Csv);
        let report = import::run(&world.store, &schedule, &clock, options, input, |_| {}).await;
        report.unwrap().created
    };
    assert_eq!(import().await, 2);
    world.live_until("2026-05-10T09:00:00Z").await;
    assert_eq!(import().await, 0);
    let everybody = world.store.list_users(&UserFilter::default(), Uuid::nil(), 10).await;
    for user in everybody.unwrap().users {
        world.delete(user.id).await;
    }
    assert_eq!(import().await, 2);
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(world.greetings(), 2);
}

#[tokio::test]
async fn events_of_a_deleted_user_stay_on_record() {
    let world = World::at("2026-05-09T00:00:00Z").await;
    let user = world.write("u", "1990-05-10", "UTC").await;
    world.minute().await;
    world.live_until("2026-05-10T09:00:00Z").await;
    world.delete(user).await;
    let filter = EventFilter { user_id: Some(user), ..EventFilter::default() };
    let events = world.store.list_events(&filter, EventOrder::Ascending, None, 10).await.unwrap();
    let states: Vec<EventState> = events.iter().map(|event| event.state).collect();
    assert_eq!(states, [Delivered]);
    assert_eq!(world.store.attempts(events[0].id).await.unwrap().len(), 1);
}
