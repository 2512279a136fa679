//! The counts of a range of dates: past ones are stored, later ones come from users' dates.

use std::sync::Arc;

use bday::calendar::LeapDay;
use bday::clock::{Clock as _, SharedClock, SystemClock};
use bday::config::parts;
use bday::operations::dead_letters::RedriveOptions;
use bday::operations::statistics::{DateCounts, Statistics};
use bday::store::{DayCounts, OutcomeCounts, RECOUNT_AFTER, UserRef};
use chrono::{Days, NaiveDate, SecondsFormat, TimeDelta};
use tokio_util::sync::CancellationToken;

use super::{date, insert_event};
use crate::support::receiver::Behaviour;
use crate::support::wait::eventually;
use crate::support::world::{World, instant};

const NOW: &str = "2026-05-10T12:00:00Z";
const ALL: i64 = i64::MAX;

/// Counts the dates from 1 April 2025 to 8 May 2026; returns how many.
async fn count(world: &World, max_events: i64) -> u32 {
    let range = (date("2025-04-01"), date("2026-05-08"));
    world.store.count_days(world.clock.now(), range, max_events).await.unwrap()
}

async fn stored(world: &World) -> Vec<(NaiveDate, OutcomeCounts)> {
    let days = world.store.stored_day_counts(date("2000-01-01"), date("9999-12-31")).await;
    days.unwrap().into_iter().map(|DayCounts { local_date, counts }| (local_date, counts)).collect()
}

fn sent(sent: i64) -> OutcomeCounts {
    OutcomeCounts { sent, ..OutcomeCounts::default() }
}

fn statistics(world: &World, leap_day: LeapDay) -> Statistics {
    Statistics::new(world.store.clone(), leap_day, Arc::clone(&world.clock) as SharedClock)
}

#[tokio::test]
async fn a_run_counts_a_limited_number_of_events_and_a_counted_date_once() {
    let world = World::at(NOW).await;
    for day in ["2026-05-05", "2026-05-07", "2026-05-08"] {
        for _ in 0..2 {
            insert_event(&world, date(day), "delivered", None).await;
        }
    }
    assert_eq!(count(&world, 3).await, 0, "the planner is behind");
    world.tick().await;
    assert_eq!(count(&world, 3).await, 2);
    assert_eq!(stored(&world).await, [(date("2026-05-07"), sent(2)), (date("2026-05-08"), sent(2))]);
    // 6 May has no event, and 4 May is the first date that the first event can have.
    assert_eq!(count(&world, 3).await, 3);
    assert_eq!(count(&world, 3).await, 0);
    let days = stored(&world).await;
    assert_eq!(
        days.iter().map(|(_, counts)| counts.total()).collect::<Vec<_>>(),
        [0, 2, 0, 2, 2],
        "{days:?}"
    );
    // An attempt may be recorded late.
    world.clock.advance(RECOUNT_AFTER + TimeDelta::seconds(1));
    assert_eq!(count(&world, ALL).await, 1);
}

#[tokio::test]
async fn concurrent_schedulers_count_each_date_once() {
    let world = World::at(NOW).await;
    world.tick().await;
    for day in 1..=8 {
        insert_event(&world, NaiveDate::from_ymd_opt(2026, 5, day).unwrap(), "delivered", None).await;
    }
    let (one, two) = tokio::join!(count(&world, ALL), count(&world, ALL));
    assert_eq!(one + two, 9);
    assert_eq!(stored(&world).await.iter().map(|(_, counts)| counts.sent).sum::<i64>(), 8);
}

#[tokio::test]
async fn a_date_with_unfinished_events_is_counted_again_until_they_have_ended() {
    let world = World::at(NOW).await;
    world.tick().await;
    let event = insert_event(&world, date("2026-05-01"), "pending", None).await;
    count(&world, ALL).await;
    let first_of_may = async || {
        let days = stored(&world).await;
        days.into_iter().find(|(day, _)| *day == date("2026-05-01")).unwrap().1
    };
    assert_eq!(first_of_may().await.due, 1);
    world.store.cancel_event(instant(NOW), event).await.unwrap();
    count(&world, ALL).await;
    assert_eq!(first_of_may().await.due, 1, "not counted again yet");
    world.clock.advance(RECOUNT_AFTER + TimeDelta::seconds(1));
    count(&world, ALL).await;
    assert_eq!(first_of_may().await, OutcomeCounts { cancelled: 1, ..OutcomeCounts::default() });
}

