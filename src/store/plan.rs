//! Plan: the calendar becomes events, a local date at a time. An interrupted planner starts a date again.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use metrics::counter;
use sqlx::PgConnection;
use uuid::Uuid;

use super::login::LOCK_TIMEOUT;
use super::replan::{Unreadable, replan};
use super::users::OccasionRow;
use super::{Result, Store, StoreError, column};
use crate::model::{NewEvent, Reason, Schedule};

/// Users fall into this many buckets, by the last byte of their id, as `occasions.bucket` has it. Writers share a bucket's lock;
/// a planner has it alone for a page.
pub const BUCKETS: i16 = 32;
const BUCKET_LOCKS: i32 = 0x6264_6179;
/// The first key of the locks that keep two planners with the same rules from planning at the same time.
const PLANNER_LOCKS: i32 = 0x6264_617a;
/// How long a planner waits for the writers of a bucket. Later writers wait behind it, so it must be short.
const BUCKET_PATIENCE: &str = "300ms";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanPage {
    /// Where the next page of the bucket begins; none after the last page.
    pub next: Option<Uuid>,
    pub planned: u64,
    /// New events that are skipped from the start, because they were learned too late.
    pub skipped: u64,
    /// The users whom this version cannot read, with the reason. The planner tries them again by themselves.
    pub unreadable: Unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanStep {
    Page(PlanPage),
    /// A writer holds the bucket: try again later.
    Busy,
    Elsewhere,
}

#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    pub day: NaiveDate,
    /// Users of this bucket; none: of all buckets, for a day with few users.
    pub bucket: Option<i16>,
    pub after: Uuid,
    pub limit: u32,
}

impl Store {
    /// Returns the local dates through `through` that are not planned under `rules`, in order. Dates before `from` are included
    /// only if no process planned them, as after an outage.
    pub async fn days_to_plan(
        &self,
        rules: &str,
        from: NaiveDate,
        through: NaiveDate,
    ) -> Result<Vec<NaiveDate>> {
        let sql = "
            SELECT d::date FROM generate_series(
                least($2, coalesce((SELECT max(local_date) + 1 FROM planned_days), $2))::timestamp,
                $3::date::timestamp, interval '1 day') AS d
            WHERE NOT EXISTS (SELECT FROM planned_days p
                              WHERE p.local_date = d::date AND p.rules = $1 AND p.planned_at IS NOT NULL)
            UNION
            SELECT local_date FROM planned_days GROUP BY local_date HAVING count(planned_at) = 0
            ORDER BY 1";
        self.run(sqlx::query_scalar(sql).bind(rules).bind(from).bind(through).fetch_all(&self.pool)).await
    }

    /// Opens `day`: from then on, every write of a user also plans that day. The planner waits for earlier writers bucket by
    /// bucket.
    pub async fn open_day(&self, rules: &str, day: NaiveDate) -> Result<()> {
        let sql = "INSERT INTO planned_days (local_date, rules) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        self.execute(sqlx::query(sql).bind(day).bind(rules)).await.map(drop)
    }

    pub async fn close_day(&self, rules: &str, now: DateTime<Utc>, day: NaiveDate) -> Result<()> {
        let sql = "UPDATE planned_days SET planned_at = $1 WHERE (local_date, rules) = ($2, $3)";
        self.execute(sqlx::query(sql).bind(now).bind(day).bind(rules)).await.map(drop)
    }

    /// Plans one page of the users whose day it is. The bucket stays locked until the page is committed: an edit waits, and then
    /// moves the events planned here. No user row is locked or written.
    pub async fn plan_page(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        request: PageRequest,
    ) -> Result<PlanStep> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1, hashtext($2))")
                .bind(PLANNER_LOCKS)
                .bind(schedule.rules())
                .fetch_one(&mut *transaction)
                .await?;
            if !ours {
                return Ok(PlanStep::Elsewhere);
            }
            if !lock_bucket(&mut transaction, request.bucket).await? {
                return Ok(PlanStep::Busy);
            }
            let rows = occasions_of_page(&mut transaction, request).await?;
            // A page must not end between two occasions of one user: the rest of them come with the next page.
            let next = rows.last().map(|row| row.user_id).filter(|_| rows.len() >= request.limit as usize);
            let next =
                next.map(|last| rows.iter().map(|row| row.user_id).rfind(|id| *id != last).unwrap_or(last));
            let (mut events, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
            for row in rows {
                let user = row.user_id;
                match row.occasion() {
                    Ok(occasion) => events.extend(schedule.event(&occasion, request.day.year())),
                    Err(error) => unreadable.push((user, error.to_string())),
                }
            }
            let written = insert_events(&mut transaction, now, &events).await?;
            note_unreadable(&mut transaction, now, &unreadable).await?;
            transaction.commit().await?;
            Ok(PlanStep::Page(written.page(next, unreadable)))
        })
        .await
    }

    /// Tries a page of the users whom a planner could not read: those that can be read by now are planned.
    pub async fn plan_unreadable(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<PlanPage> {
        self.in_time(async {
            let users: Vec<Uuid> =
                sqlx::query_scalar("SELECT user_id FROM unplanned_users ORDER BY tried_at, user_id LIMIT $1")
                    .bind(i64::from(limit))
                    .fetch_all(&self.pool)
                    .await?;
            if users.is_empty() {
                return Ok(PlanPage::default());
            }
            let mut transaction = self.begin().await?;
            lock_users(&mut transaction, &users).await?;
            let through = planned_through(&mut transaction, schedule, now).await?;
            let (written, unreadable) = replan(&mut transaction, schedule, now, through, &users).await?;
            sqlx::query("DELETE FROM unplanned_users WHERE user_id = ANY($1)")
                .bind(&users)
                .execute(&mut *transaction)
                .await?;
            note_unreadable(&mut transaction, now, &unreadable).await?;
            transaction.commit().await?;
            Ok(written.page(None, unreadable))
        })
        .await
    }
}

