//! A baseline: the same I/O without bookkeeping, as an upper bound for this machine. It sends as many requests, with the daemon's HTTP
//! client and limit in flight, and as many packs through the queue. Each of claim, lease and record is a plain UPDATE of as many rows.
//!
//! ```text
//! claim ──packs──> SQS (or nothing) ──> lease ──spawn──> POST ──> record
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bday::clock::{Clock as _, SharedClock, SystemClock};
use bday::config::parts;
use bday::pipeline::channel::http_client::HttpClient;
use bday::pipeline::queue::{Pack, Queue, Received};
use reqwest::{Method, Url};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::arrivals::Arrival;
use super::load::Load;
use super::options::Options;
use super::part::{self, Part};
use super::world::{Cpu, World};

/// The batch sizes and task counts of the daemon.
const CLAIM_BATCH: usize = 500;
const PACK: usize = 32;
const POLLS: usize = 16;
const LANES: usize = 2;
const RECORD_BATCH: usize = 512;
const BEFORE_RECORD: Duration = Duration::from_millis(10);
/// Packs per lease statement.
const LEASED_PACKS: usize = 2;

/// Rows have about the width of events, and the same fill factor for in-place updates.
const ROWS: &str = "
CREATE TABLE bare (id uuid PRIMARY KEY, step smallint NOT NULL, at timestamptz, filler text NOT NULL) WITH (fillfactor = 60);
INSERT INTO bare SELECT gen_random_uuid(), 0, NULL, repeat('x', 100) FROM generate_series(1, $EVENTS);
VACUUM (ANALYZE) bare;
CHECKPOINT";

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Bare {
    pub(crate) per_second: f64,
    /// `daemon` is the process that replaces the daemon.
    pub(crate) cpu: Cpu,
}

/// Runs `load` in a separate world.
pub(crate) async fn measure(load: &Load, options: &Options) -> anyhow::Result<Bare> {
    let mut world = World::start(load, options).await?;
    for statement in ROWS.replace("$EVENTS", &load.events.to_string()).split(';') {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&world.pool).await?;
    }
    let before = world.cpu();
    let (part, began_us) = Part::start_with(&["bare"], world.environment()).await?;
    let after = world.cpu();
    let arrivals: Vec<Arrival> = serde_json::from_str(&world.receiver.ask("all").await?)?;
    anyhow::ensure!(arrivals.len() == load.events as usize, "{} requests arrived", arrivals.len());
    world.stop().await?;
    let last = arrivals.iter().map(|arrival| arrival.accepted_us).max();
    let took_us = last.context("no request arrived")? - began_us.parse::<i64>()?;
    Ok(Bare {
        per_second: f64::from(load.events) * 1e6 / took_us as f64,
        cpu: Cpu { daemon: part.cpu_secs(), ..after - before },
    })
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    /// `None` if claim passes packs to lease directly.
    queue: Option<Arc<dyn Queue>>,
    client: HttpClient,
    url: Url,
    places: Arc<Semaphore>,
}

/// Runs the process that replaces the daemon, with the daemon's configuration. Prints its start time, in microseconds since 1970
/// (UTC), when it has finished.
pub(crate) async fn run() -> anyhow::Result<()> {
    let config = bday::config::load(None, std::env::vars().collect())?;
    let store = parts::store(&config).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let queue = parts::queue(&config, &store, &clock).await?;
    parts::set_up(&config, &store, &*queue).await?;
    let shared = Arc::new(Shared {
        pool: PgPoolOptions::new()
            .max_connections(config.database.max_connections)
            .connect(&std::env::var("BDAY__DATABASE__URL")?)
            .await?,
        queue: (!queue.is_outbox()).then_some(queue),
        client: parts::http_client(&config)?,
        url: std::env::var("BDAY__WEBHOOK__URL")?.parse()?,
        places: Arc::new(Semaphore::new(config.worker.max_in_flight as usize)),
    });
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM bare").fetch_all(&shared.pool).await?;
    let began_us = SystemClock.now().timestamp_micros();
    deliver(&shared, ids).await?;
    part::answer(&began_us.to_string(), |_| Ok(String::new())).await
}

