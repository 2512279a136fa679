//! Messages that nobody wants any more, and those that were never ours.

use bday::dead_letters::{Purge, Standing};
use bday::model::EventState::{Dead, Delivered};
use bday::model::Reason;
use bday::store::DeadFilter;
use uuid::Uuid;

use super::{NINE, Place, on_both_queues};
use crate::support::receiver::Behaviour;

on_both_queues!(
    a_purge_deletes_messages_and_the_events_stay_dead_and_can_be_redriven,
    what_cannot_be_read_is_a_stray_with_its_reason_and_only_a_purge_deletes_it,
    a_filter_is_about_the_event_of_a_message,
);

fn purge() -> Purge {
    Purge::default()
}

async fn a_purge_deletes_messages_and_the_events_stay_dead_and_can_be_redriven(place: Place) {
    let world = &place.world;
    let event = place.dead("u").await;
    let dry = Purge {
        dry_run: true,
        ..purge()
    };
    let letters = world.dead_letters();
    let report = letters.purge(&dry, |_| {}).await.unwrap();
    assert_eq!((report.purged, place.messages().await), (1, 1));
    // The dry run has let go of what it looked at.
    let report = letters.purge(&purge(), |_| {}).await.unwrap();
    assert_eq!((report.purged, report.kept, report.complete), (1, 0, true));
    assert_eq!((place.messages().await, world.count(Dead).await), (0, 1));
    place.heal(event);
    assert_eq!(place.redrive().await.redriven, 1);
    place.work().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
}

async fn what_cannot_be_read_is_a_stray_with_its_reason_and_only_a_purge_deletes_it(place: Place) {
    let world = &place.world;
    let event = place.dead("u").await;
    place.put_foreign("hello\u{1b}").await;
    world.pool().run_once().await.unwrap();
    assert_eq!(place.messages().await, 2, "a dead letter at once");
    let letters = world.dead_letters();
    let (strays, looked_at) = letters.strays(100).await.unwrap();
    assert_eq!((strays.len(), looked_at), (1, 2));
    let stray = &strays[0];
    assert_eq!(
        (stray.standing, stray.letter.body.as_str()),
        (Standing::Unreadable, "hello\u{1b}")
    );
    let reason = stray.letter.reason.as_deref().unwrap();
    assert!(
        reason.starts_with("unreadable: the message is not one of ours"),
        "{reason}"
    );
    // A look leaves it where it is, for whoever looks next.
    let again = letters.message(&stray.letter.id, 100).await.unwrap().unwrap();
    assert_eq!(again.letter.body, stray.letter.body);
    assert_eq!(letters.message("nobody", 100).await.unwrap(), None);

    place.heal(event);
    let report = place.redrive().await;
    assert_eq!((report.messages_deleted, report.messages_kept), (1, 1));
    let strays = Purge {
        strays: true,
        ..purge()
    };
    assert_eq!(letters.purge(&strays, |_| {}).await.unwrap().purged, 1);
    assert_eq!(place.messages().await, 0);
}

async fn a_filter_is_about_the_event_of_a_message(place: Place) {
    let world = &place.world;
    let kept = place.dead("kept").await;
    world.write("gone", "1990-05-02", "UTC").await;
    world.receiver.next([Behaviour::Status(410)]);
    world.set(NINE);
    world.minute().await;
    // Of an event that nobody knows, as after a restore.
    world.carrier.send(&[Uuid::now_v7()]).await.unwrap();
    let received = world.carrier.receive(1, std::time::Duration::ZERO).await.unwrap();
    world.carrier.dead_letter(&received[0], "test").await.unwrap();
    assert_eq!(place.messages().await, 3);
    let letters = world.dead_letters();
    let gone = Purge {
        filter: DeadFilter {
            reasons: vec![Reason::Gone],
            ..DeadFilter::default()
        },
        ..purge()
    };
    let report = letters.purge(&gone, |_| {}).await.unwrap();
    assert_eq!((report.purged, report.kept), (1, 2));
    let (strays, _) = letters.strays(100).await.unwrap();
    assert_eq!((strays.len(), strays[0].standing), (1, Standing::Unknown));
    let one = Purge {
        filter: DeadFilter {
            ids: vec![kept],
            ..DeadFilter::default()
        },
        ..purge()
    };
    assert_eq!(letters.purge(&one, |_| {}).await.unwrap().purged, 1);
    assert_eq!((place.messages().await, world.count(Dead).await), (1, 2));
}
