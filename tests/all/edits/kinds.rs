//! Kinds other than birthdays.

use bday::model::EventState::{Cancelled, Delivered, Pending};
use serde_json::Value;

use crate::support::receiver::Behaviour;
use crate::support::world::{World, person};

const ANNIVERSARY: [(&str, &str); 2] = [
    ("kinds.work_anniversary.message", "{{ first_name }}, {{ years }} years with us since {{ local_date }}!"),
    ("kinds.work_anniversary.send_at", "10:30"),
];

/// Returns a world with a user whose birthday and work anniversary are on 10 May.
async fn world(since: &str, settings: &[(&str, &str)]) -> World {
    let world = World::with("2026-05-09T00:00:00Z", settings).await;
    world.minute().await;
    let mut user = person("u", "1990-05-10", "UTC");
    let date = Some(since.parse().unwrap());
    user.occasions.insert("work_anniversary".to_owned(), date);
    world.write_user(user).await;
    world
}

/// Sorted, since the greetings of one tick arrive in any order.
fn messages(world: &World) -> Vec<String> {
    let records = world.receiver.records();
    let bodies = records.iter().map(|record| serde_json::from_slice::<Value>(&record.body).unwrap());
    let mut messages: Vec<String> = bodies.map(|body| body["message"].as_str().unwrap().to_owned()).collect();
    messages.sort();
    messages
}

#[tokio::test]
async fn each_kind_has_its_own_greeting_at_its_own_time() {
    let world = world("2019-05-10", &ANNIVERSARY).await;
    world.live_until("2026-05-10T10:29:59Z").await;
    assert_eq!(messages(&world), ["Hey, Ada u it's your birthday"]);
    world.live_until("2026-05-10T10:30:00Z").await;
    assert_eq!(messages(&world), ["Ada, 7 years with us since 2026-05-10!", "Hey, Ada u it's your birthday"]);
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(world.greetings(), 2);
}

#[tokio::test]
async fn the_first_day_of_work_is_not_an_anniversary() {
    let world = world("2026-05-10", &ANNIVERSARY).await;
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(messages(&world), ["Hey, Ada u it's your birthday"]);
    world.set("2027-05-09T00:00:00Z");
    world.minute().await;
    world.live_until("2027-05-12T00:00:00Z").await;
    let birthday = "Hey, Ada u it's your birthday";
    assert_eq!(messages(&world), ["Ada, 1 years with us since 2027-05-10!", birthday, birthday]);
}

#[tokio::test]
async fn dates_of_a_kind_that_is_not_configured_are_stored() {
    let mut world = world("2019-05-10", &[]).await;
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
    let configured = World::with("2026-05-09T00:00:00Z", &ANNIVERSARY).await;
    world.config.kinds = configured.config.kinds.clone();
    world.set("2027-05-09T00:00:00Z");
    world.minute().await;
    world.live_until("2027-05-12T00:00:00Z").await;
    assert_eq!(world.greetings(), 3);
    assert_eq!(world.count(Delivered).await, 3);
}

#[tokio::test]
async fn removing_a_date_deletes_only_its_event() {
    let world = world("2019-05-10", &ANNIVERSARY).await;
    assert_eq!(world.count(Pending).await, 2);
    world
        .change("u", |user| {
            user.occasions.insert("work_anniversary".to_owned(), None);
        })
        .await;
    assert_eq!(world.count(Pending).await, 1);
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(messages(&world), ["Hey, Ada u it's your birthday"]);
}

#[tokio::test]
async fn removing_a_date_after_an_attempt_cancels_the_retries() {
    let world = world("2019-05-10", &ANNIVERSARY).await;
    world.live_until("2026-05-10T10:29:59Z").await;
    world.receiver.next([Behaviour::Status(500)]);
    world.live_until("2026-05-10T10:30:00Z").await;
    let change = world.change("u", |user| {
        user.occasions.insert("work_anniversary".to_owned(), None);
    });
    change.await;
    assert_eq!(world.count(Pending).await, 1, "an event that may have been sent was deleted");
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(world.count(Cancelled).await, 1);
    assert_eq!(world.receiver.records().len(), 2);
}

#[tokio::test]
async fn an_edit_of_another_field_keeps_dates_and_events() {
    let world = world("2019-05-10", &ANNIVERSARY).await;
    world.change("u", |user| user.first_name = "Augusta".to_owned()).await;
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(
        messages(&world),
        ["Augusta, 7 years with us since 2026-05-10!", "Hey, Augusta u it's your birthday"]
    );
}

#[tokio::test]
async fn an_edit_by_a_process_without_a_kind_keeps_the_kinds_event() {
    let mut world = world("2019-05-10", &ANNIVERSARY).await;
    let knowing = world.config.kinds.clone();
    world.config.kinds.remove("work_anniversary");
    world.change("u", |user| user.first_name = "Augusta".to_owned()).await;
    world.move_to("u", "Europe/Berlin").await;
    world.config.kinds = knowing;
    world.live_until("2026-05-12T00:00:00Z").await;
    let anniversary = "Augusta, 7 years with us since 2026-05-10!";
    assert!(messages(&world).iter().any(|message| message == anniversary));
}
