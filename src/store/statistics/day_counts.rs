//! Counts of events by local date: past dates are counted once and stored, since a date has tens of thousands of events.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::PgConnection;

use super::OutcomeCounts;
use crate::store::date_range::DateRange;
use crate::store::{Result, Store};

/// A date with unfinished events, and the latest date, are counted again after this time.
pub const RECOUNT_AFTER: TimeDelta = TimeDelta::minutes(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct DayCounts {
    pub local_date: NaiveDate,
    #[sqlx(flatten)]
    pub counts: OutcomeCounts,
}

/// Events of deleted users have no date any more.
const COUNT: &str = "
SELECT local_date, count(*) FILTER (WHERE state = 'delivered') AS sent, count(*) FILTER (WHERE state = 'dead') AS failed,
       count(*) FILTER (WHERE state = 'skipped') AS skipped, count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
       count(*) FILTER (WHERE state IN ('pending', 'queued', 'delivering')) AS due
FROM events
WHERE due_at >= $3 AND due_at < $4 AND local_date BETWEEN $1 AND $2 AND (due_at <> $5 OR finished_at IS DISTINCT FROM $6)
GROUP BY local_date";

/// Inserts rows for the dates from the first event on. Not while the planner is behind, as after an outage: it would add events to dates
/// that are counted already.
const OPEN: &str = "
INSERT INTO day_counts (local_date)
SELECT d::date FROM generate_series(
    greatest($1, ((SELECT min(due_at) FROM events WHERE due_at >= $4) AT TIME ZONE 'UTC')::date - 1)::timestamp,
    $2::date::timestamp, interval '1 day') AS d
WHERE EXISTS (SELECT FROM planned_days WHERE local_date >= $3 AND planned_at IS NOT NULL)
ON CONFLICT DO NOTHING";

/// The latest date is counted repeatedly: an attempt whose worker died may be recorded late.
const NEXT: &str = "
SELECT local_date FROM day_counts
WHERE local_date BETWEEN $1 AND $2 AND (counted_at IS NULL OR (unfinished > 0 OR local_date = $2) AND counted_at < $3)
ORDER BY counted_at IS NOT NULL, local_date DESC LIMIT 1 FOR UPDATE SKIP LOCKED";

const STORE: &str = "
UPDATE day_counts SET sent = $2, failed = $3, skipped = $4, cancelled = $5, unfinished = $6, counted_at = $7
WHERE local_date = $1";

impl Store {
    /// Counts and stores the dates from `from` to `to` that are missing, that a redrive changed, or that had unfinished events; the latest
    /// first. Ends after the date that reaches `max_events`. Returns the number of dates counted.
    pub async fn count_days(
        &self,
        now: DateTime<Utc>,
        (from, to): (NaiveDate, NaiveDate),
        max_events: i64,
    ) -> Result<u32> {
        // Committed first: a redrive then marks the row, or waits for the count that has locked it.
        let open = sqlx::query(OPEN).bind(from).bind(to).bind(now.date_naive());
        let open = open.bind(DateRange::new(from, to).due_from);
        self.execute(open).await?;
        let (mut days, mut events) = (0, 0);
        while events < max_events
            && let Some(counts) = Box::pin(self.count_day(now, from, to)).await?
        {
            days += 1;
            events += counts.total();
        }
        Ok(days)
    }

    async fn count_day(
        &self,
        now: DateTime<Utc>,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Option<OutcomeCounts>> {
        self.in_time(async {
            let mut transaction = self.begin_scan().await?;
            let next = sqlx::query_scalar(NEXT).bind(from).bind(to).bind(now - RECOUNT_AFTER);
            let Some(date) = next.fetch_optional(&mut *transaction).await? else {
                return Ok(None);
            };
            // A statement of its own: its snapshot has every redrive that ended before the lock.
            let counts = count(&mut transaction, date, date).await?.pop();
            let counts = counts.map_or_else(OutcomeCounts::default, |day| day.counts);
            sqlx::query(STORE)
                .bind(date)
                .bind(counts.sent)
                .bind(counts.failed)
                .bind(counts.skipped)
                .bind(counts.cancelled)
                .bind(counts.due)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(Some(counts))
        })
        .await
    }

    /// Returns the stored counts of the dates from `from` to `to`, in order.
    pub async fn stored_day_counts(&self, from: NaiveDate, to: NaiveDate) -> Result<Vec<DayCounts>> {
        let sql = "
            SELECT local_date, sent, failed, skipped, cancelled, unfinished AS due FROM day_counts
            WHERE local_date BETWEEN $1 AND $2 AND sent IS NOT NULL ORDER BY local_date";
        self.run(sqlx::query_as(sql).bind(from).bind(to).fetch_all(&self.pool)).await
    }

    /// Counts the events of the dates from `from` to `to`, a few days; dates without events are left out.
    pub async fn live_day_counts(&self, from: NaiveDate, to: NaiveDate) -> Result<Vec<DayCounts>> {
        Box::pin(self.in_time(async {
            let mut transaction = self.begin_scan().await?;
            let counts = count(&mut transaction, from, to).await?;
            transaction.commit().await?;
            Ok(counts)
        }))
        .await
    }

    /// Returns when the first event was due.
    pub async fn first_due_at(&self) -> Result<Option<DateTime<Utc>>> {
        self.run(sqlx::query_scalar("SELECT min(due_at) FROM events").fetch_one(&self.pool)).await
    }

    /// Returns the number of occasions of each month and day, of all kinds. Reads one index.
    pub async fn occasions_by_day(&self) -> Result<Vec<(u32, u32, i64)>> {
        let rows: Vec<(i16, i16, i64)> = Box::pin(self.in_time(async {
            let mut transaction = self.begin_scan().await?;
            let sql = "SELECT month, day, count(*) FROM occasions GROUP BY month, day";
            let rows = sqlx::query_as(sql).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(rows)
        }))
        .await?;
        Ok(rows.into_iter().map(|(month, day, count)| (month as u32, day as u32, count)).collect())
    }
}

async fn count(transaction: &mut PgConnection, from: NaiveDate, to: NaiveDate) -> Result<Vec<DayCounts>> {
    let range = DateRange::new(from, to);
    let counts = sqlx::query_as(COUNT)
        .bind(from)
        .bind(to)
        .bind(range.due_from)
        .bind(range.due_before)
        .bind(range.blurred_due)
        .bind(range.blurred_finished);
    Ok(counts.fetch_all(transaction).await?)
}
