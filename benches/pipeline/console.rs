//! The console: the time of each page in a large database, and operators who poll while events are sent.

use std::net::SocketAddr;
use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use bday::pipeline::zone_data;
use chrono::{Datelike as _, Days};
use serde::Serialize;
use sqlx::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::large::{POSTGRES, check_room};
use super::load::Verdict;
use super::options::Options;
use super::support::process::Bday;
use super::waits::percentile;
use super::{history, seed, world};

const USERS: u32 = 1_000_000;
const EVENTS: u32 = 30_000_000;
const BYTES: u64 = 600;
const REPEATS: usize = 9;
const MAX_MS: f64 = 100.0;
const MAX_BYTES: usize = 60_000;
/// The default interval of a page's refresh.
const POLL: Duration = Duration::from_secs(5);
/// The daemon counts what is ahead at its start; visitors come later.
const WARM_UP: Duration = Duration::from_secs(1);
/// Past days that are counted before the measurement, as the scheduler does in the background.
const COUNTED_DAYS: u64 = 400;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Console {
    pub(crate) users: u32,
    pub(crate) events: u32,
    pub(crate) pages: Vec<PageTime>,
    pub(crate) limits: Vec<Verdict>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct PageTime {
    pub(crate) page: String,
    /// Of the first request, a second after the start of the daemon.
    pub(crate) first_ms: f64,
    pub(crate) median_ms: f64,
    pub(crate) bytes: usize,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Console> {
    let (users, events) = (options.users.unwrap_or(USERS), options.events.unwrap_or(EVENTS));
    check_room((u64::from(users) + u64::from(events)) * BYTES).await?;
    let server = world::postgres(options, &POSTGRES).await?;
    let (store, pool) = (world::store(&server.url())?, world::pool(&server.url())?);
    store.migrate().await?;
    let config = seed::config()?;
    zone_data::recompute(&store, &config.schedule(), &SystemClock, &zone_data::version(), || {}).await?;
    let today = SystemClock.now().date_naive();
    history::fill(&server.url(), today + Days::new(1), users, events, &config.schedule().rules()).await?;
    fail_some(&pool).await?;
    let range = (today - Days::new(COUNTED_DAYS), today - Days::new(2));
    while store.count_days(SystemClock.now(), range, i64::MAX).await? > 0 {}
    let mut daemon = Bday::program(&options.program, ["serve", "--role", "api"])
        .env("BDAY__DATABASE__URL", server.url())
        .env("BDAY__QUEUE__KIND", "postgres")
        .env("BDAY__QUEUE__CREATE", "true")
        .env("BDAY__WEBHOOK__URL", "http://127.0.0.1:9/")
        .env("BDAY__HTTP__AUTH", "off")
        .envs(options.config()?)
        .start();
    let address = daemon.ready().await;
    tokio::time::sleep(WARM_UP).await;
    let mut pages = Vec::new();
    for page in paths(&pool).await? {
        pages.push(measure(address, page).await?);
    }
    daemon.terminate();
    let status = daemon.exit().await;
    anyhow::ensure!(status.success(), "the daemon ended with {status}");
    store.close().await;
    pool.close().await;
    server.stop().await?;
    let limits = pages.iter().flat_map(|page| {
        [
            Verdict { limit: format!("{} first < {MAX_MS} ms", page.page), met: page.first_ms < MAX_MS },
            Verdict { limit: format!("{} < {MAX_BYTES} bytes", page.page), met: page.bytes < MAX_BYTES },
        ]
    });
    let limits = limits.filter(|verdict| !verdict.met).collect();
    Ok(Console { users, events, pages, limits })
}

/// Makes a few events of the last year dead.
async fn fail_some(pool: &PgPool) -> anyhow::Result<()> {
    let sql = "
        UPDATE events SET state = 'dead', reason = 'status', last_error = 'status 503', channel = 'webhook', started_at = NULL, status = NULL
        WHERE id IN (SELECT id FROM events WHERE due_at > now() - interval '60 days' ORDER BY due_at DESC LIMIT 20000)
          AND get_byte(uuid_send(user_id), 15) < 16";
    sqlx::query(sql).execute(pool).await?;
    sqlx::query(
        "INSERT INTO attempts (event_id, number, outcome, channel, status, reason, error, started_at, finished_at)
         SELECT id, attempts, 'failed', 'webhook', 503, 'status', 'status 503', due_at, due_at FROM events WHERE reason = 'status'",
    )
    .execute(pool)
    .await?;
    sqlx::query("VACUUM (ANALYZE) events").execute(pool).await?;
    Ok(())
}

async fn paths(pool: &PgPool) -> anyhow::Result<Vec<String>> {
    let (user, event): (Uuid, Uuid) =
        sqlx::query_as("SELECT user_id, id FROM events ORDER BY due_at DESC LIMIT 1").fetch_one(pool).await?;
    let day = SystemClock.now().date_naive() - Days::new(3);
    Ok(vec![
        "/".to_owned(),
        "/calendar".to_owned(),
        format!("/calendar?year={}", day.year() - 1),
        format!("/days/{day}"),
        "/events".to_owned(),
        "/events?state=dead".to_owned(),
        format!("/events/{event}"),
        "/failures".to_owned(),
        "/failures?reason=status".to_owned(),
        "/people".to_owned(),
        "/people?search=lovelace+5".to_owned(),
        format!("/people/{user}"),
        format!("/message?user={user}"),
        "/import".to_owned(),
        "/tokens".to_owned(),
        "/audit".to_owned(),
    ])
}

async fn measure(address: SocketAddr, page: String) -> anyhow::Result<PageTime> {
    let client = reqwest::Client::new();
    let url = format!("http://{address}{page}");
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..=REPEATS {
        let began = SystemClock.monotonic();
        let response = client.get(&url).send().await?;
        let status = response.status();
        let text = response.text().await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(status.is_success(), "{page} was answered with {status}: {text}");
        bytes = text.len();
    }
    let first_ms = times.remove(0);
    times.sort_unstable_by(f64::total_cmp);
    Ok(PageTime { page, first_ms, median_ms: percentile(&times, 0.5), bytes })
}

/// Operators with an open page, which stop when dropped.
#[derive(Debug)]
pub(crate) struct Pollers(JoinSet<()>);

impl Pollers {
    /// Opens `count` pages that refresh themselves, at times spread over the interval.
    pub(crate) fn start(address: SocketAddr, count: u32) -> Self {
        let mut tasks = JoinSet::new();
        for n in 0..count {
            tasks.spawn(async move {
                let client = reqwest::Client::new();
                let url = format!("http://{address}/");
                tokio::time::sleep(POLL * n / count).await;
                loop {
                    let polled = client.get(&url).header("bday-live", "1").send().await;
                    match polled {
                        Ok(response) if response.status().is_success() => drop(response.bytes().await),
                        other => eprintln!("a page did not refresh: {other:?}"),
                    }
                    tokio::time::sleep(POLL).await;
                }
            });
        }
        Self(tasks)
    }

    pub(crate) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}
