//! A clock that jumps while the daemon runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bday::app;
use bday::clock::{Clock, SharedClock, SystemClock};
use bday::health::Beat;
use bday::model::EventState::{Pending, Skipped};
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::wait::eventually;
use crate::support::world::World;

/// The machine's clock, but for its first reading.
#[derive(Debug)]
struct Jumped {
    by: TimeDelta,
    over: AtomicBool,
}

impl Clock for Jumped {
    fn now(&self) -> DateTime<Utc> {
        let by = if self.over.swap(true, Ordering::Relaxed) {
            TimeDelta::zero()
        } else {
            self.by
        };
        SystemClock.now() + by
    }
}

/// A scheduler whose first tick is off by `by`, until it has ticked with success. Somebody has a birthday in five days.
async fn ticked(by: TimeDelta) -> World {
    let now = SystemClock.now();
    let world = World::at(&now.to_rfc3339()).await;
    let born = (now.date_naive() + Days::new(5)).format("--%m-%d").to_string();
    world.write("u", &born, "UTC").await;
    let clock: SharedClock = Arc::new(Jumped {
        by,
        over: AtomicBool::new(false),
    });
    let beats = (Beat::new(Arc::clone(&clock)), Beat::new(Arc::clone(&clock)));
    let queue = Arc::clone(&world.queue);
    let scheduler = app::scheduler(&world.config, world.store.clone(), queue, clock, beats.clone());
    let (token, mut running) = (CancellationToken::new(), JoinSet::new());
    let until = token.clone();
    running.spawn(async move { scheduler.run(until).await });
    eventually("a tick and a plan", async || beats.0.age().and(beats.1.age())).await;
    token.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    world
}

/// The first and the last day that were opened.
async fn planned(world: &World) -> (NaiveDate, NaiveDate) {
    sqlx::query_as("SELECT min(local_date), max(local_date) FROM planned_days")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_while_the_daemon_runs_plans_and_ends_nothing() {
    for by in [TimeDelta::days(60), TimeDelta::days(-60), TimeDelta::seconds(10)] {
        let world = ticked(by).await;
        assert_eq!(world.count(Skipped).await, 0, "{by}");
        let (first, last) = planned(&world).await;
        let today = SystemClock.now().date_naive();
        let week = Days::new(7);
        assert!(
            first > today - week && last < today + week,
            "{by}: {first} to {last}"
        );
        let scheduler = world.scheduler();
        let off = SystemClock.now() + by;
        let (tick, result) = scheduler.tick(off).await;
        let error = result.unwrap_err().to_string();
        assert_eq!(tick.planned, 0);
        let said = off.format("%Y-%m-%dT%H:%M:%S").to_string();
        assert!(error.contains(&said) && error.contains("NTP"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_by_little_ticks_on() {
    for by in [TimeDelta::seconds(3), TimeDelta::seconds(-3)] {
        let world = World::at(&SystemClock.now().to_rfc3339()).await;
        let born = SystemClock.now().date_naive().format("1990-%m-%d").to_string();
        world.write("u", &born, "UTC").await;
        let (tick, result) = world.scheduler().tick(SystemClock.now() + by).await;
        result.unwrap();
        assert_eq!(tick.planned + tick.skipped, 1, "{by}");
        assert!(world.count(Pending).await <= 1);
    }
}
