//! Planned days: the calendar becomes events, a local date at a time. An interrupted planner starts a date again.

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::bucket_locks::{BUCKETS, lock_users, try_lock_for_planner};
use super::events::write::{UnreadableUsers, WrittenEvents, insert_events, replan_users};
use super::users::occasions::OccasionRow;
use super::{Result, Store, column};
use crate::model::Schedule;

/// The first key of the locks that keep two planners with the same rules from planning at the same time.
const PLANNER_LOCKS: i32 = 0x6264_617a;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanPage {
    /// Where the next page of the bucket begins; none after the last page.
    pub next: Option<Uuid>,
    pub planned: u64,
    /// New events that are skipped from the start, because their date was learned too late.
    pub skipped: u64,
    /// The planner retries these users apart from the days.
    pub unreadable: UnreadableUsers,
}

impl PlanPage {
    fn new(written: WrittenEvents, next: Option<Uuid>, unreadable: UnreadableUsers) -> Self {
        Self { next, planned: written.planned, skipped: written.skipped, unreadable }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanStep {
    Page(PlanPage),
    /// A writer holds the bucket: retry later.
    Busy,
    /// Another process is planning by the same rules.
    OtherProcess,
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

    /// Plans one page of the users who have an occasion on that day. The bucket stays locked until the page is committed: an edit
    /// waits, and then moves the events planned here. No user row is locked or written.
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
                return Ok(PlanStep::OtherProcess);
            }
            if !try_lock_for_planner(&mut transaction, request.bucket).await? {
                return Ok(PlanStep::Busy);
            }
            let rows = occasions_of_page(&mut transaction, request).await?;
            let next = next_page(&rows, request.limit);
            let (mut events, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
            for row in rows {
                let user = row.user_id;
                match row.occasion() {
                    Ok(occasion) => events.extend(schedule.event(&occasion, request.day.year())),
                    Err(error) => unreadable.push((user, error.to_string())),
                }
            }
            let written = insert_events(&mut transaction, now, &events).await?;
            save_unreadable(&mut transaction, now, &unreadable).await?;
            transaction.commit().await?;
            written.record_metrics();
            Ok(PlanStep::Page(PlanPage::new(written, next, unreadable)))
        })
        .await
    }

    /// Retries a page of the users whom a planner could not read, and plans those who can be read now.
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
            let (written, unreadable) =
                replan_users(&mut transaction, schedule, now, through, &users).await?;
            sqlx::query("DELETE FROM unplanned_users WHERE user_id = ANY($1)")
                .bind(&users)
                .execute(&mut *transaction)
                .await?;
            save_unreadable(&mut transaction, now, &unreadable).await?;
            transaction.commit().await?;
            written.record_metrics();
            Ok(PlanPage::new(written, None, unreadable))
        })
        .await
    }

    /// Deletes planned days from before `before`, except the last: it says how far the plan reaches.
    pub async fn forget_planned_days(&self, before: DateTime<Utc>) -> Result<()> {
        let sql = "
            DELETE FROM planned_days
            WHERE local_date < $1 AND local_date < (SELECT max(local_date) FROM planned_days)";
        self.execute(sqlx::query(sql).bind((before - Days::new(1)).date_naive())).await.map(drop)
    }
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

/// Returns the id after which the next page begins. A page must not end between two occasions of one user: the last user of a full
/// page is planned again with the next one.
fn next_page(rows: &[OccasionRow], limit: u32) -> Option<Uuid> {
    let last = rows.last().filter(|_| rows.len() >= limit as usize)?.user_id;
    Some(rows.iter().map(|row| row.user_id).rfind(|id| *id != last).unwrap_or(last))
}

async fn save_unreadable(
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

/// Returns the local date through which all users are planned; none before the first plan. The caller holds the buckets' locks.
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
