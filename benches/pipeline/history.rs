//! Writes users and years of finished events with plain SQL. Indexes are built after the rows are written, in the transaction that
//! truncates the tables, so that PostgreSQL writes no WAL for them.

use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// Makes ids (UUID version 7) in the order of time, like bday.
const UUID7: &str = "
CREATE FUNCTION pg_temp.uuid7(ms bigint, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(md5(n::text), 1, 3) || 'a' || substr(md5(n::text), 5, 15))::uuid
$$;
CREATE FUNCTION pg_temp.user_of(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.uuid7(1600000000000 + n, n)
$$";

/// User `n` has the birthday `n % 365` days after `$DAY`.
const USERS: &str = "
INSERT INTO users (id, first_name, last_name, time_zone, created_at, updated_at)
SELECT pg_temp.user_of(n), 'Ada', 'Lovelace ' || n, 'UTC', '2020-09-13', '2020-09-13'
FROM generate_series($FIRST::bigint, $USERS, $STEP) AS n;
INSERT INTO occasions (user_id, kind, year, month, day, known_at)
SELECT pg_temp.user_of(n), 'birthday', 1990, extract(month FROM date '$DAY' + (n % 365)::int),
       extract(day FROM date '$DAY' + (n % 365)::int), '2020-09-13'
FROM generate_series($FIRST::bigint, $USERS, $STEP) AS n";

/// Writes the events of the year that began `$AGO` years ago, in the order of their days.
const EVENTS: &str = "
INSERT INTO events (id, user_id, kind, local_year, local_date, due_at, late_from, state, attempts, queued_at, started_at, status,
                    finished_at, created_at)
SELECT pg_temp.uuid7(extract(epoch FROM at)::bigint * 1000 + n / 365, n * 100 + $AGO), pg_temp.user_of(n), 'birthday',
       extract(year FROM date '$DAY' + d) - $AGO, (at AT TIME ZONE 'UTC')::date, at, at, 'delivered', 1, at, at, 200, at, at - interval '2 days'
FROM generate_series(0, 364) AS d,
     LATERAL (SELECT (date '$DAY' - 365 * $AGO + d + time '09:00') AT TIME ZONE 'UTC') AS t(at),
     LATERAL generate_series(CASE WHEN d = 0 THEN 365 ELSE d END::bigint, $USERS, 365) AS n";

/// Marks the days around `$DAY` as planned, but not `$DAY` itself.
const PLANNED: &str = "
INSERT INTO planned_days (local_date, rules, planned_at)
SELECT day::date, '$RULES', now() FROM generate_series(date '$DAY' - 9, date '$DAY' + 9, interval '1 day') AS day
WHERE day::date <> '$DAY'";

/// Returns the statements that drop, and that build, each index and key of the tables.
const INDEXES: &str = "
SELECT 'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || quote_ident(conname),
       'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid = ANY('{users, occasions, contact_points, events}'::regclass[]) AND contype IN ('f', 'p', 'u')
UNION ALL
SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = ANY('{users, occasions, contact_points, events}'::regclass[])
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))";

/// Writes `users` users with about `events` finished events. If `events` is 0, writes only the users whose birthday is on `day`.
pub(crate) async fn fill(
    url: &str,
    day: NaiveDate,
    users: u32,
    events: u32,
    rules: &str,
) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let step = if events > 0 { 1 } else { 365 };
    let text = |statement: &str, ago: u32| {
        let statement = statement
            .replace("$DAY", &day.to_string())
            .replace("$USERS", &users.to_string())
            .replace("$FIRST", &step.to_string())
            .replace("$STEP", &step.to_string())
            .replace("$RULES", &rules.replace('\'', "''"))
            .replace("$AGO", &ago.to_string());
        AssertSqlSafe(statement)
    };
    let mut indexes: Vec<(String, String)> = sqlx::query_as(INDEXES).fetch_all(&mut connection).await?;
    // Foreign keys are dropped first and added last.
    indexes.sort_by_key(|(_, build)| !build.contains("FOREIGN KEY"));
    connection.execute(sqlx::raw_sql(UUID7)).await?;
    let mut transaction = connection.begin().await?;
    transaction.execute("TRUNCATE users, occasions, contact_points, events").await?;
    for (drop, _) in &indexes {
        transaction.execute(AssertSqlSafe(drop.clone())).await?;
    }
    transaction.execute(sqlx::raw_sql(text(USERS, 0))).await?;
    for ago in (1..=events.div_ceil(users)).rev() {
        transaction.execute(text(EVENTS, ago)).await?;
        eprintln!("events of {ago} years ago written …");
    }
    for (_, build) in indexes.iter().rev() {
        transaction.execute(AssertSqlSafe(build.clone())).await?;
    }
    transaction.execute(text(PLANNED, 0)).await?;
    transaction.commit().await?;
    connection.execute("VACUUM (ANALYZE)").await?;
    connection.close().await?;
    Ok(())
}
