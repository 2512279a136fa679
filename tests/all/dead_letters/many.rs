//! More dead letters than a batch: limits, pages and rates.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bday::model::EventState::{Dead, Pending, Queued};
use bday::model::Reason;
use bday::operations::dead_letters::RedriveOptions;
use bday::store::{DeadFilter, TimeCursor, UserKey};

use super::{NINE, Place};
use crate::support::wait::eventually;
use crate::support::world::person;

/// Creates `n` dead events whose messages in the dead-letter queue have expired.
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

/// After waiting for a row lock, PostgreSQL checks the row again and continues with the next rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_skips_events_of_a_concurrent_redrive() {
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
    let (report, ()) = tokio::join!(place.redrive_as(RedriveOptions::default()), commit);
    assert_eq!((report.redriven, report.more), (234, false));
    assert_eq!(world.count(Dead).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_ends_at_the_last_event_or_at_its_limit() {
    let place = died(1234).await;
    let world = &place.world;
    world.store.set_pause(world_now(&place), "").await.unwrap();
    let report = place.redrive_as(RedriveOptions { limit: Some(700), ..RedriveOptions::default() }).await;
    assert_eq!((report.redriven, report.more), (700, true));
    assert_eq!((world.count(Pending).await, world.count(Dead).await), (700, 534));
    world.store.end_pause().await.unwrap();
    let heard = AtomicU64::new(0);
    let exact = RedriveOptions { limit: Some(534), ..RedriveOptions::default() };
    let (report, result) = world
        .dead_letters()
        .redrive(&exact, |n| {
            heard.fetch_add(n, Ordering::Relaxed);
        })
        .await;
    result.unwrap();
    assert_eq!((report.redriven, report.more), (534, false));
    assert_eq!(heard.into_inner(), 534);
    // The redrive claims the events itself, without a tick.
    assert_eq!((world.count(Dead).await, world.count(Queued).await), (0, 1234));
}

fn world_now(place: &Place) -> chrono::DateTime<chrono::Utc> {
    use bday::clock::Clock as _;
    place.world.clock.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_respects_its_rate_limit() {
    let place = died(20).await;
    let capped = RedriveOptions {
        max_per_second: 7,
        time_limit: Some(Duration::from_millis(900)),
        ..RedriveOptions::default()
    };
    // The events of one second; the next batch would exceed the time limit.
    let report = place.redrive_as(capped).await;
    assert_eq!((report.redriven, report.more), (7, true));
    assert_eq!(place.world.count(Queued).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_events_can_be_listed_by_page_and_filter() {
    let place = died(25).await;
    let store = &place.world.store;
    let filter = DeadFilter::default();
    let (mut before, mut ids) = (None, std::collections::HashSet::new());
    loop {
        let page = store.dead_events(&filter, before, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(TimeCursor::from(&last.event));
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
async fn a_scan_of_the_dead_letter_queue_ends_at_its_limit() {
    let place = super::on_sqs().await;
    let sqs = place.sqs.as_ref().unwrap();
    let queue = sqs.queue_url("greetings-dlq");
    for n in 0..25 {
        let call = sqs.client().send_message().queue_url(&queue);
        call.message_body(format!("stray {n}")).send().await.unwrap();
    }
    let (strays, looked_at) = place.world.dead_letters().strays(15).await.unwrap();
    assert_eq!((strays.len(), looked_at), (15, 15));
    // The scan has released all messages.
    let counts = sqs.counts("greetings-dlq");
    assert_eq!((counts.visible, counts.in_flight), (25, 0));
}