#[tokio::test]
async fn the_date_of_a_redriven_event_is_counted_again() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.tick().await;
    for name in ["forced", "over"] {
        world.write(name, "1990-05-01", "UTC").await;
    }
    world.set("2026-05-01T09:00:00Z");
    world.receiver.script([Behaviour::Status(410)]);
    world.minute().await;
    world.receiver.script([Behaviour::Status(200)]);
    world.set(NOW);
    world.tick().await;
    count(&world, ALL).await;
    let first_of_may = async || {
        let days = stored(&world).await;
        days.into_iter().find(|(day, _)| *day == date("2026-05-01")).unwrap().1
    };
    assert_eq!(first_of_may().await, OutcomeCounts { failed: 2, ..OutcomeCounts::default() });

    let one = RedriveOptions { force: true, limit: Some(1), ..RedriveOptions::default() };
    let (report, result) = world.dead_letters().redrive(&one, |_| {}).await;
    result.unwrap();
    assert_eq!(report.redriven, 1);
    count(&world, ALL).await;
    assert_eq!(first_of_may().await, OutcomeCounts { failed: 1, due: 1, ..OutcomeCounts::default() });
    world.pool().run_once().await.unwrap();
    let (report, result) = world.dead_letters().redrive(&RedriveOptions::default(), |_| {}).await;
    result.unwrap();
    assert_eq!(report.skipped, 1);
    count(&world, ALL).await;
    assert_eq!(first_of_may().await, OutcomeCounts { sent: 1, skipped: 1, ..OutcomeCounts::default() });
}

#[tokio::test]
async fn a_redrive_waits_for_the_count_of_its_date() {
    let world = World::at(NOW).await;
    world.tick().await;
    insert_event(&world, date("2026-05-01"), "dead", Some("status")).await;
    count(&world, ALL).await;
    let pool = world.database.pool().await;
    let mut counting = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM day_counts WHERE local_date = '2026-05-01' FOR UPDATE")
        .execute(&mut *counting)
        .await
        .unwrap();
    let force = RedriveOptions { force: true, ..RedriveOptions::default() };
    let letters = world.dead_letters();
    let mut redrive = Box::pin(letters.redrive(&force, |_| {}));
    let waits = eventually("the redrive to wait", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        (waiting > 0).then_some(())
    });
    tokio::select! {
        _ = &mut redrive => panic!("the redrive did not wait"),
        () = waits => {}
    }
    sqlx::query("UPDATE day_counts SET counted_at = now() WHERE local_date = '2026-05-01'")
        .execute(&mut *counting)
        .await
        .unwrap();
    counting.commit().await.unwrap();
    redrive.await.1.unwrap();
    let outdated: bool =
        sqlx::query_scalar("SELECT counted_at IS NULL FROM day_counts WHERE local_date = '2026-05-01'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(outdated);
}

#[tokio::test]
async fn the_counts_of_a_date_outlive_its_events() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    world.tick().await;
    let user = world.write("u", "1990-05-01", "UTC").await;
    world.set("2026-05-01T09:00:00Z");
    world.minute().await;
    world.set(NOW);
    world.tick().await;
    count(&world, ALL).await;
    world.store.delete_user(instant(NOW), UserRef::Id(user), None, None).await.unwrap();
    count(&world, ALL).await;
    assert!(stored(&world).await.contains(&(date("2026-05-01"), sent(1))));
}

