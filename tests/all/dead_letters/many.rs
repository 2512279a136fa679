//! More than a batch: bounds, pages, and a cap on the rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bday::model::EventState::{Dead, Pending, Queued};
use bday::model::Reason;
use bday::operations::dead_letters::Redrive;
use bday::store::{DeadFilter, EventCursor, UserKey};

use super::{NINE, Place};
use crate::support::wait::eventually;
use crate::support::world::person;

/// `n` people whose greeting died, with no message in the dead-letter queue, as after its retention.
async fn died(n: i32) -> Place {
    let place = super::on_postgres().await;
    let world = &place.world;
    let people: Vec<_> =
        (0..n).map(|n| (UserKey::ExternalId, person(&format!("u{n}"), "1990-05-02", "UTC"))).collect();
    let (schedule, now) = (world.config.schedule(), world_now(&place));
    world.store.save_users(&schedule, now, &people).await.unwrap();
    world.set(NINE);
    let pool = world.database.pool().await;
    sqlx::query("UPDATE events SET state = 'dead', reason = 'status', attempts = 5, next_attempt_at = NULL, finished_at = '2026-05-02T09:00:00Z'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(world.count(Dead).await, i64::from(n));
    place
}

/// Postgres looks at each row that it waited for once more, and goes on with those behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_waits_for_another_goes_on_with_what_that_one_leaves() {
    let place = died(1234).await;
    let world = &place.world;
    let pool = world.database.pool().await;
    let mut other = pool.begin().await.unwrap();
    let taken = sqlx::query(
        "UPDATE events SET state = 'pending', reason = NULL, finished_at = NULL, next_attempt_at = due_at
         WHERE id IN (SELECT id FROM events ORDER BY due_at, id LIMIT 1000)",
    );
    taken.execute(&mut *other).await.unwrap();
    let commit = async {
        eventually("the redrive to wait", async || {
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            waits.then_some(())
        })
        .await;
        other.commit().await.unwrap();
    };
    let (report, ()) = tokio::join!(place.redrive_as(Redrive::default()), commit);
    assert_eq!((report.redriven, report.more), (234, false));
    assert_eq!(world.count(Dead).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_of_many_goes_on_to_the_end_or_to_its_limit() {
    let place = died(1234).await;
    let world = &place.world;
    world.store.set_pause(world_now(&place), "").await.unwrap();
    let report = place.redrive_as(Redrive { limit: Some(700), ..Redrive::default() }).await;
    assert_eq!((report.redriven, report.more), (700, true));
    assert_eq!((world.count(Pending).await, world.count(Dead).await), (700, 534));
    world.store.end_pause().await.unwrap();
    let heard = AtomicU64::new(0);
    let exact = Redrive { limit: Some(534), ..Redrive::default() };
    let (report, result) = world
        .dead_letters()
        .redrive(&exact, |n| {
            heard.fetch_add(n, Ordering::Relaxed);
        })
        .await;
    result.unwrap();
    assert_eq!((report.redriven, report.more), (534, false));
    assert_eq!(heard.into_inner(), 534);
    // What was redriven is on the queue already, without a tick.
    assert_eq!((world.count(Dead).await, world.count(Queued).await), (0, 1234));
}

fn world_now(place: &Place) -> chrono::DateTime<chrono::Utc> {
    use bday::clock::Clock as _;
    place.world.clock.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_cap_no_more_than_it_allows_goes_on_its_way() {
    let place = died(20).await;
    let capped =
        Redrive { max_per_second: 7, patience: Some(Duration::from_millis(900)), ..Redrive::default() };
    // A second's worth; the next would have to wait for longer than there is patience.
    let report = place.redrive_as(capped).await;
    assert_eq!((report.redriven, report.more), (7, true));
    assert_eq!(place.world.count(Queued).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_pages_and_filters() {
    let place = died(25).await;
    let store = &place.world.store;
    let filter = DeadFilter::default();
    let (mut before, mut ids) = (None, std::collections::HashSet::new());
    loop {
        let page = store.dead_events(&filter, before, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(EventCursor::from(&last.event));
        ids.extend(page.iter().map(|dead| dead.event.id));
    }
    assert_eq!(ids.len(), 25);
    let count = async |change: fn(&mut DeadFilter)| {
        let mut filter = DeadFilter::default();
        change(&mut filter);
        let listed = store.dead_events(&filter, None, 100).await.unwrap().len() as u64;
        assert_eq!(store.count_dead(&filter).await.unwrap(), listed);
        listed
    };
    assert_eq!(count(|filter| filter.reasons = vec![Reason::Status]).await, 25);
    assert_eq!(count(|filter| filter.reasons = vec![Reason::Gone]).await, 0);
    assert_eq!(count(|filter| filter.kinds = vec!["wedding".into()]).await, 0);
    let nine = |filter: &mut DeadFilter| filter.since = "2026-05-02T09:00:00Z".parse().ok();
    assert_eq!(count(nine).await, 25);
    assert_eq!(count(|filter| filter.until = "2026-05-02T09:00:00Z".parse().ok()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_some_messages_ends_there_however_many_there_are() {
    let place = super::on_sqs().await;
    let sqs = place.sqs.as_ref().unwrap();
    let queue = sqs.queue_url("greetings-dlq");
    for n in 0..25 {
        let call = sqs.client().send_message().queue_url(&queue);
        call.message_body(format!("stray {n}")).send().await.unwrap();
    }
    let (strays, looked_at) = place.world.dead_letters().strays(15).await.unwrap();
    assert_eq!((strays.len(), looked_at), (15, 15));
    // None is left hidden.
    let counts = sqs.counts("greetings-dlq");
    assert_eq!((counts.visible, counts.in_flight), (25, 0));
}
