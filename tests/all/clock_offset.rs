//! System clocks that are off, or jump while the daemon runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bday::clock::heartbeat::Heartbeat;
use bday::clock::{Clock, SettableClock, SharedClock, SteadyClock, SystemClock};
use bday::config::parts;
use bday::model::EventState::{Pending, Skipped};
use bday::model::NewUser;
use bday::pipeline::clock_offset::ClockOffset;
use bday::pipeline::queue::Queue as _;
use bday::pipeline::queue::postgres::PostgresQueue;
use bday::pipeline::trace::Tracer;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::wait::eventually;
use crate::support::world::{World, person};

/// The system clock, off by `by` at its first reading only.
#[derive(Debug)]
struct Jumped {
    by: TimeDelta,
    over: AtomicBool,
}

impl Clock for Jumped {
    fn now(&self) -> DateTime<Utc> {
        let by = if self.over.swap(true, Ordering::Relaxed) { TimeDelta::zero() } else { self.by };
        SystemClock.now() + by
    }
}

/// Runs a scheduler whose clock is off by `by` until a tick and a plan succeed, with a user whose birthday is in five days.
async fn ticked(by: TimeDelta) -> World {
    let now = SystemClock.now();
    let world = World::at(&now.to_rfc3339()).await;
    let born = (now.date_naive() + Days::new(5)).format("--%m-%d").to_string();
    world.write("u", &born, "UTC").await;
    let clock: SharedClock = Arc::new(Jumped { by, over: AtomicBool::new(false) });
    let heartbeats = (Heartbeat::new(Arc::clone(&clock)), Heartbeat::new(Arc::clone(&clock)));
    let queue = Arc::clone(&world.queue);
    let (store, tracer) = (world.store.clone(), Tracer::default());
    let scheduler = parts::scheduler(&world.config, store, queue, clock, heartbeats.clone(), tracer);
    let (token, mut running) = (CancellationToken::new(), JoinSet::new());
    let until = token.clone();
    running.spawn(async move { scheduler.run(until).await });
    eventually("a tick and a plan", async || heartbeats.0.age().and(heartbeats.1.age())).await;
    token.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    world
}

/// Returns the first and the last day that were opened for planning.
async fn planned(world: &World) -> (NaiveDate, NaiveDate) {
    sqlx::query_as("SELECT min(local_date), max(local_date) FROM planned_days")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_do_not_plan_or_skip_events_while_the_clock_is_off() {
    for by in [TimeDelta::days(60), TimeDelta::days(-60), TimeDelta::seconds(10)] {
        let world = ticked(by).await;
        assert_eq!(world.count(Skipped).await, 0, "{by}");
        let (first, last) = planned(&world).await;
        let today = SystemClock.now().date_naive();
        let week = Days::new(7);
        assert!(first > today - week && last < today + week, "{by}: {first} to {last}");
        let scheduler = world.scheduler();
        let off = SystemClock.now() + by;
        let (tick, result) = scheduler.tick(off).await;
        let error = result.unwrap_err().to_string();
        assert_eq!(tick.planned, 0);
        let shown = off.format("%Y-%m-%dT%H:%M:%S").to_string();
        assert!(error.contains(&shown) && error.contains("NTP"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_run_with_a_clock_offset_below_the_limit() {
    for by in [TimeDelta::seconds(3), TimeDelta::seconds(-3)] {
        let world = World::at(&SystemClock.now().to_rfc3339()).await;
        let born = SystemClock.now().date_naive().format("2000-%m-%d").to_string();
        world.write("u", &born, "UTC").await;
        let (tick, result) = world.scheduler().tick(SystemClock.now() + by).await;
        result.unwrap();
        assert_eq!(tick.planned + tick.skipped, 1, "{by}");
        assert!(world.count(Pending).await <= 1);
    }
}

/// Returns a world with a queued event, and a clock that jumps ahead by an hour after its offset was measured.
async fn queued_before_a_jump() -> (World, Arc<SteadyClock>) {
    let now = SystemClock.now();
    let world = World::at(&now.to_rfc3339()).await;
    let user = NewUser {
        send_at: Some("00:00".parse().unwrap()),
        ..person("u", &now.format("2000-%m-%d").to_string(), "UTC")
    };
    world.write_user(user).await;
    assert_eq!(world.tick().await.enqueued, 1);
    let machine = Arc::new(SettableClock::new(SystemClock.now()));
    let clock = Arc::new(SteadyClock::new(Arc::clone(&machine) as SharedClock));
    ClockOffset::measure(&*clock, &world.store).await.unwrap().ensure_within_limit().unwrap();
    machine.advance(TimeDelta::hours(1));
    (world, clock)
}

/// A worker whose clock jumps during a poll leases no event, so another worker must receive the pack soon.
#[tokio::test]
async fn a_clock_jump_during_a_poll_does_not_extend_the_visibility() {
    let (world, clock) = queued_before_a_jump().await;
    let visibility = world.config.queue.visibility;
    let queue = PostgresQueue::new(world.store.clone(), clock, visibility);
    assert_eq!(queue.receive(10, Duration::ZERO).await.unwrap().len(), 1);
    let shown_again: DateTime<Utc> = sqlx::query_scalar("SELECT available_at FROM outbox")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap();
    assert!(shown_again <= SystemClock.now() + visibility, "{shown_again}");
}
