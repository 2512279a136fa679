//! A redriven event keeps its id and is delivered once.

use bday::model::EventState::{Cancelled, Dead, Delivered, Pending, Skipped};
use bday::model::Reason;
use bday::operations::dead_letters::{MessageStatus, RedriveOptions, RetryOutcome};
use bday::people::explain::ExplainSettings;
use bday::people::explain::{Status, explain};
use bday::store::{DeadFilter, DeleteOutcome, RedriveOutcome, UserRef};
use uuid::Uuid;

use super::{NINE, Place, on_both_queues};
use crate::support::receiver::Behaviour;
use crate::support::world::instant;

on_both_queues!(
    a_redriven_event_keeps_its_webhook_id_and_is_accepted_once,
    the_next_redrive_deletes_messages_left_by_a_crash,
    a_redriven_event_has_five_new_attempts,
    two_concurrent_redrives_send_each_event_once,
    a_retry_deletes_only_the_message_of_its_event,
    an_event_rejected_with_410_can_be_retried,
);

async fn a_redriven_event_keeps_its_webhook_id_and_is_accepted_once(place: Place) {
    let world = &place.world;
    let event = place.dead("u").await;
    let listed = world.store.dead_events(&DeadFilter::default(), None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].event.id, listed[0].event.attempts), (event, 5));
    assert_eq!((listed[0].last_status, listed[0].last_response.as_deref()), (Some(503), Some("too\\nbusy")));
    assert_eq!(place.messages().await, 1);

    let dry = RedriveOptions { dry_run: true, ..RedriveOptions::default() };
    assert_eq!(place.redrive_as(dry).await.redriven, 1);
    assert_eq!((world.count(Dead).await, place.messages().await), (1, 1), "a dry run changes nothing");

    place.accept(event);
    let report = place.redrive().await;
    assert_eq!((report.redriven, report.messages_deleted, report.messages_complete), (1, 1, true));
    assert_eq!(place.messages().await, 0);
    place.work().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
    let records = world.receiver.records();
    assert_eq!(records.len(), 6);
    assert!(records.iter().all(|record| record.event_id == event.to_string()));
    let attempts = world.store.attempts(event).await.unwrap();
    let numbers: Vec<i16> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert!(attempts[4].response.is_some() && attempts[5].response.is_none());
    // A second redrive finds no dead event.
    let report = place.redrive().await;
    assert_eq!((report.handled(), report.messages_deleted), (0, 0));
    place.world.minute().await;
    assert_eq!(world.greetings(), 1);
    let user = world.store.event(event).await.unwrap().unwrap().user_id;
    let facts = world.store.user_history(UserRef::Id(user)).await.unwrap().unwrap();
    let why = explain(facts, &ExplainSettings::new(&world.config), instant(NINE)).this_year.remove(0).why;
    assert!(why.contains("was redriven at 2026-05-02T09:00:00Z"), "{why}");
}

async fn the_next_redrive_deletes_messages_left_by_a_crash(place: Place) {
    let world = &place.world;
    let event = place.dead("u").await;
    // Simulates a crash after the commit. If the outbox is the queue, the commit deletes the message.
    let left = u64::from(place.sqs.is_some());
    let all = DeadFilter::default();
    let page = world.store.redrive_page(instant(NINE), &all, None, 10, false, |_| RedriveOutcome::Redriven);
    page.await.unwrap();
    assert_eq!((world.count(Pending).await, place.messages().await), (1, left));
    place.accept(event);
    place.work().await;
    assert_eq!((world.greetings(), place.messages().await), (1, left));
    let (strays, _) = world.dead_letters().strays(100).await.unwrap();
    assert!(strays.len() as u64 == left && strays.iter().all(|stray| stray.status == MessageStatus::Stale));
    let report = place.redrive().await;
    assert_eq!((report.handled(), report.messages_deleted), (0, left));
    assert_eq!(place.messages().await, 0);
    place.work().await;
    assert_eq!(world.receiver.records().len(), 6);
}

async fn a_redriven_event_has_five_new_attempts(place: Place) {
    let world = &place.world;
    let event = place.dead("u").await;
    assert_eq!(place.redrive().await.messages_deleted, 1);
    place.work().await;
    let found = world.store.event(event).await.unwrap().unwrap();
    assert_eq!((found.state, found.attempts), (Dead, 10));
    assert_eq!((place.messages().await, world.greetings()), (1, 0));
    place.accept(event);
    assert_eq!(place.redrive().await.redriven, 1);
    place.work().await;
    let found = world.store.event(event).await.unwrap().unwrap();
    assert_eq!((found.state, found.attempts), (Delivered, 11));
    assert_eq!((place.messages().await, world.greetings()), (0, 1));
}

async fn two_concurrent_redrives_send_each_event_once(place: Place) {
    let world = &place.world;
    for n in 0..4 {
        let event = place.dead(&format!("u{n}")).await;
        place.accept(event);
    }
    let (one, two) = tokio::join!(place.redrive(), place.redrive());
    assert_eq!(one.redriven + two.redriven, 4);
    place.redrive().await;
    place.work().await;
    assert_eq!((world.greetings(), place.messages().await), (4, 0));
}

