//! The statistics of one local date.

use bday::model::EventState::{self, Cancelled, Dead, Delivered, Pending, Skipped};
use bday::store::{BusyMinute, DayStatistics, EventGroup, Lateness, OutcomeCounts, UserRef};

use super::{date, insert_event};
use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant};

const NINE: &str = "2026-05-02T09:00:00Z";

async fn of_the_second(world: &World, now: &str) -> DayStatistics {
    world.store.day_statistics(instant(now), date("2026-05-02")).await.unwrap()
}

fn group(due_at: &str, state: EventState, reason: Option<&str>, channel: Option<&str>) -> EventGroup {
    EventGroup {
        due_at: instant(due_at),
        state,
        reason: reason.map(str::to_owned),
        channel: channel.map(str::to_owned),
        late: false,
        count: 1,
    }
}

#[tokio::test]
async fn the_events_of_a_local_date_are_grouped_by_quarter_of_an_hour_state_reason_and_channel() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.tick().await;
    for (name, day, zone) in [
        ("kathmandu", "1990-05-02", "Asia/Kathmandu"),
        ("london", "1990-05-02", "Etc/UTC"),
        ("gone", "1990-05-02", "Etc/UTC"),
        ("west", "1990-05-02", "Etc/GMT+12"),
        // Due on 2 May in UTC, but of another local date.
        ("east", "1990-05-03", "Etc/GMT-14"),
    ] {
        world.write(name, day, zone).await;
    }
    world.set("2026-05-02T03:15:00Z");
    world.minute().await;
    world.set(NINE);
    world.receiver.next([Behaviour::Status(410)]);
    world.minute().await;
    let webhook = Some("webhook");
    let found = of_the_second(&world, NINE).await;
    assert_eq!(
        found.groups,
        [
            group("2026-05-02T03:15:00Z", Delivered, None, webhook),
            group(NINE, Delivered, None, webhook),
            group(NINE, Dead, Some("gone"), webhook),
            group("2026-05-02T21:00:00Z", Pending, None, None),
        ]
    );
    assert_eq!(found.counts, OutcomeCounts { sent: 2, failed: 1, due: 1, ..OutcomeCounts::default() });
    assert_eq!(found.lateness, Some(Lateness { p50_ms: 0, p95_ms: 0, p99_ms: 0 }));
    assert_eq!((found.late, found.due_pending, found.oldest_pending_due_at), (0, 0, None));
}

#[tokio::test]
async fn every_state_is_counted_and_a_date_without_events_is_empty() {
    let world = World::at(NINE).await;
    let second = date("2026-05-02");
    for (state, reason) in [
        ("delivered", None),
        ("dead", Some("status")),
        ("skipped", Some("late")),
        ("cancelled", Some("operator")),
        ("pending", None),
    ] {
        insert_event(&world, second, state, reason).await;
    }
    let found = of_the_second(&world, NINE).await;
    assert_eq!(found.counts, OutcomeCounts { sent: 1, failed: 1, skipped: 1, cancelled: 1, due: 1 });
    let states: Vec<_> = found.groups.iter().map(|group| group.state).collect();
    assert_eq!(states, [Pending, Delivered, Dead, Cancelled, Skipped]);
    let empty = world.store.day_statistics(instant(NINE), date("2026-05-03")).await.unwrap();
    assert_eq!((empty.counts, empty.lateness, empty.groups), (OutcomeCounts::default(), None, Vec::new()));
}

#[tokio::test]
async fn an_event_delivered_over_a_minute_after_late_from_is_late() {
    let world = World::at(NINE).await;
    for _ in 0..100 {
        insert_event(&world, date("2026-05-02"), "delivered", None).await;
    }
    // Learned an hour after it was due; delivered 1 s to 100 s after that.
    let sql = "
        UPDATE events e SET late_from = due_at + interval '1 hour', finished_at = due_at + interval '1 hour' + n * interval '1 s'
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM events) AS r WHERE r.id = e.id";
    sqlx::query(sql).execute(&world.database.pool().await).await.unwrap();
    let found = of_the_second(&world, NINE).await;
    assert_eq!(found.lateness, Some(Lateness { p50_ms: 50_000, p95_ms: 95_000, p99_ms: 99_000 }));
    assert_eq!((found.late, found.counts.sent), (40, 100));
    let groups: Vec<_> = found.groups.iter().map(|group| (group.late, group.count)).collect();
    assert_eq!(groups, [(false, 60), (true, 40)]);
}

#[tokio::test]
async fn events_of_deleted_users_belong_to_no_date() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.tick().await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    world.set(NINE);
    world.minute().await;
    assert_eq!(of_the_second(&world, NINE).await.counts.sent, 1);
    world.store.delete_user(instant(NINE), UserRef::Id(user), None, None).await.unwrap();
    insert_event(&world, date("2026-01-01"), "delivered", None).await;
    assert_eq!(of_the_second(&world, NINE).await.counts.total(), 0);
    // The dates of their events are reduced to 1 January.
    let new_year = world.store.day_statistics(instant(NINE), date("2026-01-01")).await.unwrap();
    assert_eq!(new_year.counts.total(), 1);
    let counts = world.store.live_day_counts(date("2025-12-31"), date("2026-01-02")).await.unwrap();
    assert_eq!(counts.len(), 1);
    assert_eq!((counts[0].local_date, counts[0].counts.total()), (date("2026-01-01"), 1));
}

#[tokio::test]
async fn a_refused_contact_leaves_the_channel_of_its_attempt() {
    let world = World::at(NINE).await;
    let event = insert_event(&world, date("2026-05-02"), "dead", Some("bounced")).await;
    sqlx::query("INSERT INTO attempts (event_id, number, outcome, channel, reason) VALUES ($1, 1, 'failed', 'mail', 'bounced')")
        .bind(event)
        .execute(&world.database.pool().await)
        .await
        .unwrap();
    let found = of_the_second(&world, NINE).await;
    assert_eq!(found.groups[0].channel.as_deref(), Some("mail"));
}

#[tokio::test]
async fn the_oldest_pending_event_is_the_one_that_has_waited_longest() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.tick().await;
    world.write("retried", "1990-05-02", "Asia/Kathmandu").await;
    world.write("waiting", "1990-05-02", "Etc/GMT-1").await;
    world.write("later", "1990-05-02", "UTC").await;
    world.set("2026-05-02T03:15:00Z");
    world.receiver.next([Behaviour::Status(503)]);
    world.minute().await;
    let found = of_the_second(&world, "2026-05-02T08:00:01Z").await;
    assert_eq!(found.due_pending, 2);
    assert_eq!(found.oldest_pending_due_at, Some(instant("2026-05-02T03:15:00Z")));
    assert_eq!(of_the_second(&world, "2026-05-02T03:15:00Z").await.due_pending, 0);
    let busiest =
        world.store.busiest_minutes(instant(NINE), instant("2026-05-03T00:00:00Z"), 10).await.unwrap();
    assert_eq!(busiest, [BusyMinute { at: instant(NINE), due: 1 }]);
}
