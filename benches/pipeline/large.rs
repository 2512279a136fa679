//! Compares the cost of the same work in a database with many users and finished events and in one with only the users of one day.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bday::clock::{Clock as _, SharedClock, SystemClock};
use bday::config::parts;
use bday::dev::postgres::EmbeddedPostgres;
use bday::model::ChannelName;
use bday::pipeline::scheduler::Scheduler;
use bday::pipeline::zone_data;
use bday::store::{EndedAttempt, LeaseRequest, Store};
use chrono::{Days, NaiveDate, TimeDelta};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::load::Verdict;
use super::options::Options;
use super::waits::percentile;
use super::{history, seed, world};

const USERS: u32 = 10_000_000;
const EVENTS: u32 = 30_000_000;
/// Upper bounds of the disk space per user and per event, in bytes, while indexes are built.
const BYTES_PER_USER: u64 = 600;
const BYTES_PER_EVENT: u64 = 600;
const MOST_RATIO: f64 = 1.5;
const IDLE_TICKS: usize = 50;
const DUE: u32 = 1000;
const DUE_TICKS: u32 = 20;
const LEASE_BATCH: usize = 256;
/// Settings for a machine that holds such a database. With the minimal WAL level, filling the tables writes no WAL.
pub(crate) const POSTGRES: [(&str, &str); 7] = [
    ("shared_buffers", "1GB"),
    ("maintenance_work_mem", "1GB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "1h"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("autovacuum", "off"),
];

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Large {
    pub(crate) users: u32,
    pub(crate) events: u32,
    pub(crate) figures: Vec<Figure>,
    pub(crate) limits: Vec<Verdict>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) large: f64,
    pub(crate) small: f64,
}

impl Figure {
    pub(crate) fn ratio(&self) -> f64 {
        self.large / self.small
    }
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Large> {
    let (users, events) = (options.users.unwrap_or(USERS), options.events.unwrap_or(EVENTS));
    check_room(u64::from(users) * BYTES_PER_USER + u64::from(events) * BYTES_PER_EVENT).await?;
    let server = world::postgres(options, &POSTGRES).await?;
    let large = Side::prepare(&server, "large", users, events).await?;
    let small = Side::prepare(&server, "small", users, 0).await?;
    let mut sides = [large, small];
    for side in &mut sides {
        side.sizes().await?;
        side.plan().await?;
    }
    for _ in 0..IDLE_TICKS {
        for side in &mut sides {
            side.tick(0).await?;
        }
    }
    // Limited by the number of users of one day.
    for _ in 0..(users / 365 / DUE).min(DUE_TICKS) {
        for side in &mut sides {
            side.tick(DUE).await?;
        }
    }
    for side in &mut sides {
        side.lease_and_record().await?;
    }
    let [large, small] = sides;
    let figures: Vec<Figure> = large
        .finish()
        .await
        .into_iter()
        .zip(small.finish().await)
        .map(|((what, large), (_, small))| Figure { what, large, small })
        .collect();
    server.stop().await?;
    // Planning happens once a day, not every minute: its cost is reported without a limit.
    let limited = figures.iter().filter(|figure| !figure.what.starts_with("planning"));
    let limits = limited.filter(|figure| figure.ratio() > MOST_RATIO);
    let limits =
        limits.map(|figure| Verdict { limit: format!("{} within {MOST_RATIO}x", figure.what), met: false });
    Ok(Large { users, events, limits: limits.collect(), figures })
}

/// Checks that the temporary directory, which holds the server's files, has `bytes` free.
pub(crate) async fn check_room(bytes: u64) -> anyhow::Result<()> {
    let directory = std::env::temp_dir();
    let df =
        tokio::process::Command::new("df").args(["--output=avail", "-B1"]).arg(&directory).output().await?;
    let text = String::from_utf8(df.stdout)?;
    let room: u64 = text.lines().nth(1).context("df printed nothing")?.trim().parse()?;
    anyhow::ensure!(
        room > bytes,
        "{} has {} GB free, but {} GB are required: free space, or lower --users and --events",
        directory.display(),
        room >> 30,
        bytes >> 30
    );
    Ok(())
}

/// One of the two databases, and its measurements.
struct Side {
    store: Store,
    pool: PgPool,
    scheduler: Scheduler,
    day: NaiveDate,
    kinds: Vec<String>,
    figures: Vec<(&'static str, f64)>,
    idle_us: Vec<f64>,
    due_ms: Vec<f64>,
}

impl Side {
    /// Writes all users with `events` finished events. If `events` is 0, writes only the users whose birthday is tomorrow.
    async fn prepare(server: &EmbeddedPostgres, name: &str, users: u32, events: u32) -> anyhow::Result<Self> {
        let url = world::create_database(server, name).await?;
        let store = world::store(&url)?;
        store.migrate().await?;
        let config = seed::config()?;
        let schedule = config.schedule();
        zone_data::recompute(&store, &schedule, &SystemClock, &zone_data::version(), || {}).await?;
        let day = SystemClock.now().date_naive() + Days::new(1);
        history::fill(&url, day, users, events, &schedule.rules()).await?;
        let clock: SharedClock = Arc::new(SystemClock);
        let queue = parts::queue(&config, &store, &clock).await?;
        Ok(Self {
            scheduler: parts::scheduler_for_command(&config, store.clone(), queue, clock),
            kinds: schedule.kinds.keys().cloned().collect(),
            pool: world::pool(&url)?,
            store,
            day,
            figures: Vec::new(),
            idle_us: Vec::new(),
            due_ms: Vec::new(),
        })
    }

