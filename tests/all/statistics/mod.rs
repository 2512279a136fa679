//! Counts of events by date, and groups of failures.

mod dates;
mod day;
mod failures;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::support::world::World;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Inserts an event of a user without dates, due at 09:00 UTC on `day`.
async fn insert_event(world: &World, day: NaiveDate, state: &str, reason: Option<&str>) -> Uuid {
    let due_at: DateTime<Utc> = day.and_hms_opt(9, 0, 0).unwrap().and_utc();
    let id = Uuid::now_v7();
    let sql = "
        INSERT INTO events (id, user_id, kind, local_year, local_date, due_at, late_from, state, reason, attempts, next_attempt_at,
                            started_at, finished_at, created_at)
        SELECT $1, gen_random_uuid(), 'birthday', extract(year FROM $2), $2, $3, $3, $4::event_state, $5, 1,
               CASE WHEN $4 = 'pending' THEN $3 END, CASE WHEN $4 = 'delivered' THEN $3 END, CASE WHEN $4 <> 'pending' THEN $3 END, $3";
    let insert = sqlx::query(sql).bind(id).bind(day).bind(due_at).bind(state).bind(reason);
    insert.execute(&world.database.pool().await).await.unwrap();
    id
}
