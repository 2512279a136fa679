//! Latency of API requests with many users and 50 concurrent requests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bday::clock::{Clock as _, SystemClock};
use chrono::TimeDelta;
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::load::Verdict;
use super::options::Options;
use super::support::process::{Bday, Running};
use super::waits::percentile;
use super::{procfs, seed, world};

const USERS: u32 = 1_000_000;
const AT_ONCE: usize = 50;
/// Opens connections and prepares statements before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);
const EACH: Duration = Duration::from_secs(5);
/// The indexes of a million users do not fit in the default of 128 MB.
const POSTGRES: [(&str, &str); 1] = [("shared_buffers", "1GB")];

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Api {
    pub(crate) users: u32,
    pub(crate) calls: Vec<Calls>,
    pub(crate) limits: Vec<Verdict>,
}

/// Measurements of one kind of request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Calls {
    pub(crate) request: &'static str,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) slowest_ms: f64,
    /// CPU time of the daemon per request, in microseconds.
    pub(crate) daemon_us: f64,
    /// CPU time of PostgreSQL per request, in microseconds.
    pub(crate) postgres_us: f64,
}

struct Kind {
    name: &'static str,
    status: u16,
    text: fn() -> String,
    /// Limit of the 99th percentile, in milliseconds.
    limit: Option<f64>,
}

const KINDS: [Kind; 3] = [
    Kind { name: "GET /v1/users", status: 200, text: || get("/v1/users"), limit: Some(20.0) },
    Kind {
        name: "GET, any page",
        status: 200,
        text: || get(&format!("/v1/users?cursor={:032x}", fastrand::u128(..))),
        limit: None,
    },
    Kind { name: "POST /v1/users", status: 201, text: post, limit: Some(50.0) },
];

pub(crate) async fn run(options: &Options) -> anyhow::Result<Api> {
    let users = options.users.unwrap_or(USERS);
    let server = world::postgres(options, &POSTGRES).await?;
    let (store, pool) = (world::store(&server.url())?, world::pool(&server.url())?);
    seed::people(&store, &pool, 0, users, TimeDelta::days(1)).await?;
    let mut daemon = Bday::program(&options.program, ["serve", "--role", "api"])
        .env("BDAY__DATABASE__URL", server.url())
        .env("BDAY__QUEUE__KIND", "postgres")
        .env("BDAY__QUEUE__CREATE", "true")
        .env("BDAY__WEBHOOK__URL", "http://127.0.0.1:9/")
        .envs(options.config()?)
        .start();
    let address = daemon.ready().await;
    let postgres = server.pid().context("PostgreSQL has ended")?;
    let mut calls = Vec::new();
    for kind in &KINDS {
        calls.push(measure(address, kind, &daemon, postgres).await?);
    }
    daemon.terminate();
    let status = daemon.exit().await;
    anyhow::ensure!(status.success(), "the daemon ended with {status}");
    store.close().await;
    pool.close().await;
    server.stop().await?;
    let limits = KINDS.iter().zip(&calls).filter_map(|(kind, calls)| {
        let limit = kind.limit?;
        Some(Verdict { limit: format!("p99 of {} < {limit} ms", kind.name), met: calls.p99_ms < limit })
    });
    let limits = limits.collect();
    Ok(Api { users, calls, limits })
}

async fn measure(address: SocketAddr, kind: &Kind, daemon: &Running, postgres: u32) -> anyhow::Result<Calls> {
    ask_at_once(address, kind, WARM_UP).await?;
    let cpu = || (procfs::cpu_secs(daemon.pid()), procfs::family_cpu_secs(postgres));
    let before = cpu();
    let mut times = ask_at_once(address, kind, EACH).await?;
    let after = cpu();
    times.sort_unstable_by(f64::total_cmp);
    let us = |before: f64, after: f64| (after - before) * 1e6 / times.len() as f64;
    Ok(Calls {
        request: kind.name,
        per_second: times.len() as f64 / EACH.as_secs_f64(),
        p50_ms: percentile(&times, 0.5),
        p99_ms: percentile(&times, 0.99),
        slowest_ms: percentile(&times, 1.0),
        daemon_us: us(before.0, after.0),
        postgres_us: us(before.1, after.1),
    })
}

/// Runs [`AT_ONCE`] callers, each with one request in flight at a time. Returns the time of each request, in milliseconds.
async fn ask_at_once(address: SocketAddr, kind: &Kind, time: Duration) -> anyhow::Result<Vec<f64>> {
    let until = SystemClock.monotonic() + time;
    let callers = (0..AT_ONCE).map(|_| ask_until(address, kind, until));
    Ok(try_join_all(callers).await?.concat())
}

async fn ask_until(address: SocketAddr, kind: &Kind, until: Instant) -> anyhow::Result<Vec<f64>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut times, mut answer) = (Vec::new(), Vec::new());
    loop {
        let began = SystemClock.monotonic();
        if began >= until {
            return Ok(times);
        }
        stream.write_all((kind.text)().as_bytes()).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        anyhow::ensure!(
            status == kind.status,
            "{} was answered with {status}: {}",
            kind.name,
            String::from_utf8_lossy(&answer)
        );
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
}

/// Reads one response and returns its status. The connection must carry no further bytes.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<u16> {
    answer.clear();
    let mut end = None;
    loop {
        if end.is_some_and(|(_, end)| answer.len() >= end) {
            return Ok(end.map_or(0, |(status, _)| status));
        }
        anyhow::ensure!(stream.read_buf(answer).await? > 0, "the connection was closed");
        if end.is_none() {
            end = status_and_end(answer)?;
        }
    }
}

/// Returns the status and the length of a response in bytes, or `None` while its head is incomplete.
fn status_and_end(answer: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer)? else {
        return Ok(None);
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = str::from_utf8(length.context("no content-length")?.value)?.parse()?;
    Ok(Some((response.code.context("no status")?, head + length)))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

fn post() -> String {
    let n = fastrand::u32(1000..10_000_000);
    let body = format!(
        r#"{{"firstName":"Load","lastName":"Test {n}","birthDate":"19{:02}-{:02}-{:02}","timeZone":"{}"}}"#,
        50 + n % 49,
        1 + n % 12,
        1 + n % 28,
        ["Asia/Tokyo", "Europe/Paris", "America/New_York", "Asia/Kolkata", "UTC"][n as usize % 5]
    );
    format!(
        "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
