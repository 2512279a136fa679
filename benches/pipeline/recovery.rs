//! Time until all events are accepted after a process is killed.

use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use chrono::TimeDelta;
use serde::Serialize;

use super::load::{Load, Verdict};
use super::options::Options;
use super::scenario::Name;
use super::seed;
use super::support::process::{Bday, Running};
use super::world::World;

/// Latency of the receiver while a worker is killed, so that the worker's requests are still in flight.
const SLOW: Duration = Duration::from_secs(3);
/// A run is aborted after this time.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Recovery {
    /// From the kill of a worker with 1,000 requests in flight until another worker has delivered all events.
    pub(crate) worker_secs: f64,
    /// From the kill of a scheduler during 30,000 claims, directly followed by the start of another, until all events are
    /// delivered.
    pub(crate) scheduler_secs: f64,
    pub(crate) limits: Vec<Verdict>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Recovery> {
    let worker_secs = worker(options).await?;
    let scheduler_secs = scheduler(options).await?;
    let limit = |limit: &str, met| Verdict { limit: limit.to_owned(), met };
    Ok(Recovery {
        worker_secs,
        scheduler_secs,
        limits: vec![
            limit("worker <= 40 s", worker_secs <= 40.0),
            limit("scheduler <= 20 s", scheduler_secs <= 20.0),
        ],
    })
}

async fn worker(options: &Options) -> anyhow::Result<f64> {
    let world = world(1000, SLOW, options).await?;
    let daemon = start(&world, options, "all");
    until(&world, "SELECT count(*) >= 1000 FROM events WHERE state = 'delivering'").await?;
    let other = start(&world, options, "all");
    other.ready().await;
    daemon.kill();
    let began = SystemClock.monotonic();
    until(&world, "SELECT count(*) >= 1000 FROM events WHERE state = 'delivered'").await?;
    let secs = began.elapsed().as_secs_f64();
    end(world, vec![other]).await?;
    Ok(secs)
}

async fn scheduler(options: &Options) -> anyhow::Result<f64> {
    let world = world(30_000, Duration::ZERO, options).await?;
    let worker = start(&world, options, "worker");
    worker.ready().await;
    let first = start(&world, options, "scheduler");
    until(&world, "SELECT count(*) >= 5000 FROM events WHERE state <> 'pending'").await?;
    first.kill();
    let began = SystemClock.monotonic();
    let second = start(&world, options, "scheduler");
    until(&world, "SELECT count(*) >= 30000 FROM events WHERE state = 'delivered'").await?;
    let secs = began.elapsed().as_secs_f64();
    end(world, vec![worker, second]).await?;
    Ok(secs)
}

async fn world(events: u32, latency: Duration, options: &Options) -> anyhow::Result<World> {
    let load =
        Load { events, users: events, latency, in_flight: Some(1000), ..Load::new(Name::Burst, options) };
    let world = World::start(&load, options).await?;
    seed::people(&world.store, &world.pool, events, events, TimeDelta::zero()).await?;
    Ok(world)
}

fn start(world: &World, options: &Options, role: &str) -> Running {
    Bday::program(&options.program, ["serve", "--role", role]).envs(world.environment()).start()
}

async fn until(world: &World, question: &'static str) -> anyhow::Result<()> {
    let began = SystemClock.monotonic();
    while !sqlx::query_scalar::<_, bool>(question).fetch_one(&world.pool).await? {
        anyhow::ensure!(began.elapsed() < PATIENCE, "timed out waiting for: {question}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn end(world: World, daemons: Vec<Running>) -> anyhow::Result<()> {
    for mut daemon in daemons {
        daemon.terminate();
        daemon.exit().await;
    }
    world.stop().await
}
