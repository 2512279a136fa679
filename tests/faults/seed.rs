//! People whose greetings fall due one after the other while the run lasts.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::place::Place;

/// `$1` people in UTC. Their events are due from `$2` on, `$3` seconds apart: a real plan knows whole minutes only, and
/// a run is shorter than one. The days around are planned, so that the planner leaves it at that.
const PEOPLE: &str = "
WITH people AS (
    SELECT n, gen_random_uuid() AS id, $2 + n * $3 * interval '1 second' AS due_at FROM generate_series(1, $1) AS n
), written AS (
    INSERT INTO users (id, external_id, first_name, last_name, time_zone, created_at, updated_at)
    SELECT id, 'u' || n, 'Ada', 'Lovelace ' || n, 'UTC', $4, $4 FROM people
), dated AS (
    INSERT INTO occasions (user_id, kind, year, month, day, known_at)
    SELECT id, 'birthday', 1990, extract(month FROM due_at AT TIME ZONE 'UTC'),
           extract(day FROM due_at AT TIME ZONE 'UTC'), $4 FROM people
), planned AS (
    INSERT INTO planned_days (local_date, planned_at)
    SELECT day::date, $4 FROM generate_series($2 - interval '9 days', $2 + interval '9 days', interval '1 day') AS day
    ON CONFLICT DO NOTHING
)
INSERT INTO events (id, user_id, kind, local_year, local_date, due_at, state, created_at)
SELECT gen_random_uuid(), id, 'birthday', extract(year FROM due_at AT TIME ZONE 'UTC'),
       (due_at AT TIME ZONE 'UTC')::date, due_at, 'pending', $4 FROM people";

/// Writes `n` people, due evenly from `from` on for `long`.
pub(crate) async fn people(place: &Place, n: u32, from: DateTime<Utc>, long: Duration) {
    sqlx::query(PEOPLE)
        .bind(n as i32)
        .bind(from)
        .bind(long.as_secs_f64() / f64::from(n.max(1)))
        .bind(from - TimeDelta::days(1))
        .execute(&place.pool)
        .await
        .unwrap();
}