/// Waits a moment for the writers of `bucket`, or of all; returns whether they have ended. If not, the transaction is over.
async fn lock_bucket(transaction: &mut PgConnection, bucket: Option<i16>) -> Result<bool> {
    set_lock_timeout(transaction, BUCKET_PATIENCE).await?;
    let locked = sqlx::query("SELECT pg_advisory_xact_lock($1, b) FROM generate_series($2, $3) AS b")
        .bind(BUCKET_LOCKS)
        .bind(i32::from(bucket.unwrap_or(0)))
        .bind(i32::from(bucket.unwrap_or(BUCKETS - 1)))
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::from);
    match locked {
        Ok(_) => set_lock_timeout(transaction, LOCK_TIMEOUT).await.map(|()| true),
        Err(error) if error.is_contention() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn set_lock_timeout(transaction: &mut PgConnection, timeout: &str) -> Result<()> {
    sqlx::query("SELECT set_config('lock_timeout', $1, true)").bind(timeout).execute(transaction).await?;
    Ok(())
}

async fn occasions_of_page(transaction: &mut PgConnection, request: PageRequest) -> Result<Vec<OccasionRow>> {
    let day = request.day;
    // In a common year the 28th stands for the 29th as well: the leap day rule of each user decides.
    let leap_day_too = (day.month(), day.day()) == (2, 28) && !day.leap_year();
    let days: &[i16] = if leap_day_too { &[28, 29] } else { &[day.day() as i16] };
    let buckets: Vec<i16> = request.bucket.map_or_else(|| (0..BUCKETS).collect(), |bucket| vec![bucket]);
    let sql = "
        SELECT o.user_id, o.kind, o.year, o.month, o.day, o.known_at, u.time_zone, u.send_at, u.leap_day
        FROM occasions o JOIN users u ON u.id = o.user_id
        WHERE o.month = $1 AND o.day = ANY($2) AND o.bucket = ANY($3) AND o.user_id > $4
        ORDER BY o.user_id, o.kind LIMIT $5";
    let rows = sqlx::query_as(sql)
        .bind(day.month() as i16)
        .bind(days)
        .bind(buckets)
        .bind(request.after)
        .bind(i64::from(request.limit))
        .fetch_all(transaction);
    Ok(rows.await?)
}

async fn note_unreadable(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    users: &[(Uuid, String)],
) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    let sql = "
        INSERT INTO unplanned_users (user_id, error, tried_at)
        SELECT DISTINCT ON (user_id) user_id, error, $3 FROM unnest($1::uuid[], $2::text[]) AS n(user_id, error)
        ON CONFLICT (user_id) DO UPDATE SET error = excluded.error, tried_at = excluded.tried_at";
    sqlx::query(sql)
        .bind(column(users, |(id, _)| *id))
        .bind(column(users, |(_, error)| error.as_str()))
        .bind(now)
        .execute(transaction)
        .await?;
    Ok(())
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WrittenEvents {
    pub(super) planned: u64,
    /// Events that are skipped because their date was learned too late on the day.
    pub(super) skipped: u64,
}

impl WrittenEvents {
    pub(super) fn count(self) {
        counter!("bday_events_planned_total").increment(self.planned);
        counter!("bday_events_skipped_total", "reason" => Reason::LateJoin.as_str()).increment(self.skipped);
    }

    pub(super) fn and(self, more: Self) -> Self {
        Self { planned: self.planned + more.planned, skipped: self.skipped + more.skipped }
    }

    fn page(self, next: Option<Uuid>, unreadable: Unreadable) -> PlanPage {
        self.count();
        PlanPage { next, planned: self.planned, skipped: self.skipped, unreadable }
    }
}

/// Writes the events that are missing. An event that was cancelled because its user was deleted comes back with the user, unless
/// a request of it may have been sent.
pub(super) async fn insert_events(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    events: &[NewEvent],
) -> Result<WrittenEvents> {
    if events.is_empty() {
        return Ok(WrittenEvents::default());
    }
    let mut written = write_events(transaction, now, events, INSERT).await?;
    if written.len() < events.len() {
        written.extend(write_events(transaction, now, events, REVIVE).await?);
    }
    let planned = written.iter().filter(|pending| **pending).count() as u64;
    let skipped = written.len() as u64 - planned;
    Ok(WrittenEvents { planned, skipped })
}

const INSERT: &str = "
INSERT INTO events (id, user_id, kind, local_year, local_date, due_at, late_from, next_attempt_at, state, reason, finished_at,
                    created_at)
SELECT n.id, n.user_id, n.kind, n.local_year, n.local_date, n.due_at, n.late_from, CASE WHEN n.reason IS NULL THEN n.due_at END,
       n.state::event_state, n.reason, CASE WHEN n.reason IS NOT NULL THEN $10 END, $10
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::date[], $6::timestamptz[], $7::timestamptz[], $8::text[],
            $9::text[])
    AS n(id, user_id, kind, local_year, local_date, due_at, late_from, state, reason)