    async fn number(&self, statement: &'static str) -> anyhow::Result<f64> {
        let number: i64 = sqlx::query_scalar(statement).fetch_one(&self.pool).await?;
        Ok(number as f64)
    }

    /// Plans the day right after a checkpoint, when full-page writes make WAL most expensive.
    async fn plan(&mut self) -> anyhow::Result<()> {
        sqlx::query("CHECKPOINT").execute(&self.pool).await?;
        let wal = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let before = self.number(wal).await?;
        let began = SystemClock.monotonic();
        let (tick, result) = self.scheduler.run_once(SystemClock.now()).await;
        let took = began.elapsed();
        result?;
        anyhow::ensure!(tick.planned > 0 && tick.due == 0, "{} was not planned: {tick:?}", self.day);
        let planned = tick.planned as f64;
        self.figures.push(("planning: us per user", took.as_secs_f64() * 1e6 / planned));
        let wal = self.number(wal).await? - before;
        self.figures.push(("planning: bytes of WAL per user", wal / planned));
        if self.figures.iter().all(|(what, _)| *what != EVENT_SIZE) {
            self.event_size().await?;
        }
        Ok(())
    }

    async fn sizes(&mut self) -> anyhow::Result<()> {
        let users = "SELECT (pg_total_relation_size('users') + pg_total_relation_size('occasions'))
                          / (SELECT count(*) FROM users)";
        self.figures.push(("bytes on disk per user", self.number(users).await?));
        if self.number("SELECT count(*) FROM (SELECT FROM events LIMIT 1) AS e").await? > 0.0 {
            self.event_size().await?;
        }
        Ok(())
    }

    async fn event_size(&mut self) -> anyhow::Result<()> {
        let events = "SELECT pg_total_relation_size('events') / (SELECT count(*) FROM events)";
        self.figures.push((EVENT_SIZE, self.number(events).await?));
        Ok(())
    }

    /// Makes `due` events due, and runs a tick.
    async fn tick(&mut self, due: u32) -> anyhow::Result<()> {
        let now = SystemClock.now();
        sqlx::query(
            "UPDATE events SET due_at = $1, late_from = $1, next_attempt_at = $1 WHERE id IN (
                 SELECT id FROM events WHERE next_attempt_at > $1 ORDER BY next_attempt_at, id LIMIT $2)",
        )
        .bind(now)
        .bind(i64::from(due))
        .execute(&self.pool)
        .await?;
        let began = SystemClock.monotonic();
        let (tick, result) = self.scheduler.run_once(now).await;
        let took = began.elapsed();
        result?;
        anyhow::ensure!(tick.due == u64::from(due), "expected {due} due events: {tick:?}");
        match due {
            0 => self.idle_us.push(took.as_secs_f64() * 1e6),
            _ => self.due_ms.push(took.as_secs_f64() * 1e3),
        }
        Ok(())
    }

    /// Leases and records all queued events.
    async fn lease_and_record(&mut self) -> anyhow::Result<()> {
        let now = SystemClock.now();
        let packs = self.store.take_packs(now, now + TimeDelta::minutes(5), usize::from(u16::MAX)).await?;
        let ids: Vec<Uuid> = packs.into_iter().flat_map(|pack| pack.event_ids).collect();
        let (mut lease_time, mut record_time) = (Duration::ZERO, Duration::ZERO);
        for batch in ids.chunks(LEASE_BATCH) {
            let channels = ["webhook".to_owned()];
            let request = LeaseRequest {
                id: Uuid::now_v7(),
                holder: Uuid::nil(),
                now,
                until: now + TimeDelta::minutes(5),
                kinds: &self.kinds,
                kinds_with_years: &[],
                late_before: now - TimeDelta::days(1),
                routes: None,
                channels: &channels,
            };
            let began = SystemClock.monotonic();
            let leases = self.store.lease(request, batch).await?;
            lease_time += began.elapsed();
            anyhow::ensure!(leases.len() == batch.len(), "{} of {} leased", leases.len(), batch.len());
            let deliveries: Vec<EndedAttempt> = leases
                .iter()
                .map(|lease| EndedAttempt {
                    event_id: lease.event_id,
                    lease_id: request.id,
                    attempt: lease.attempt,
                    status: Some(200),
                    started_at: now,
                    finished_at: now,
                    channel: ChannelName::Webhook,
                    provider_id: None,
                    trace_id: None,
                })
                .collect();
            let began = SystemClock.monotonic();
            self.store.record_deliveries(&deliveries, &[request.id]).await?;
            record_time += began.elapsed();
        }
        let us = |time: Duration| time.as_secs_f64() * 1e6 / ids.len() as f64;
        self.figures.push(("lease: us per event", us(lease_time)));
        self.figures.push(("record: us per event", us(record_time)));
        Ok(())
    }

    async fn finish(mut self) -> Vec<(&'static str, f64)> {
        self.store.close().await;
        self.pool.close().await;
        for (what, times) in
            [("tick with nothing due: us", &mut self.idle_us), ("tick with 1,000 due: ms", &mut self.due_ms)]
        {
            times.sort_unstable_by(f64::total_cmp);
            self.figures.push((what, percentile(times, 0.5)));
        }
        self.figures.sort_by_key(|(what, _)| *what);
        self.figures
    }
}

const EVENT_SIZE: &str = "bytes on disk per event";
