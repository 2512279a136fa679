//! A purge deletes messages of bday and unreadable messages.

use bday::model::EventState::{Dead, Delivered};
use bday::model::Reason;
use bday::operations::dead_letters::{MessageStatus, PurgeOptions};
use bday::pipeline::queue::DeadLetter;
use bday::store::DeadFilter;
use uuid::Uuid;

use super::{NINE, Place, on_both_queues};
use crate::support::receiver::Behaviour;

on_both_queues!(a_purge_deletes_messages_and_keeps_the_events);

fn purge() -> PurgeOptions {
    PurgeOptions::default()
}

async fn a_purge_deletes_messages_and_keeps_the_events(place: Place) {
    let world = &place.world;
    let event = place.dead("u").await;
    let dry = PurgeOptions { dry_run: true, ..purge() };
    let letters = world.dead_letters();
    let report = letters.purge(&dry, |_| {}).await.unwrap();
    assert_eq!((report.purged, place.messages().await), (1, 1));
    let report = letters.purge(&purge(), |_| {}).await.unwrap();
    assert_eq!((report.purged, report.kept, report.complete), (1, 0, true));
    assert_eq!((place.messages().await, world.count(Dead).await), (0, 1));
    place.accept(event);
    assert_eq!(place.redrive().await.redriven, 1);
    place.work().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
}

/// Only SQS can have unreadable messages.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_purge_deletes_unreadable_messages() {
    let place = super::on_sqs().await;
    let world = &place.world;
    let event = place.dead("u").await;
    let sqs = place.sqs.as_ref().unwrap();
    for foreign in ["hello\u{1b}", "{}", r#"{"v":1,"events":["x"]}"#, r#"{"v":9}"#, &"x".repeat(200_000)] {
        let call = sqs.client().send_message().queue_url(sqs.queue_url("greetings"));
        call.message_body(foreign).send().await.unwrap();
    }
    world.pool().run_once().await.unwrap();
    assert_eq!(place.messages().await, 6, "unreadable messages are moved immediately");
    let letters = world.dead_letters();
    let (strays, read) = letters.strays(100).await.unwrap();
    assert_eq!((strays.len(), read), (5, 6));
    assert!(strays.iter().all(|stray| stray.status == MessageStatus::Unreadable));
    assert!(
        strays.iter().all(|stray| { stray.message.reason.as_deref().unwrap().starts_with("unreadable: ") })
    );
    let again = letters.message(&strays[0].message.id, 100).await.unwrap().unwrap();
    assert_eq!(again.message.body, strays[0].message.body);
    assert_eq!(letters.message("nobody", 100).await.unwrap(), None);
    place.accept(event);
    let report = place.redrive().await;
    assert_eq!((report.messages_deleted, report.messages_kept), (1, 5));
    let strays = PurgeOptions { strays: true, ..purge() };
    assert_eq!(letters.purge(&strays, |_| {}).await.unwrap().purged, 5);
    assert_eq!(place.messages().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_filters_by_the_event_of_a_message() {
    let place = super::on_sqs().await;
    let world = &place.world;
    let kept = place.dead("kept").await;
    world.write("gone", "1990-05-02", "UTC").await;
    world.receiver.next([Behaviour::Status(410)]);
    world.set(NINE);
    world.minute().await;
    world.minute().await;
    // A message of an unknown event, as after a restore.
    let unknown = DeadLetter::of_event(Uuid::now_v7(), "test");
    world.queue.send_dead_letters(&[unknown]).await.unwrap();
    assert_eq!(place.messages().await, 3);
    let letters = world.dead_letters();
    let gone = PurgeOptions {
        filter: DeadFilter { reasons: vec![Reason::Gone], ..DeadFilter::default() },
        ..purge()
    };
    let report = letters.purge(&gone, |_| {}).await.unwrap();
    assert_eq!((report.purged, report.kept), (1, 2));
    let (strays, _) = letters.strays(100).await.unwrap();
    assert_eq!((strays.len(), strays[0].status), (1, MessageStatus::Unknown));
    let one = PurgeOptions { filter: DeadFilter { ids: vec![kept], ..DeadFilter::default() }, ..purge() };
    assert_eq!(letters.purge(&one, |_| {}).await.unwrap().purged, 1);
    assert_eq!((place.messages().await, world.count(Dead).await), (1, 2));
}