ON CONFLICT ON CONSTRAINT one_event_per_user_kind_and_year DO NOTHING
RETURNING state = 'pending'";

const REVIVE: &str = "
UPDATE events e
SET local_date = n.local_date, due_at = n.due_at, late_from = n.late_from, state = n.state::event_state, reason = n.reason,
    next_attempt_at = CASE WHEN n.reason IS NULL THEN n.due_at END, queued_at = NULL,
    finished_at = CASE WHEN n.reason IS NOT NULL THEN $10 END, created_at = $10
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::date[], $6::timestamptz[], $7::timestamptz[], $8::text[],
            $9::text[])
    AS n(id, user_id, kind, local_year, local_date, due_at, late_from, state, reason)
WHERE (e.user_id, e.kind, e.local_year) = (n.user_id, n.kind, n.local_year)
  AND e.state = 'cancelled' AND e.reason = 'user_deleted' AND e.attempts = 0
RETURNING e.state = 'pending'";

async fn write_events(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    events: &[NewEvent],
    statement: &'static str,
) -> Result<Vec<bool>> {
    let written = sqlx::query_scalar(statement)
        .bind(column(events, |_| Uuid::now_v7()))
        .bind(column(events, |event| event.user_id))
        .bind(column(events, |event| event.kind.as_str()))
        .bind(column(events, |event| event.occurrence.local_year as i16))
        .bind(column(events, |event| event.occurrence.local_date))
        .bind(column(events, |event| event.occurrence.due_at))
        .bind(column(events, |event| event.late_from))
        .bind(column(events, |event| event.state.as_str()))
        .bind(column(events, |event| event.reason.map(Reason::as_str)))
        .bind(now)
        .fetch_all(transaction);
    Ok(written.await?)
}

/// Keeps planners from the buckets of `users` until the transaction ends. Every writer of users calls it before it locks rows of
/// users or events.
pub(super) async fn lock_buckets(transaction: &mut PgConnection, users: &[Uuid]) -> Result<()> {
    let buckets: BTreeSet<i16> = users.iter().map(|id| bucket_of(*id)).collect();
    let buckets: Vec<i32> = buckets.into_iter().map(i32::from).collect();
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1, b) FROM unnest($2::int[]) AS b")
        .bind(BUCKET_LOCKS)
        .bind(buckets)
        .execute(transaction)
        .await?;
    Ok(())
}

pub(super) async fn lock_users(transaction: &mut PgConnection, users: &[Uuid]) -> Result<()> {
    lock_buckets(transaction, users).await?;
    sqlx::query("SELECT FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE")
        .bind(users)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Returns the local date through which all users are planned; none before the first plan. Call it under [`lock_buckets`].
/// A planner with other rules may know kinds that this process does not: its days are opened again, so that it also plans the
/// users written here.
pub(super) async fn planned_through(
    transaction: &mut PgConnection,
    schedule: &Schedule,
    now: DateTime<Utc>,
) -> Result<Option<NaiveDate>> {
    let since = now.date_naive().pred_opt();
    let sql = "
        SELECT max(local_date), coalesce(bool_or(rules <> $1 AND planned_at IS NOT NULL AND local_date >= $2), false)
        FROM planned_days";
    let (through, others): (Option<NaiveDate>, bool) =
        sqlx::query_as(sql).bind(schedule.rules()).bind(since).fetch_one(&mut *transaction).await?;
    if others {
        let sql = "
            UPDATE planned_days SET planned_at = NULL
            WHERE rules <> $1 AND planned_at IS NOT NULL AND local_date >= $2";
        sqlx::query(sql).bind(schedule.rules()).bind(since).execute(transaction).await?;
    }
    Ok(through)
}

fn bucket_of(user: Uuid) -> i16 {
    i16::from(user.as_bytes()[15]) & (BUCKETS - 1)
}