async fn a_retry_deletes_only_the_message_of_its_event(place: Place) {
    let world = &place.world;
    let (one, other) = (place.dead("one").await, place.dead("other").await);
    place.accept(one);
    let letters = world.dead_letters();
    assert_eq!(letters.retry(one, false).await.unwrap(), RetryOutcome::Done(RedriveOutcome::Redriven));
    place.work().await;
    assert_eq!((world.greetings(), place.messages().await), (1, 1));
    assert_eq!(letters.retry(one, false).await.unwrap(), RetryOutcome::NotDead(Delivered));
    assert_eq!(letters.retry(Uuid::now_v7(), false).await.unwrap(), RetryOutcome::Unknown);
    let (strays, looked_at) = letters.strays(100).await.unwrap();
    assert_eq!((strays.len(), looked_at), (0, 1));
    place.accept(other);
    place.redrive().await;
    place.work().await;
    assert_eq!((world.greetings(), place.messages().await), (2, 0));
}

async fn an_event_rejected_with_410_can_be_retried(place: Place) {
    let world = &place.world;
    world.write("u", "1990-05-02", "UTC").await;
    world.receiver.next([Behaviour::Status(410)]);
    world.set(NINE);
    world.minute().await;
    // The next tick sends the dead letter.
    world.tick().await;
    assert_eq!((world.count(Dead).await, place.messages().await), (1, 1));
    let gone = RedriveOptions {
        filter: DeadFilter { reasons: vec![Reason::Gone], ..DeadFilter::default() },
        ..RedriveOptions::default()
    };
    assert_eq!(place.redrive_as(gone).await.redriven, 1);
    place.work().await;
    assert_eq!((world.greetings(), place.messages().await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_does_not_send_the_event_of_a_deleted_user() {
    let place = super::on_postgres().await;
    let world = &place.world;
    let event = place.dead("u").await;
    place.accept(event);
    let user = world.store.event(event).await.unwrap().unwrap().user_id;
    let deleted = world.store.delete_user(instant(NINE), UserRef::Id(user), None, None);
    assert_eq!(deleted.await.unwrap(), DeleteOutcome::Deleted(user));
    let report = place.redrive_as(RedriveOptions { force: true, ..RedriveOptions::default() }).await;
    assert_eq!(
        (report.redriven, report.cancelled, report.messages_deleted),
        (0, 1, 0),
        "the deletion of the user took the message"
    );
    let facts = world.store.user_history(UserRef::Id(user)).await.unwrap().unwrap();
    let found = &facts.events[0].event;
    assert_eq!((found.state, found.reason.as_deref()), (Cancelled, Some("user_deleted")));
    place.work().await;
    assert_eq!((world.greetings(), place.messages().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_local_day_a_redrive_requires_force() {
    let place = super::on_postgres().await;
    let world = &place.world;
    let event = place.dead("u").await;
    place.accept(event);
    world.set("2026-05-03T00:00:00Z");
    let report = place.redrive().await;
    assert_eq!((report.redriven, report.skipped, report.messages_deleted), (0, 1, 1));
    let found = world.store.event(event).await.unwrap().unwrap();
    assert_eq!((found.state, found.reason.as_deref()), (Skipped, Some("day_over")));
    let facts = world.store.user_history(UserRef::Id(found.user_id)).await.unwrap().unwrap();
    let told = explain(facts, &ExplainSettings::new(&world.config), instant("2026-05-03T00:00:00Z"));
    assert_eq!(told.this_year[0].status, Status::SkippedDayOver);
    assert_eq!(place.redrive().await.handled(), 0, "skipped events are not redriven");

    // 15 hours late, over the limit of two hours.
    let force = RedriveOptions { force: true, ..RedriveOptions::default() };
    assert_eq!(place.redrive_as(force).await.redriven, 1);
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lateness_of_a_redriven_event_counts_from_the_redrive() {
    let place = super::on_postgres().await;
    let world = &place.world;
    let (sent, paused) = (place.dead("sent").await, place.dead("paused").await);
    place.accept(sent);
    place.accept(paused);
    world.set("2026-05-02T20:00:00Z");
    let retried = world.dead_letters().retry(sent, false).await.unwrap();
    assert_eq!(retried, RetryOutcome::Done(RedriveOutcome::Redriven));
    world.minute().await;
    assert_eq!(world.greetings(), 1);
    world.store.set_pause(instant(NINE), "").await.unwrap();
    world.dead_letters().retry(paused, false).await.unwrap();
    world.set("2026-05-02T22:00:01Z");
    world.store.end_pause().await.unwrap();
    world.tick().await;
    let found = world.store.event(paused).await.unwrap().unwrap();
    assert_eq!((found.state, found.reason.as_deref()), (Skipped, Some("late")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_a_redrive_does_not_exhaust_the_attempts() {
    let place = super::on_postgres().await;
    let world = &place.world;
    let event = place.dead("u").await;
    place.accept(event);
    place.redrive().await;
    // The sixth attempt is the first after the redrive.
    let (_, leases) = world.lease(&[event]).await;
    assert_eq!((leases[0].attempt, leases[0].attempts_since_redrive), (6, 1));
    world.set("2026-05-02T09:00:31Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_after_an_edit_sends_no_second_greeting() {
    let place = super::on_postgres().await;
    let world = &place.world;
    let event = place.dead("u").await;
    place.accept(event);
    // The new date is in the same year, whose event already exists.
    world.write("u", "1990-05-04", "UTC").await;
    assert_eq!(place.redrive().await.redriven, 1);
    world.minute().await;
    for day in ["2026-05-04T09:00:00Z", "2026-05-05T09:00:00Z"] {
        world.set(day);
        world.minute().await;
    }
    assert_eq!(world.greetings(), 1);
}