#[tokio::test]
async fn each_date_of_a_range_is_stored_counted_or_ahead() {
    let world = World::at(NOW).await;
    world.tick().await;
    insert_event(&world, date("2026-05-07"), "delivered", None).await;
    count(&world, ALL).await;
    insert_event(&world, date("2026-05-07"), "dead", Some("status")).await;
    insert_event(&world, date("2026-05-09"), "delivered", None).await;
    insert_event(&world, date("2026-05-10"), "pending", None).await;
    world.write("ahead", "1990-05-20", "UTC").await;
    let statistics = statistics(&world, LeapDay::Feb28);
    let days = async |from: &str, to: &str| {
        let days = statistics.days(date(from), date(to)).await.unwrap();
        days.iter().map(|DateCounts { counts, .. }| *counts).collect::<Vec<_>>()
    };
    let due = |due| OutcomeCounts { due, ..OutcomeCounts::default() };
    let none = OutcomeCounts::default();
    assert_eq!(
        days("2026-05-04", "2026-05-12").await,
        [none, none, none, sent(1), none, sent(1), due(1), none, none].map(Some)
    );
    assert_eq!(days("2026-05-20", "2026-05-21").await, [due(1), none].map(Some));
    assert_eq!(days("2027-05-20", "2027-05-20").await, [due(1)].map(Some));
    // The scheduler has counted nothing since.
    world.set("2026-05-13T00:00:00Z");
    assert_eq!(
        days("2026-05-08", "2026-05-13").await,
        [Some(none), None, None, None, Some(none), Some(none)]
    );
    assert_eq!(statistics.days(date("2020-01-01"), date("2022-01-01")).await.unwrap().len(), 400);
}

#[tokio::test]
async fn what_is_ahead_is_counted_before_a_visitor_asks() {
    let world = World::at(NOW).await;
    world.write("ahead", "1990-05-20", "UTC").await;
    let statistics = statistics(&world, LeapDay::Feb28);
    assert!(statistics.count_ahead().await.as_secs() >= 60);
    let rename = "ALTER TABLE occasions RENAME TO elsewhere";
    sqlx::query(rename).execute(&world.database.pool().await).await.unwrap();
    let days = statistics.days(date("2026-05-20"), date("2026-05-20")).await.unwrap();
    assert_eq!(days[0].counts.unwrap().due, 1);
    // An error ends nothing: it is counted again later.
    world.clock.advance(TimeDelta::minutes(20));
    assert_eq!(statistics.count_ahead().await.as_secs(), 60);
    assert!(statistics.days(date("2026-05-20"), date("2026-05-20")).await.is_err());
}

#[tokio::test]
async fn the_29th_of_february_ahead_counts_by_the_configured_rule() {
    let world = World::at(NOW).await;
    for (name, day) in [("a", "--02-29"), ("b", "2000-02-29"), ("c", "1990-02-28"), ("d", "1990-03-01")] {
        world.write(name, day, "UTC").await;
    }
    for (leap_day, common_year) in
        [(LeapDay::Feb28, [3, 1]), (LeapDay::Mar1, [1, 3]), (LeapDay::LeapYearsOnly, [1, 1])]
    {
        let statistics = statistics(&world, leap_day);
        let due = async |from: &str, to: &str| {
            let days = statistics.days(date(from), date(to)).await.unwrap();
            days.iter().map(|day| day.counts.unwrap().due).collect::<Vec<_>>()
        };
        assert_eq!(due("2027-02-28", "2027-03-01").await, common_year, "{leap_day}");
        assert_eq!(due("2028-02-28", "2028-03-01").await, [1, 2, 1], "{leap_day}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_scheduler_counts_past_dates() {
    let now = SystemClock.now();
    let world = World::at(&now.to_rfc3339_opts(SecondsFormat::Micros, true)).await;
    let past = now.date_naive() - Days::new(5);
    insert_event(&world, past, "delivered", None).await;
    world.tick().await;
    let queue = Arc::clone(&world.queue);
    let scheduler =
        parts::scheduler_for_command(&world.config, world.store.clone(), queue, Arc::new(SystemClock));
    let token = CancellationToken::new();
    let running = scheduler.run(token.clone());
    let counted = async {
        eventually("the date to be counted", async || {
            stored(&world).await.contains(&(past, sent(1))).then_some(())
        })
        .await;
        token.cancel();
    };
    let (ended, ()) = tokio::join!(running, counted);
    ended.unwrap();
}
