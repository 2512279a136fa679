//! The occasions of local dates, for the calendar feed.

use chrono::NaiveDate;
use sqlx::FromRow;

use crate::calendar::LeapDay;
use crate::store::{Result, Store, column};

/// Which occasions belong to a local date. 29 February belongs to another date in a common year, by the rule of each user, so a date
/// may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarDate {
    pub local_date: NaiveDate,
    pub month: u32,
    pub day: u32,
    /// Only users with this rule for 29 February; none: all users.
    pub rule: Option<LeapDay>,
}

/// How many users have an occasion of a kind on a local date.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DateCount {
    pub local_date: NaiveDate,
    pub kind: String,
    pub users: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DateName {
    pub local_date: NaiveDate,
    pub kind: String,
    pub first_name: String,
    pub last_name: String,
}

/// A birthday counts from the day of birth, any other kind from the first anniversary. The rule is looked up only for 29 February.
const COUNTS: &str = "
WITH d AS (
    SELECT * FROM unnest($1::date[], $2::smallint[], $3::smallint[], $4::text[]) AS n(local_date, month, day, rule)
)
SELECT d.local_date, o.kind, count(*) AS users
FROM d JOIN occasions o ON o.month = d.month AND o.day = d.day
WHERE o.kind = ANY($5)
  AND (o.year IS NULL OR o.year + (o.kind <> 'birthday')::int <= extract(year FROM d.local_date))
  AND (d.rule IS NULL OR coalesce((SELECT u.leap_day FROM users u WHERE u.id = o.user_id), $6) = d.rule)
GROUP BY d.local_date, o.kind";

/// At most 20 of each date, in the order of the index, so that a date with many users costs no more. The few users of a rule are
/// selected apart: with their condition, the planner expects so few rows that it reads and sorts all users of each date.
const NAMES: &str = "
WITH d AS (
    SELECT * FROM unnest($1::date[], $2::smallint[], $3::smallint[], $4::text[]) AS n(local_date, month, day, rule)
), s AS (
    SELECT d.local_date, n.kind, n.user_id
    FROM d CROSS JOIN LATERAL (
        SELECT o.kind, o.user_id FROM occasions o
        WHERE o.month = d.month AND o.day = d.day AND o.kind = ANY($5)
          AND (o.year IS NULL OR o.year + (o.kind <> 'birthday')::int <= extract(year FROM d.local_date))
        ORDER BY o.bucket, o.user_id LIMIT 20
    ) n
    WHERE d.rule IS NULL
    UNION ALL
    SELECT d.local_date, n.kind, n.user_id
    FROM d CROSS JOIN LATERAL (
        SELECT o.kind, o.user_id FROM occasions o JOIN users u ON u.id = o.user_id
        WHERE o.month = d.month AND o.day = d.day AND o.kind = ANY($5) AND coalesce(u.leap_day, $6) = d.rule
          AND (o.year IS NULL OR o.year + (o.kind <> 'birthday')::int <= extract(year FROM d.local_date))
        ORDER BY o.bucket, o.user_id LIMIT 20
    ) n
    WHERE d.rule IS NOT NULL
)
SELECT s.local_date, s.kind, u.first_name, u.last_name FROM s JOIN users u ON u.id = s.user_id";

impl Store {
    /// Returns how many users have an occasion of one of `kinds` on each of `dates`, and the names of up to 20 of them for each.
    /// `rule` is that of users without one.
    pub async fn occasions_on(
        &self,
        dates: &[CalendarDate],
        kinds: &[&str],
        rule: LeapDay,
    ) -> Result<(Vec<DateCount>, Vec<DateName>)> {
        let local_dates = column(dates, |date| date.local_date);
        let months = column(dates, |date| date.month as i16);
        let days = column(dates, |date| date.day as i16);
        let rules = column(dates, |date| date.rule.map(LeapDay::as_str));
        self.in_time(async {
            let counts = sqlx::query_as(COUNTS)
                .bind(&local_dates)
                .bind(&months)
                .bind(&days)
                .bind(&rules)
                .bind(kinds)
                .bind(rule.as_str())
                .fetch_all(&self.pool)
                .await?;
            let names = sqlx::query_as(NAMES)
                .bind(&local_dates)
                .bind(&months)
                .bind(&days)
                .bind(&rules)
                .bind(kinds)
                .bind(rule.as_str())
                .fetch_all(&self.pool)
                .await?;
            Ok((counts, names))
        })
        .await
    }
}
