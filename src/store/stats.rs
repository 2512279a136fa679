//! Figures: the backlog, and the groups of users that a forecast is computed from.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;

use super::users::OccasionRow;
use super::{Result, Store, StoreError};
use crate::model::Occasion;

/// Due events are counted up to this number: the count costs what it counts.
pub const MOST_COUNTED: i64 = 100_000;

/// Events that are due and not yet accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Backlog {
    /// Due and pending, up to [`MOST_COUNTED`].
    pub pending: i64,
    /// In packs that no worker has leased yet.
    pub queued: i64,
    pub delivering: i64,
    /// Since when the oldest event waits that is pending or queued (UTC).
    pub oldest_at: Option<DateTime<Utc>>,
}

impl Backlog {
    #[must_use]
    pub fn waiting(&self) -> i64 {
        self.pending + self.queued
    }
}

#[derive(sqlx::FromRow)]
struct Group {
    #[sqlx(flatten)]
    occasion: OccasionRow,
    users: i64,
}

/// A year matters only where the first greeting is still ahead, so all earlier years are one group. Names are compared byte by
/// byte, which takes half the time.
const GROUPS: &str = r#"
SELECT o.month, o.day, u.time_zone COLLATE "C" AS time_zone, u.send_at, u.leap_day COLLATE "C" AS leap_day,
       o.kind COLLATE "C" AS kind, CASE WHEN o.year >= $1 THEN o.year END AS year, count(*) AS users,
       '00000000-0000-0000-0000-000000000000'::uuid AS user_id, 'epoch'::timestamptz AS known_at
FROM occasions o JOIN users u ON u.id = o.user_id
WHERE $2::smallint[] IS NULL OR (o.month, o.day) IN (SELECT * FROM unnest($2::smallint[], $3::smallint[]))
GROUP BY 1, 2, 3, 4, 5, 6, 7"#;

impl Store {
    /// Returns the backlog at `now`. Reads due events, packs and leases; no other event.
    pub async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog> {
        let sql = "
            SELECT (SELECT count(*) FROM (
                        SELECT FROM events WHERE next_attempt_at <= $1 ORDER BY next_attempt_at LIMIT $2) AS due) AS pending,
                   p.queued, l.delivering,
                   least((SELECT min(next_attempt_at) FROM events WHERE next_attempt_at <= $1), p.oldest_at) AS oldest_at
            FROM (SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint AS queued, min(created_at) AS oldest_at
                  FROM outbox WHERE dead_letter IS NULL) AS p,
                 (SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint AS delivering FROM leases) AS l";
        self.run(sqlx::query_as(sql).bind(now).bind(MOST_COUNTED).fetch_one(&self.pool)).await
    }

    pub async fn queued(&self) -> Result<i64> {
        let sql =
            "SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint FROM outbox WHERE dead_letter IS NULL";
        self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await
    }

    /// Passes to `each` every group of occasions that are due together, with the number of users; only on `days` (month and day),
    /// if given. A year before `first_year` is left out. Users whom this version cannot read are left out and logged. One pass over
    /// all users, grouped by the server and streamed: the groups are bounded by dates times zones in use.
    pub async fn occasion_groups(
        &self,
        first_year: i32,
        days: Option<&[(u32, u32)]>,
        mut each: impl FnMut(&Occasion, u64),
    ) -> Result<()> {
        self.in_time(async {
            let days = days.map(|days| days.iter().map(|(month, day)| (*month as i16, *day as i16)).unzip());
            let (months, days): (Option<Vec<i16>>, Option<Vec<i16>>) = days.unzip();
            let mut transaction = self.begin().await?;
            // To hash a million rows takes 1.6 s of CPU, to sort them 4.3 s, and the planner expects too many groups to hash. One
            // core of the database at most: the stages need the others.
            sqlx::raw_sql(
                "SET LOCAL work_mem = '64MB'; SET LOCAL enable_sort = off; SET LOCAL max_parallel_workers_per_gather = 0",
            )
            .execute(&mut *transaction)
            .await?;
            let groups = sqlx::query_as::<_, Group>(GROUPS).bind(first_year as i16).bind(months).bind(days);
            let mut groups = groups.fetch(&mut *transaction);
            let (mut unreadable, mut first) = (0, None);
            while let Some(group) = groups.try_next().await? {
                match group.occasion.occasion() {
                    Ok(occasion) => each(&occasion, group.users as u64),
                    Err(StoreError::Unreadable(error)) => {
                        unreadable += group.users;
                        first.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if let Some(error) = first {
                tracing::warn!(
                    dates = unreadable,
                    error,
                    "dates that cannot be read are left out of the forecast"
                );
            }
            Ok(())
        })
        .await
    }
}