async fn deliver(shared: &Arc<Shared>, ids: Vec<Uuid>) -> anyhow::Result<()> {
    let all = ids.len();
    let batches: Vec<Vec<Uuid>> = ids.chunks(CLAIM_BATCH).map(<[Uuid]>::to_vec).collect();
    let batches = Arc::new(Mutex::new(batches));
    let (packs_in, packs) = mpsc::channel(POLLS);
    let (finished_in, finished) = mpsc::channel(RECORD_BATCH * 2);
    let (packs, finished) = (Arc::new(Mutex::new(packs)), Arc::new(Mutex::new(finished)));
    let recorded = Arc::new(Mutex::new(0));
    let mut endless = JoinSet::new();
    let mut parts = JoinSet::new();
    for _ in 0..LANES {
        endless.spawn(claim(Arc::clone(shared), Arc::clone(&batches), packs_in.clone()));
        endless.spawn(lease(Arc::clone(shared), Arc::clone(&packs), finished_in.clone()));
        parts.spawn(record(Arc::clone(shared), Arc::clone(&finished), Arc::clone(&recorded), all));
    }
    if let Some(queue) = &shared.queue {
        for _ in 0..POLLS {
            endless.spawn(receive(Arc::clone(queue), packs_in.clone()));
        }
    }
    loop {
        tokio::select! {
            Some(ended) = endless.join_next() => ended??,
            Some(ended) = parts.join_next() => return ended?,
        }
    }
}

async fn claim(
    shared: Arc<Shared>,
    batches: Arc<Mutex<Vec<Vec<Uuid>>>>,
    packs: mpsc::Sender<Vec<Uuid>>,
) -> anyhow::Result<()> {
    let next = async || batches.lock().await.pop();
    while let Some(batch) = next().await {
        step(&shared.pool, 1, &batch).await?;
        let claimed = batch.chunks(PACK).map(<[Uuid]>::to_vec);
        match &shared.queue {
            Some(queue) => {
                let pack = |(id, event_ids)| Pack { id, event_ids, traceparent: None };
                queue.send(&(0..).zip(claimed).map(pack).collect::<Vec<_>>()).await?;
            }
            None => {
                for pack in claimed {
                    packs.send(pack).await?;
                }
            }
        }
    }
    Ok(())
}

async fn receive(queue: Arc<dyn Queue>, packs: mpsc::Sender<Vec<Uuid>>) -> anyhow::Result<()> {
    loop {
        let received = queue.receive(10, Duration::from_secs(1)).await?;
        let mut receipts = Vec::with_capacity(received.len());
        for Received { receipt, message, .. } in received {
            let message = message.map_err(|(_, error)| error)?;
            packs.send(message.event_ids).await?;
            receipts.push(receipt);
        }
        queue.ack(&receipts).await?;
    }
}

async fn lease(
    shared: Arc<Shared>,
    packs: Arc<Mutex<mpsc::Receiver<Vec<Uuid>>>>,
    finished: mpsc::Sender<Uuid>,
) -> anyhow::Result<()> {
    let mut requests = JoinSet::new();
    loop {
        let mut batch = Vec::new();
        packs.lock().await.recv_many(&mut batch, LEASED_PACKS).await;
        let batch = batch.concat();
        let places = Arc::clone(&shared.places);
        let mut places = places.acquire_many_owned(batch.len() as u32).await?;
        step(&shared.pool, 2, &batch).await?;
        for id in batch {
            let place = places.split(1).context("too few semaphore permits")?;
            requests.spawn(post(Arc::clone(&shared), id, place, finished.clone()));
        }
        while let Some(ended) = requests.try_join_next() {
            ended??;
        }
    }
}

async fn post(
    shared: Arc<Shared>,
    id: Uuid,
    place: OwnedSemaphorePermit,
    finished: mpsc::Sender<Uuid>,
) -> anyhow::Result<()> {
    let body = format!(
        r#"{{"message":"Hey, Ada Lovelace it's your birthday","userId":"{id}","eventId":"{id}","timestamp":"2026-01-01T09:00:00Z"}}"#
    );
    let request = shared.client.request(Method::POST, shared.url.clone());
    let request = request
        .header("content-type", "application/json")
        .header("webhook-id", id.to_string())
        .header("webhook-timestamp", SystemClock.now().timestamp())
        .body(body)
        .build()?;
    let mut response = shared.client.send(request).await?;
    while response.chunk().await?.is_some() {}
    drop(place);
    Ok(finished.send(id).await?)
}

async fn record(
    shared: Arc<Shared>,
    finished: Arc<Mutex<mpsc::Receiver<Uuid>>>,
    recorded: Arc<Mutex<usize>>,
    all: usize,
) -> anyhow::Result<()> {
    loop {
        let mut batch = Vec::new();
        let mut lane = finished.lock().await;
        lane.recv_many(&mut batch, RECORD_BATCH).await;
        tokio::time::sleep(BEFORE_RECORD).await;
        while batch.len() < RECORD_BATCH
            && let Ok(one) = lane.try_recv()
        {
            batch.push(one);
        }
        drop(lane);
        step(&shared.pool, 3, &batch).await?;
        let mut recorded = recorded.lock().await;
        *recorded += batch.len();
        if *recorded >= all {
            return Ok(());
        }
    }
}

async fn step(pool: &PgPool, step: i16, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query("UPDATE bare SET step = $1, at = $2 WHERE id = ANY($3)")
        .bind(step)
        .bind(SystemClock.now())
        .bind(ids)
        .execute(pool)
        .await?;
    Ok(())
}
