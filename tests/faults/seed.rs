//! Users whose greetings fall due one after the other during the run.

use std::fmt::Write as _;
use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Timelike as _, Utc};

use super::place::Place;
use super::sent::ADDED_KIND;

/// One in this many seeded users also has a date of that kind.
const ADDED_EVERY: i32 = 40;

/// Gives two fifths of `people` (`n`, `id`) an email address and a third a Slack id; a fifteenth has both, and the others none. The
/// mail server refuses one address in seven, Slack one id in thirteen.
macro_rules! with_contacts {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            ", addresses AS (
                SELECT id, 'email' AS type,
                       CASE WHEN n % 7 = 0 THEN 'refused-' ELSE '' END || replace(id::text, '-', '') || '@example.org' AS address
                FROM people WHERE n % 3 = 0 OR n % 15 = 10
                UNION ALL
                SELECT id, 'slack_user_id', CASE WHEN n % 13 = 0 THEN 'W' ELSE 'U' END || upper(replace(id::text, '-', ''))
                FROM people WHERE n % 3 = 1
            ), contacts AS (
                INSERT INTO contact_points (user_id, type, address, address_hash)
                SELECT id, type, address, sha256(convert_to(lower(address), 'UTF8')) FROM addresses
            ), ",
            $after
        )
    };
}

/// Writes `$1` users in UTC whose greetings are due at the minute `$2`. The planner uses whole minutes, and a run is shorter than one:
/// so the events may be sent from `$3` on, `$4` seconds apart, as if an attempt were postponed. The surrounding days are marked as
/// planned, so that the planner adds no events.
const DUE: &str = with_contacts!(
    "
WITH people AS (
    SELECT n, gen_random_uuid() AS id, $3 + n * $4 * interval '1 second' AS from_at FROM generate_series(1, $1) AS n
), written AS (
    INSERT INTO users (id, external_id, first_name, last_name, time_zone, send_at, created_at, updated_at)
    SELECT id, 'u' || n, 'Ada', 'Lovelace ' || n, 'UTC', ($2 AT TIME ZONE 'UTC')::time, $5, $5 FROM people
)",
    "dates AS (
    SELECT id, 'birthday' AS kind, from_at FROM people
    UNION ALL SELECT id, $6, from_at FROM people WHERE n % $7 = 0
), dated AS (
    INSERT INTO occasions (user_id, kind, year, month, day, known_at)
    SELECT id, kind, 1990, extract(month FROM $2 AT TIME ZONE 'UTC'), extract(day FROM $2 AT TIME ZONE 'UTC'), $5 FROM dates
), planned AS (
    INSERT INTO planned_days (local_date, rules, planned_at)
    SELECT day::date, rules, $5
    FROM generate_series($2 - interval '9 days', $2 + interval '9 days', interval '1 day') AS day,
         (SELECT DISTINCT rules FROM planned_days) AS r
    ON CONFLICT DO NOTHING
)
INSERT INTO events (id, user_id, kind, local_year, local_date, due_at, late_from, next_attempt_at, state, created_at)
SELECT gen_random_uuid(), id, kind, extract(year FROM $2 AT TIME ZONE 'UTC'), ($2 AT TIME ZONE 'UTC')::date, $2, from_at, from_at,
       'pending', $5
FROM dates"
);

/// Writes `$1` users in UTC whose birthday is the day of `$2`, and removes the plan of that day.
const UNPLANNED: &str = with_contacts!(
    "
WITH people AS (
    SELECT n, gen_random_uuid() AS id FROM generate_series(1, $1) AS n
), written AS (
    INSERT INTO users (id, external_id, first_name, last_name, time_zone, send_at, created_at, updated_at)
    SELECT id, 'p' || $4 || '-' || n, 'Grace', 'Hopper', 'UTC', ($2 AT TIME ZONE 'UTC')::time, $3, $3 FROM people
)",
    "opened AS (
    DELETE FROM planned_days WHERE local_date = ($2 AT TIME ZONE 'UTC')::date
)
INSERT INTO occasions (user_id, kind, year, month, day, known_at)
SELECT id, 'birthday', 1906, extract(month FROM $2 AT TIME ZONE 'UTC'), extract(day FROM $2 AT TIME ZONE 'UTC'), $3 FROM people"
);

