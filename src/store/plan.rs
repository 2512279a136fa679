//! Plan: the calendar becomes rows, a local date at a time, once, and again where a planner was interrupted.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use metrics::counter;
use sqlx::{AssertSqlSafe, Postgres, Row as _, Transaction};
use uuid::Uuid;

use super::users::OccasionRow;
use super::{PLAN_LOCK, PLANNER_LOCK, Result, Store};
use crate::model::{NewEvent, Reason, Schedule};

/// A day half planned, and how many events it has had so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanPage {
    /// Where the next page begins; none when this was the last.
    pub next: Option<Uuid>,
    /// New events that wait.
    pub planned: u64,
    /// New events that are skipped from the start, because they were learned too late.
    pub skipped: u64,
    /// What is wrong with the rows that this binary cannot read. Nothing was planned for these users.
    pub unreadable: Vec<String>,
}

impl Store {
    /// The local dates that a plan reaching through `through` still lacks, in order. A first plan begins at `from`.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn days_to_plan(&self, from: NaiveDate, through: NaiveDate) -> Result<Vec<NaiveDate>> {
        self.in_time(async {
            // Days are opened in order, so that the last one says how far the plan reaches.
            Ok(sqlx::query_scalar(
                "SELECT local_date FROM planned_days WHERE planned_at IS NULL
                 UNION
                 SELECT d::date FROM generate_series(
                     coalesce((SELECT max(local_date) + 1 FROM planned_days), $1)::timestamp,
                     $2::date::timestamp, interval '1 day') AS d
                 ORDER BY 1",
            )
            .bind(from)
            .bind(through)
            .fetch_all(&self.pool)
            .await?)
        })
        .await
    }

    /// Opens `day`: from here on, whoever writes a user plans that day too. Waits for the writers that began earlier,
    /// so that the pages read afterwards hold everybody they wrote.
    ///
    /// # Errors
    /// The database refuses or is away, or a writer keeps the lock for too long.
    pub async fn open_day(&self, day: NaiveDate) -> Result<()> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(PLAN_LOCK)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("INSERT INTO planned_days (local_date) VALUES ($1) ON CONFLICT DO NOTHING")
                .bind(day)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Plans one page of those whose day is `day`, after the user `after`. None when another process is planning.
    ///
    /// The users stay locked until their events are committed: an edit waits, and then moves what was planned here. Each
    /// user is locked before their dates, as edits do it; the other way round the two would lock each other out.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn plan_page(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        day: NaiveDate,
        after: Uuid,
        limit: u32,
    ) -> Result<Option<PlanPage>> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
                .bind(PLANNER_LOCK)
                .fetch_one(&mut *transaction)
                .await?;
            if !ours {
                return Ok(None);
            }
            // In a common year the 28th stands for the 29th as well, whatever it means to each of them.
            let leapers = (day.month(), day.day()) == (2, 28) && !day.leap_year();
            let rows: Vec<OccasionRow> = sqlx::query_as(
                "SELECT o.user_id, o.kind, o.year, o.month, o.day, o.known_at, u.time_zone, u.send_at, u.leap_day
                 FROM occasions o JOIN users u ON u.id = o.user_id
                 WHERE o.month = $1 AND (o.day = $2 OR o.day = 29 AND $3) AND o.user_id > $4
                 ORDER BY o.user_id, o.kind LIMIT $5
                 FOR SHARE OF u, o",
            )
            .bind(day.month() as i16)
            .bind(day.day() as i16)
            .bind(leapers)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&mut *transaction)
            .await?;
            let full = rows.len() >= limit as usize;
            // A page must not end between two occasions of one user: the rest of them come with the next page.
            let last = rows.last().map(|row| row.user_id);
            let next = if full { rows.iter().map(|row| row.user_id).rfind(|id| Some(*id) != last).or(last) } else { None };
            let (mut events, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
            for row in rows {
                match row.occasion() {
                    Ok(occasion) => events.extend(schedule.event(&occasion, day.year())),
                    // One user's trouble must not be everybody's.
                    Err(error) => unreadable.push(error.to_string()),
                }
            }
            let Written { planned, skipped } = insert_events(&mut transaction, now, &events).await?;
            transaction.commit().await?;
            Ok(Some(PlanPage { next, planned, skipped, unreadable }))
        })
        .await
    }

    /// Notes that `day` is planned.
    ///
    /// # Errors
    /// The database refuses or is away; then the day is gone through again.
    pub async fn close_day(&self, now: DateTime<Utc>, day: NaiveDate) -> Result<()> {
        self.in_time(async {
            sqlx::query(
                "UPDATE planned_days SET planned_at = $1 WHERE local_date = $2 AND planned_at IS NULL",
            )
            .bind(now)
            .bind(day)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }
}

/// What writing users has done to events.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// New events that wait.
    pub(super) planned: u64,
    /// Events that are skipped because their date was learned too late on the day.
    pub(super) skipped: u64,
}

