//! One run: seeds the database, starts the daemons, waits until all events are received and recorded, and judges the result.

use std::time::Duration;

use anyhow::Context as _;
use bday::clock::{Clock as _, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;

use super::arrivals::Arrival;
use super::bare::{self, Bare};
use super::channels::{self, ChannelFigures};
use super::console;
use super::judge::{self, Judgement};
use super::load::{Limit, Load, Verdict};
use super::options::Options;
use super::procfs;
use super::seed;
use super::support::process::{Bday, Running};
use super::waits::{percentile, waits};
use super::world::{Cpu, World};

/// A run is aborted if no event arrives for this long.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(25);

/// Measurements of one run. Times count from the start of the first tick with due events.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    pub(crate) events: u32,
    pub(crate) users: u32,
    /// The longest tick of any daemon.
    pub(crate) tick_ms: f64,
    /// Number of events divided by the time to the last 2xx.
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) last_ms: f64,
    /// From the start of the daemons to the first 2xx.
    pub(crate) first_ms: f64,
    /// Rate of the second tenth of the events.
    pub(crate) second_per_second: f64,
    /// Rate of the ninth tenth of the events.
    pub(crate) ninth_per_second: f64,
    /// The baseline: the same I/O without bookkeeping.
    pub(crate) bare: Option<Bare>,
    /// CPU seconds from the start of the daemons until all events are recorded and the queue is empty.
    pub(crate) cpu: Cpu,
    /// Calls to send, receive and delete, each a batch of up to ten messages.
    pub(crate) sqs_calls: u64,
    /// The highest peak memory of any daemon, in MB (10^6 bytes).
    pub(crate) daemon_mb: f64,
    pub(crate) judgement: Judgement,
    /// Empty unless there are several channels.
    pub(crate) channels: Vec<ChannelFigures>,
    pub(crate) limits: Vec<Verdict>,
}

impl Run {
    pub(crate) fn is_exact(&self) -> bool {
        self.judgement.is_exact()
    }
}

pub(crate) async fn run(load: &Load, options: &Options) -> anyhow::Result<Run> {
    let bare = if load.bare { Some(bare::measure(load, options).await?) } else { None };
    let mut world = World::start(load, options).await?;
    seed::people(&world.store, &world.pool, load.events, load.users, TimeDelta::zero()).await?;
    if !load.channels.is_empty() {
        channels::seed(&world.pool, load.channels).await?;
    }
    if options.statements {
        let extension = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements";
        sqlx::query(extension).execute(&world.pool).await?;
        sqlx::query("SELECT pg_stat_statements_reset()").execute(&world.pool).await?;
    }
    let before = world.cpu();
    let started_us = SystemClock.now().timestamp_micros();
    let mut daemons: Vec<Running> = (0..load.daemons)
        .map(|_| Bday::program(&options.program, ["serve"]).envs(world.environment()).start())
        .collect();
    let pollers = match options.pollers {
        0 => None,
        count => Some(console::Pollers::start(daemons[0].ready().await, count)),
    };
    let complete = all_arrived(&mut world, &daemons, load.events).await?;
    if complete {
        all_written_down(&mut world).await?;
    }
    let after = world.cpu();
    if let Some(pollers) = pollers {
        pollers.stop().await;
    }
    let sqs_calls = world.queue().await?.calls;
    let cpu =
        Cpu { daemon: daemons.iter().map(|daemon| procfs::cpu_secs(daemon.pid())).sum(), ..after - before };
    let peaks = daemons.iter().map(|daemon| procfs::peak_mb(daemon.pid()));
    let daemon_mb = peaks.fold(0.0, f64::max);
    for daemon in &daemons {
        daemon.terminate();
    }
    for daemon in &mut daemons {
        let status = daemon.exit().await;
        anyhow::ensure!(status.success(), "the daemon ended with {status}:\n{}", tail(daemon));
    }
    if options.statements {
        print_statements(&world).await?;
    }
    let arrivals: Vec<Arrival> = serde_json::from_str(&world.receiver.ask("all").await?)?;
    let judgement = judge::judge(&world.pool, &arrivals).await?;
    world.stop().await?;

    let ticks: Vec<Tick> = daemons.iter().flat_map(ticks).collect();
    let first = ticks.iter().map(|tick| tick.began_at).min();
    let first = first.with_context(|| format!("no tick had due events:\n{}", tail(&daemons[0])))?;
    let waits = waits(arrivals.iter(), first);
    let before_tick_ms = (first.timestamp_micros() - started_us) as f64 / 1e3;
    let last_ms = percentile(&waits, 1.0);
    let mut run = Run {
        scenario: load.scenario,
        events: load.events,
        users: load.users,
        tick_ms: ticks.iter().map(|tick| tick.elapsed_ms).fold(0.0, f64::max),
        per_second: arrivals.len() as f64 * 1e3 / last_ms,
        p50_ms: percentile(&waits, 0.5),
        p99_ms: percentile(&waits, 0.99),
        last_ms,
        first_ms: before_tick_ms + percentile(&waits, 0.0),
        second_per_second: rate_of_tenth(&waits, 2),
        ninth_per_second: rate_of_tenth(&waits, 9),
        bare,
        cpu,
        sqs_calls,
        daemon_mb,
        judgement,
        channels: channels::figures(load.channels, &arrivals, first),
        limits: Vec::new(),
    };
    run.limits = load.limits.iter().map(|limit| limit.check(&run)).collect();
    Ok(run)
}

