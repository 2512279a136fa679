//! The events of one local date, and the minutes ahead with the most events.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::OutcomeCounts;
use crate::model::EventState;
use crate::store::date_range::DateRange;
use crate::store::events::MAX_COUNTED;
use crate::store::{Result, Store};

/// A delivered event is late if this passed between `late_from` and its delivery.
pub const LATE: TimeDelta = TimeDelta::seconds(60);

/// The events of one local date in all zones. Events of deleted users are left out, since their date is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DayStatistics {
    /// The date in the zones of the users.
    pub date: NaiveDate,
    /// When the events were counted (UTC).
    pub counted_at: DateTime<Utc>,
    pub counts: OutcomeCounts,
    /// The number of events that were delivered more than 60 s late.
    pub late: i64,
    /// The events in groups that differ in at least one field, by due instant.
    pub groups: Vec<EventGroup>,
    /// Null if no event was delivered.
    pub lateness: Option<Lateness>,
    /// The number of events of all dates that are due and pending, up to 100,000.
    pub due_pending: i64,
    /// When the event that has been due and pending longest was due (UTC); null if no event is due and pending.
    pub oldest_pending_due_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct EventGroup {
    /// The quarter of an hour in which they are due: its beginning (UTC).
    pub due_at: DateTime<Utc>,
    pub state: EventState,
    /// Why they were not delivered.
    pub reason: Option<String>,
    /// The channel of their last attempts; null before the first one.
    pub channel: Option<String>,
    /// Whether they were delivered more than 60 s late.
    pub late: bool,
    pub count: i64,
}

/// The lateness of delivered events: from due, or learned, moved or redriven later, to the response of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Lateness {
    pub p50_ms: i64,
    pub p95_ms: i64,
    pub p99_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct BusyMinute {
    /// The beginning of the minute (UTC).
    pub at: DateTime<Utc>,
    /// The number of events due.
    pub due: i64,
}

/// One scan: the events are grouped twice, by what the page shows and by lateness in milliseconds, of which there are fewer values than
/// events. A refused contact removes the channel of its event, but not that of the attempt.
const DAY: &str = "
WITH counted AS MATERIALIZED (
    SELECT due_at, state, reason, channel, late, lateness_ms, grouping(lateness_ms) = 1 AS is_group, count(*) AS count
    FROM (SELECT date_bin('15 minutes', due_at, 'epoch') AS due_at, state, reason,
                 CASE WHEN state = 'dead' AND channel IS NULL THEN
                     (SELECT a.channel FROM attempts a WHERE a.event_id = events.id ORDER BY a.number DESC LIMIT 1)
                 ELSE channel END AS channel,
                 state = 'delivered' AND finished_at - late_from > make_interval(secs => $6) AS late,
                 CASE WHEN state = 'delivered' THEN
                     greatest(0, date_part('epoch', finished_at - late_from) * 1000)::bigint END AS lateness_ms
          FROM events
          WHERE due_at >= $2 AND due_at < $3 AND local_date = $1 AND (due_at <> $4 OR finished_at IS DISTINCT FROM $5)) AS e
    GROUP BY GROUPING SETS ((due_at, state, reason, channel, late), (lateness_ms))
), lateness AS (
    SELECT min(lateness_ms) FILTER (WHERE running >= 0.5 * total) AS p50_ms,
           min(lateness_ms) FILTER (WHERE running >= 0.95 * total) AS p95_ms,
           min(lateness_ms) FILTER (WHERE running >= 0.99 * total) AS p99_ms
    FROM (SELECT lateness_ms, sum(count) OVER (ORDER BY lateness_ms) AS running, sum(count) OVER () AS total
          FROM counted WHERE lateness_ms IS NOT NULL) AS l
)
SELECT c.due_at, c.state, c.reason, c.channel, c.late, c.count, l.p50_ms, l.p95_ms, l.p99_ms
FROM lateness l JOIN counted c ON c.is_group
ORDER BY c.due_at, c.state, c.reason, c.channel, c.late";

const PENDING: &str = "
SELECT (SELECT count(*) FROM (
            SELECT FROM events WHERE next_attempt_at <= $1 ORDER BY next_attempt_at LIMIT $2) AS due),
       (SELECT due_at FROM events WHERE next_attempt_at <= $1 ORDER BY next_attempt_at, id LIMIT 1)";

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    group: EventGroup,
    p50_ms: Option<i64>,
    p95_ms: Option<i64>,
    p99_ms: Option<i64>,
}

impl Row {
    fn lateness(&self) -> Option<Lateness> {
        Some(Lateness { p50_ms: self.p50_ms?, p95_ms: self.p95_ms?, p99_ms: self.p99_ms? })
    }
}

impl Store {
    /// Returns the statistics of the events of `date`, and of the events of any date that are pending at `now`.
    pub async fn day_statistics(&self, now: DateTime<Utc>, date: NaiveDate) -> Result<DayStatistics> {
        let range = DateRange::new(date, date);
        // Boxed: the futures of the callers would carry the memory of two statements.
        Box::pin(self.in_time(async {
            let mut transaction = self.begin_scan().await?;
            let rows: Vec<Row> = sqlx::query_as(DAY)
                .bind(date)
                .bind(range.due_from)
                .bind(range.due_before)
                .bind(range.blurred_due)
                .bind(range.blurred_finished)
                .bind(LATE.as_seconds_f64())
                .fetch_all(&mut *transaction)
                .await?;
            let (due_pending, oldest_pending_due_at) =
                sqlx::query_as(PENDING).bind(now).bind(MAX_COUNTED).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            let lateness = rows.first().and_then(Row::lateness);
            let groups: Vec<EventGroup> = rows.into_iter().map(|row| row.group).collect();
            let mut counts = OutcomeCounts::default();
            for group in &groups {
                counts.add(group.state, group.count);
            }
            Ok(DayStatistics {
                date,
                counted_at: now,
                counts,
                late: groups.iter().filter(|group| group.late).map(|group| group.count).sum(),
                groups,
                lateness,
                due_pending,
                oldest_pending_due_at,
            })
        }))
        .await
    }

    /// Returns up to `limit` minutes from `from` on and before `to` with the most pending events, the busiest first; of equal minutes the
    /// earlier. Reads the pending events only.
    pub async fn busiest_minutes(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<BusyMinute>> {
        let sql = "
            SELECT date_bin('1 minute', next_attempt_at, 'epoch') AS at, count(*) AS due
            FROM events WHERE next_attempt_at >= $1 AND next_attempt_at < $2
            GROUP BY 1 ORDER BY due DESC, at LIMIT $3";
        Box::pin(self.in_time(async {
            let mut transaction = self.begin_scan().await?;
            let minutes = sqlx::query_as(sql).bind(from).bind(to).bind(i64::from(limit));
            let minutes = minutes.fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(minutes)
        }))
        .await
    }
}