impl Written {
    /// For the metrics, once it is committed. What a planner writes, the planner counts.
    pub(super) fn count(self) {
        counter!("bday_events_planned_total").increment(self.planned);
        counter!("bday_events_skipped_total", "reason" => Reason::LateJoin.as_str()).increment(self.skipped);
    }
}

/// Writes what is not there yet, and gives how many of it wait and how many are skipped.
///
/// An event that was cancelled because its user was deleted comes back with the user, unless something of it was sent.
pub(super) async fn insert_events(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    events: &[NewEvent],
) -> Result<Written> {
    if events.is_empty() {
        return Ok(Written::default());
    }
    let mut written = write_events(transaction, now, events, INSERT).await?;
    if written.len() < events.len() {
        written.extend(write_events(transaction, now, events, REVIVE).await?);
    }
    let planned = written.iter().filter(|pending| **pending).count() as u64;
    let skipped = written.len() as u64 - planned;
    Ok(Written { planned, skipped })
}

const INSERT: &str = "
INSERT INTO events (id, user_id, kind, local_year, local_date, due_at, state, reason, finished_at, created_at)
SELECT n.id, n.user_id, n.kind, n.local_year, n.local_date, n.due_at, n.state::event_state, n.reason,
       CASE WHEN n.state <> 'pending' THEN $9 END, $9
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::date[], $6::timestamptz[], $7::text[], $8::text[])
    AS n(id, user_id, kind, local_year, local_date, due_at, state, reason)
ON CONFLICT ON CONSTRAINT one_event_per_user_kind_and_year DO NOTHING
RETURNING state = 'pending'";

const REVIVE: &str = "
UPDATE events e
SET local_date = n.local_date, due_at = n.due_at, state = n.state::event_state, reason = n.reason,
    finished_at = CASE WHEN n.state <> 'pending' THEN $9 END, created_at = $9
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::date[], $6::timestamptz[], $7::text[], $8::text[])
    AS n(id, user_id, kind, local_year, local_date, due_at, state, reason)
WHERE (e.user_id, e.kind, e.local_year) = (n.user_id, n.kind, n.local_year)
  AND e.state = 'cancelled' AND e.reason = 'user_deleted' AND e.attempts = 0
RETURNING e.state = 'pending'";

/// Gives for each that was written whether it waits.
async fn write_events(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    events: &[NewEvent],
    statement: &'static str,
) -> Result<Vec<bool>> {
    let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
    let users: Vec<Uuid> = events.iter().map(|event| event.user_id).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let years: Vec<i16> = events
        .iter()
        .map(|event| event.occurrence.local_year as i16)
        .collect();
    let (dates, dues): (Vec<NaiveDate>, Vec<DateTime<Utc>>) = events
        .iter()
        .map(|event| (event.occurrence.local_date, event.occurrence.due_at))
        .unzip();
    let states: Vec<&str> = events.iter().map(|event| event.state.as_str()).collect();
    let reasons: Vec<Option<&str>> = events
        .iter()
        .map(|event| event.reason.map(Reason::as_str))
        .collect();
    Ok(sqlx::query_scalar(statement)
        .bind(ids)
        .bind(users)
        .bind(kinds)
        .bind(years)
        .bind(dates)
        .bind(dues)
        .bind(states)
        .bind(reasons)
        .bind(now)
        .fetch_all(&mut **transaction)
        .await?)
}

/// A transaction that writes users, and how far everybody has been planned; none before the first plan.
///
/// The lock does not come with the `BEGIN`: where a statement behind that fails, sqlx rolls nothing back.
pub(super) async fn begin_writing(
    store: &Store,
) -> Result<(Transaction<'static, Postgres>, Option<NaiveDate>)> {
    let mut transaction = store.begin().await?;
    let through = planned_through(&mut transaction).await?;
    Ok((transaction, through))
}

/// The same within a transaction that is there.
///
/// Both statements go together, since each way to the database and back counts where a request waits. They are two all the
/// same: what the second sees is as of its start, behind the lock.
pub(super) async fn planned_through(
    transaction: &mut Transaction<'_, Postgres>,
) -> Result<Option<NaiveDate>> {
    // Shared with other writers; a planner that opens a day waits for us, or we for it.
    let both =
        format!("SELECT pg_advisory_xact_lock_shared({PLAN_LOCK}); SELECT max(local_date) FROM planned_days");
    let rows = sqlx::raw_sql(AssertSqlSafe(both))
        .fetch_all(&mut **transaction)
        .await?;
    match rows.last() {
        Some(row) => Ok(row.try_get(0)?),
        None => Ok(None),
    }
}