/// Waits for `events` distinct events. Returns `false` if none arrives for [`PATIENCE`].
async fn all_arrived(world: &mut World, daemons: &[Running], events: u32) -> anyhow::Result<bool> {
    let (mut count, mut since) = (0, SystemClock.monotonic());
    loop {
        let now: u32 = world.receiver.ask("count").await?.parse()?;
        if now >= events {
            return Ok(true);
        }
        if now > count {
            (count, since) = (now, SystemClock.monotonic());
        } else if since.elapsed() > PATIENCE {
            let said = daemons.first().map(tail).unwrap_or_default();
            eprintln!("timed out after {count} of {events} events; last lines of the daemon:\n{said}");
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until all outcomes are recorded and the queue is empty.
async fn all_written_down(world: &mut World) -> anyhow::Result<()> {
    let since = SystemClock.monotonic();
    while since.elapsed() < PATIENCE {
        let under_way: i64 =
            sqlx::query_scalar("SELECT count(*) FROM events WHERE state IN ('queued', 'delivering')")
                .fetch_one(&world.pool)
                .await?;
        if under_way == 0 && world.queue().await?.messages == 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    eprintln!("the queue is not empty, or events are not recorded, after {} s", PATIENCE.as_secs());
    Ok(())
}

struct Tick {
    began_at: DateTime<Utc>,
    elapsed_ms: f64,
}

/// Returns the ticks with due events, from the log.
fn ticks(daemon: &Running) -> Vec<Tick> {
    let tick = |line: &Value| {
        let of = |key: &str| line.get(key).or_else(|| line.get("fields")?.get(key));
        if of("message")?.as_str() != Some("tick") || of("due")?.as_u64() == Some(0) {
            return None;
        }
        let elapsed_ms = of("elapsed_ms")?.as_u64()?;
        let ended_at: DateTime<Utc> = of("timestamp")?.as_str()?.parse().ok()?;
        Some(Tick { began_at: ended_at - Duration::from_millis(elapsed_ms), elapsed_ms: elapsed_ms as f64 })
    };
    daemon.logs().iter().filter_map(tick).collect()
}

fn tail(daemon: &Running) -> String {
    let lines = daemon.lines();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// Returns the events per second in the `n`th tenth, counted from 1.
fn rate_of_tenth(waits: &[f64], n: usize) -> f64 {
    let tenth = waits.len() / 10;
    let ends = (waits.get(tenth * (n - 1)), waits.get(tenth * n));
    let (Some(from), Some(to)) = ends else {
        return f64::NAN;
    };
    tenth as f64 * 1e3 / (to - from)
}

async fn print_statements(world: &World) -> anyhow::Result<()> {
    let rows: Vec<(f64, i64, i64, String)> = sqlx::query_as(
        "SELECT total_exec_time, calls, rows, regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements
         ORDER BY total_exec_time DESC LIMIT 12",
    )
    .fetch_all(&world.pool)
    .await?;
    eprintln!("{:>9} {:>7} {:>8}  statement", "ms", "calls", "rows");
    for (ms, calls, rows, query) in rows {
        let query: String = query.trim().chars().take(100).collect();
        eprintln!("{ms:>9.0} {calls:>7} {rows:>8}  {query}");
    }
    Ok(())
}

impl Limit {
    fn check(self, run: &Run) -> Verdict {
        let (limit, met) = match self {
            Self::TickMs(most) => (format!("tick <= {most} ms"), run.tick_ms <= most),
            Self::P99Ms(most) => (format!("p99 <= {most} ms"), run.p99_ms <= most),
            Self::LastMs(most) => (format!("last <= {most} ms"), run.last_ms <= most),
            Self::PerSecond(least) => (format!("{least}/s"), run.per_second >= least),
            Self::DaemonMb(most) => (format!("{most} MB"), run.daemon_mb < most),
            Self::DaemonCpuSecs(most) => (format!("{most} s of CPU"), run.cpu.daemon < most),
            Self::FirstMs(most) => (format!("first <= {most} ms"), run.first_ms <= most),
            Self::NinthToSecond(least) => (
                format!("ninth tenth >= {least} of the second"),
                run.ninth_per_second >= run.second_per_second * least,
            ),
        };
        Verdict { limit, met }
    }
}
