//! Cancelled events are not sent.

use bday::model::EventState::{self, Delivered, Delivering, Pending, Queued};
use bday::people::explain::ExplainSettings;
use bday::people::explain::{Status, explain};
use bday::store::{CancelOutcome, UserRef};
use uuid::Uuid;

use super::{NINE, Place, on_both_queues};
use crate::support::world::{World, instant};

on_both_queues!(a_cancelled_queued_event_is_not_sent);

async fn a_cancelled_queued_event_is_not_sent(place: Place) {
    let world = &place.world;
    let user = world.write("u", "1990-05-02", "UTC").await;
    let event = world.event_of(user).await;
    world.set(NINE);
    world.tick().await;
    assert_eq!(world.count(Queued).await, 1);
    let letters = world.dead_letters();
    assert_eq!(letters.cancel(event).await.unwrap(), CancelOutcome::Cancelled);
    assert_eq!(letters.cancel(event).await.unwrap(), CancelOutcome::Refused(EventState::Cancelled));
    place.work().await;
    assert_eq!((world.receiver.records().len(), place.messages().await), (0, 0));
    let depth = world.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (0, 0), "its message is dropped");
    let facts = world.store.user_history(UserRef::Id(user)).await.unwrap().unwrap();
    let told = explain(facts, &ExplainSettings::new(&world.config), instant(NINE));
    assert_eq!(told.this_year[0].status, Status::Cancelled);
    assert!(told.this_year[0].why.starts_with("an operator cancelled it"), "{:?}", told.this_year[0].why);
}

#[tokio::test]
async fn a_cancelled_pending_event_is_not_planned_again() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    world.tick().await;
    assert_eq!(world.count(Pending).await, 1);
    let event = world.event_of(user).await;
    assert_eq!(world.dead_letters().cancel(event).await.unwrap(), CancelOutcome::Cancelled);
    world.write("u", "1990-05-03", "UTC").await;
    for day in [NINE, "2026-05-03T09:00:00Z"] {
        world.set(day);
        world.minute().await;
    }
    assert_eq!((world.greetings(), world.count(EventState::Cancelled).await), (0, 1));
}

#[tokio::test]
async fn a_delivering_or_finished_event_cannot_be_cancelled() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.tick().await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    let event = world.event_of(user).await;
    world.set(NINE);
    world.tick().await;
    world.lease(&[event]).await;
    let letters = world.dead_letters();
    assert_eq!(letters.cancel(event).await.unwrap(), CancelOutcome::Refused(Delivering));
    world.set("2026-05-02T09:00:31Z");
    world.minute().await;
    assert_eq!(letters.cancel(event).await.unwrap(), CancelOutcome::Refused(Delivered));
    assert_eq!(letters.cancel(Uuid::now_v7()).await.unwrap(), CancelOutcome::NotFound);
    assert_eq!(world.greetings(), 1);
}
