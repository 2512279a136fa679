//! A tick with nothing due: its cost must not grow with the number of users.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::{Clock as _, SharedClock, SystemClock};
use bday::config::parts;
use bday::pipeline::scheduler::Scheduler;
use bday::store::Store;
use chrono::TimeDelta;
use serde::Serialize;

use super::load::Verdict;
use super::options::Options;
use super::{seed, world};

const FEW: u32 = 10_000;
const MANY: u32 = 1_000_000;
const TICKS: usize = 200;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Idle {
    /// The number of users, and the 25th percentile of the tick times in microseconds. Slower ticks measure other load on the
    /// machine, not the tick.
    pub(crate) ticks_us: Vec<(u32, f64)>,
    pub(crate) limits: Vec<Verdict>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Idle> {
    let server = world::postgres(options, &[]).await?;
    let mut sides = Vec::new();
    for users in [FEW, options.users.unwrap_or(MANY)] {
        let database = format!("idle_{users}");
        let url = world::create_database(&server, &database).await?;
        sides.push(Side::prepare(&url, users).await?);
    }
    // Alternate, so that other load on the machine affects both sides.
    for _ in 0..TICKS {
        for side in &mut sides {
            side.tick().await?;
        }
    }
    let mut ticks_us = Vec::new();
    for side in sides {
        ticks_us.push((side.users, side.finish().await));
    }
    server.stop().await?;
    let most = ticks_us.iter().map(|(_, us)| *us).fold(0.0, f64::max);
    let least = ticks_us.iter().map(|(_, us)| *us).fold(f64::MAX, f64::min);
    let limits = vec![Verdict { limit: "within 2x".to_owned(), met: most <= least * 2.0 }];
    Ok(Idle { ticks_us, limits })
}

struct Side {
    users: u32,
    store: Store,
    scheduler: Scheduler,
    times: Vec<Duration>,
}

impl Side {
    /// Writes users. One in a hundred has a planned event that is not due yet.
    async fn prepare(url: &str, users: u32) -> anyhow::Result<Self> {
        let (store, pool) = (world::store(url)?, world::pool(url)?);
        seed::people(&store, &pool, users / 100, users, TimeDelta::days(1)).await?;
        pool.close().await;
        let config = seed::config()?;
        let clock: SharedClock = Arc::new(SystemClock);
        let queue = parts::queue(&config, &store, &clock).await?;
        let scheduler = parts::scheduler_for_command(&config, store.clone(), queue, clock);
        Ok(Self { users, store, scheduler, times: Vec::with_capacity(TICKS) })
    }

    async fn tick(&mut self) -> anyhow::Result<()> {
        let began = SystemClock.monotonic();
        let (tick, result) = self.scheduler.run_once(SystemClock.now()).await;
        self.times.push(began.elapsed());
        result?;
        anyhow::ensure!(tick.due == 0, "expected no due events: {tick:?}");
        Ok(())
    }

    async fn finish(mut self) -> f64 {
        self.store.close().await;
        self.times.sort_unstable();
        self.times[TICKS / 4].as_secs_f64() * 1e6
    }
}
