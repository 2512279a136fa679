//! Groups of dead events: what failed for the same cause.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::store::{DeadFilter, Result, Store};

/// The latest events that were not delivered are read up to this number; cancelled and skipped events are among them.
pub const MAX_SCANNED: i64 = 50_000;
/// The latest dead events of these are grouped up to this number: the last attempt of each is looked up.
pub const MAX_GROUPED: i64 = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FailureGroups {
    /// The largest first.
    pub groups: Vec<FailureGroup>,
    /// Whether there may be more dead events or groups: the latest 20,000 dead events among the latest 50,000 that were not delivered are
    /// grouped.
    pub truncated: bool,
}

/// Dead events with the same reason, and the same channel and status of the last attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct FailureGroup {
    pub reason: String,
    /// Null: none of its attempts has a channel.
    pub channel: Option<String>,
    /// Null: the last attempt had no response.
    pub status: Option<i16>,
    pub count: i64,
    /// When the first of them died (UTC). Null, like the last: their users were deleted.
    pub oldest_at: Option<DateTime<Utc>>,
    /// When the last of them died (UTC).
    pub newest_at: Option<DateTime<Utc>>,
    pub sample_event_id: Uuid,
    /// The last error of that event.
    pub sample_error: Option<String>,
}

/// The row of a group, with the number of events in all groups.
#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    group: FailureGroup,
    total: i64,
}

/// Ends with the conditions of the filter. `finished_at` of an event of a deleted user is the end of its year.
fn grouped(now: DateTime<Utc>, filter: &DeadFilter, limit: i64) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT g.reason, g.channel, g.status, g.count, g.oldest_at, g.newest_at, g.sample_event_id, g.total,
                s.last_error AS sample_error
         FROM (
             SELECT reason, channel, status, count(*) AS count, min(died_at) AS oldest_at, max(died_at) AS newest_at,
                    (array_agg(id))[1] AS sample_event_id, (sum(count(*)) OVER ())::bigint AS total
             FROM (
                 SELECT e.id, e.reason, coalesce(a.channel, e.channel) AS channel, a.status,
                        CASE WHEN e.finished_at <= ",
    );
    query.push_bind(now).push(
        " THEN e.finished_at END AS died_at
          FROM (SELECT id, due_at, kind, state, reason, finished_at, channel FROM events WHERE reason IS NOT NULL
                ORDER BY due_at DESC, id DESC LIMIT ",
    );
    query.push_bind(MAX_SCANNED).push(
        ") AS e LEFT JOIN LATERAL (
              SELECT channel, status FROM attempts WHERE event_id = e.id ORDER BY number DESC LIMIT 1) AS a ON true
          WHERE ",
    );
    filter.push(&mut query);
    query.push(" ORDER BY e.due_at DESC, e.id DESC LIMIT ").push_bind(MAX_GROUPED);
    query.push(
        ") AS dead GROUP BY reason, channel, status ORDER BY count DESC, reason, channel, status LIMIT ",
    );
    query.push_bind(limit).push(
        ") AS g JOIN events s ON s.id = g.sample_event_id ORDER BY g.count DESC, g.reason, g.channel, g.status",
    );
    query
}

impl Store {
    /// Groups the latest dead events that match `filter`, and returns up to `limit` groups. A filter by the reason, channel and status of a
    /// group selects exactly its events, except those that are beyond the limits.
    pub async fn failure_groups(
        &self,
        now: DateTime<Utc>,
        filter: &DeadFilter,
        limit: u32,
    ) -> Result<FailureGroups> {
        let rows = Box::pin(self.in_time(async {
            let mut transaction = self.begin_scan().await?;
            let mut query = grouped(now, filter, i64::from(limit) + 1);
            let rows: Vec<Row> = query.build_query_as().fetch_all(&mut *transaction).await?;
            let sql = "
                SELECT EXISTS (SELECT FROM events WHERE reason IS NOT NULL ORDER BY due_at DESC, id DESC OFFSET $1 LIMIT 1)";
            let more: bool = sqlx::query_scalar(sql).bind(MAX_SCANNED).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok((rows, more))
        }));
        let (mut rows, more) = rows.await?;
        let grouped = rows.first().map_or(0, |row| row.total);
        let truncated = more || grouped >= MAX_GROUPED || rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Ok(FailureGroups { groups: rows.into_iter().map(|row| row.group).collect(), truncated })
    }
}
