//! Seeds users, some with due events. Users are written with plain SQL, for speed; bday's planner creates their events.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use bday::clock::{Clock as _, SettableClock, SharedClock, SystemClock};
use bday::config::Config;
use bday::config::parts;
use bday::pipeline::zone_data;
use bday::store::Store;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Timelike as _, Utc};
use sqlx::PgPool;

/// Writes `$2` users, of whom `$1` are due at `$3`. Names contain characters that JSON must escape, and multi-byte
/// characters. Time zones have no DST, so that their UTC offset is constant. The birthdays of all other users are
/// beyond the planned days.
const PEOPLE: &str = "
WITH people AS (
    SELECT n, gen_random_uuid() AS id, n <= $1 AS due,
           (ARRAY['UTC', 'Asia/Kolkata', 'Asia/Tokyo', 'America/Bogota'])[1 + n % 4] AS time_zone,
           (ARRAY['Ada', 'Björk', 'Chloé', 'Łukasz', 'Nguyễn', 'Zoë \"Z\"', '花子', 'Sean'])[1 + n % 8] AS first_name,
           (ARRAY['Lovelace', 'O''Neil', 'Müller-Lüdenscheidt', 'Smith'])[1 + n / 8 % 4] || ' ' || n AS last_name
    FROM generate_series(1, $2) AS n
), dated AS (
    SELECT *, CASE WHEN due THEN $3 AT TIME ZONE time_zone
                   ELSE ($3 AT TIME ZONE 'UTC') + make_interval(days => 10 + n % 340) END AS local
    FROM people
), written AS (
    INSERT INTO users (id, first_name, last_name, time_zone, send_at, created_at, updated_at)
    SELECT id, first_name, last_name, time_zone, CASE WHEN due THEN local::time END, $4, $4 FROM dated
)
INSERT INTO occasions (user_id, kind, year, month, day, known_at)
SELECT id, 'birthday', 1950 + n % 60, extract(month FROM local), extract(day FROM local), $4 FROM dated";

/// Fills an empty database with `users` users, of whom `events` are due `ahead` after the start of this minute.
pub(crate) async fn people(
    store: &Store,
    pool: &PgPool,
    events: u32,
    users: u32,
    ahead: TimeDelta,
) -> anyhow::Result<()> {
    store.migrate().await?;
    let now = SystemClock.now();
    // As after an earlier start of this binary: the daemon has no zone data to recompute when it starts.
    zone_data::recompute(store, &config()?.schedule(), &SystemClock, &zone_data::version(), || {}).await?;
    let minute = now.with_second(0).context("every minute has a second 0")?.trunc_subsecs(0);
    sqlx::query(PEOPLE)
        .bind(events as i32)
        .bind(users as i32)
        .bind(minute + ahead)
        .bind(now - TimeDelta::days(1))
        .execute(pool)
        .await?;
    plan(store, minute - TimeDelta::minutes(1), events).await?;
    settle(pool).await
}

/// Runs one tick at `at`, before the events are due: it plans them, and enqueues nothing.
async fn plan(store: &Store, at: DateTime<Utc>, events: u32) -> anyhow::Result<()> {
    let config = config()?;
    let clock: SharedClock = Arc::new(SettableClock::new(at));
    let queue = parts::queue(&config, store, &clock).await?;
    let scheduler = parts::scheduler_for_command(&config, store.clone(), queue, clock);
    let (tick, result) = scheduler.run_once(at).await;
    result?;
    anyhow::ensure!(
        tick.planned == u64::from(events) && tick.due == 0,
        "expected {events} planned events: {tick:?}"
    );
    Ok(())
}

/// Returns bday's default configuration, for stages that run in this process. They do not depend on the kind of queue.
pub(crate) fn config() -> anyhow::Result<Config> {
    let variables = [("BDAY__QUEUE__KIND".to_owned(), "postgres".to_owned())];
    Ok(bday::config::load(None, HashMap::from(variables))?)
}

/// Runs the maintenance that PostgreSQL would otherwise start during the run.
pub(crate) async fn settle(pool: &PgPool) -> anyhow::Result<()> {
    for statement in ["VACUUM (ANALYZE)", "CHECKPOINT"] {
        sqlx::query(statement).execute(pool).await?;
    }
    Ok(())
}
