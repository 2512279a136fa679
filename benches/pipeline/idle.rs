//! A tick that finds nothing: its cost must not grow with the number of users.

use std::sync::Arc;

use bday::app;
use bday::clock::{Clock as _, SharedClock, SystemClock};
use bday::health::Beat;
use serde::Serialize;

use super::options::Options;
use super::scenario::Verdict;
use super::{seed, world};

const FEW: u32 = 10_000;
const MANY: u32 = 1_000_000;
const TICKS: usize = 200;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Idle {
    /// Microseconds of the median tick, by number of users.
    pub(crate) ticks_us: Vec<(u32, f64)>,
    pub(crate) limits: Vec<Verdict>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Idle> {
    let server = world::postgres(options).await?;
    let admin = world::store(&server.url())?;
    let mut ticks_us = Vec::new();
    for users in [FEW, options.users.unwrap_or(MANY)] {
        let database = format!("idle_{users}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(admin.pool())
            .await?;
        ticks_us.push((users, median_us(&server.url_of(&database), users).await?));
    }
    admin.close().await;
    server.stop().await?;
    let most = ticks_us.iter().map(|(_, us)| *us).fold(0.0, f64::max);
    let least = ticks_us.iter().map(|(_, us)| *us).fold(f64::MAX, f64::min);
    let limits = vec![Verdict {
        limit: "within 2x".to_owned(),
        met: most <= least * 2.0,
    }];
    Ok(Idle { ticks_us, limits })
}

/// Among people of whom one in a hundred has an event ahead, and one in a hundred is waiting for a worker: work that
/// is not due is not looked at.
async fn median_us(url: &str, users: u32) -> anyhow::Result<f64> {
    let store = world::store(url)?;
    seed::people(&store, users / 100, users).await?;
    let config = seed::config()?;
    let clock: SharedClock = Arc::new(SystemClock);
    let queue = app::memory_queue(&config, Arc::clone(&clock));
    let beat = Beat::new(Arc::clone(&clock));
    let scheduler = app::scheduler(&config, store.clone(), queue, Arc::clone(&clock), beat);
    // Enqueues what is due; from here on there is nothing.
    scheduler.run_once(clock.now()).await.1?;
    seed::settle(&store).await?;
    let mut times = Vec::with_capacity(TICKS);
    for _ in 0..TICKS {
        let began = SystemClock.monotonic();
        let (tick, result) = scheduler.run_once(clock.now()).await;
        times.push(SystemClock.monotonic().duration_since(began));
        result?;
        anyhow::ensure!(tick.due == 0, "something was due: {tick:?}");
    }
    store.close().await;
    times.sort_unstable();
    Ok(times[TICKS / 2].as_secs_f64() * 1e6)
}