const MOVE_CONTACTS: &str = "
WITH gone AS (
    DELETE FROM contact_points p USING users u WHERE u.id = p.user_id AND right(u.external_id, 1) = $1 AND $1 <> $2
), addresses AS (
    SELECT id, replace(id::text, '-', '') || '@example.org' AS address FROM users
    WHERE right(external_id, 1) = $2 AND external_id ~ '^[up]'
)
INSERT INTO contact_points (user_id, type, address, address_hash)
SELECT id, 'email', address, sha256(convert_to(address, 'UTF8')) FROM addresses
ON CONFLICT DO NOTHING";

/// Waits until daemons have planned days under both rules, with and without the added kind.
pub(crate) async fn planned(place: &Place) {
    const PLANNED: &str = "SELECT count(DISTINCT rules) = 2 FROM planned_days";
    let deadline = place.journal.now() + Duration::from_secs(60);
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    loop {
        looks.tick().await;
        let planned: bool = sqlx::query_scalar(PLANNED).fetch_one(&place.pool).await.unwrap();
        if planned {
            return;
        }
        assert!(place.journal.now() < deadline, "the daemons did not plan within 60 s");
    }
}

/// Returns the start of a past minute.
pub(crate) fn minute_over() -> DateTime<Utc> {
    let minute = SystemClock.now().with_second(0).unwrap().trunc_subsecs(0);
    minute - TimeDelta::minutes(2)
}

/// Writes `n` users whose events may be sent from `from` on, evenly distributed over `long`.
pub(crate) async fn due(place: &Place, n: u32, from: DateTime<Utc>, long: Duration) {
    let due_at = minute_over();
    sqlx::query(DUE)
        .bind(n as i32)
        .bind(due_at)
        .bind(from)
        .bind(long.as_secs_f64() / f64::from(n.max(1)))
        .bind(due_at - TimeDelta::days(1))
        .bind(ADDED_KIND)
        .bind(ADDED_EVERY)
        .execute(&place.pool)
        .await
        .unwrap();
}

/// Writes `n` users whose birthday is today, as if they existed before the day was planned.
pub(crate) async fn unplanned(place: &Place, n: u32, number: usize) -> sqlx::Result<()> {
    let due_at = minute_over();
    sqlx::query(UNPLANNED)
        .bind(n as i32)
        .bind(due_at)
        .bind(due_at - TimeDelta::days(1))
        .bind(number as i32)
        .execute(&place.pool)
        .await?;
    Ok(())
}

/// Removes the contacts of some users, and gives others an email address, by the last digit of their external id.
pub(crate) async fn move_contacts(place: &Place, without: u8, with: u8) -> sqlx::Result<()> {
    sqlx::query(MOVE_CONTACTS).bind(without.to_string()).bind(with.to_string()).execute(&place.pool).await?;
    Ok(())
}

/// Returns an import file (CSV) with `n` users whose birthday is today.
pub(crate) fn file(n: u32, number: usize) -> String {
    let due_at = minute_over();
    let mut text =
        "external_id,first_name,last_name,birth_date,time_zone,send_at,email,slack_user_id\n".to_owned();
    for n in 1..=n {
        let (day, time) = (due_at.format("%m-%d"), due_at.format("%H:%M"));
        // See `sent::key_of`.
        let contacts = match n % 3 {
            0 => format!("i{number:02}-{n:02}@example.org,"),
            1 => format!(",UI{number:02}N{n:02}"),
            _ => ",".to_owned(),
        };
        writeln!(text, "i{number:02}-{n:02},Katherine,Johnson,1918-{day},UTC,{time},{contacts}").unwrap();
    }
    text
}
