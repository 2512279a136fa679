//! Who is due when, grouped: what a forecast of the year ahead is computed from.

use futures_util::TryStreamExt as _;

use super::users::OccasionRow;
use super::{Result, Store, StoreError};
use crate::model::Occasion;

/// As many people who share a date, a zone and their settings.
#[derive(sqlx::FromRow)]
struct Group {
    #[sqlx(flatten)]
    occasion: OccasionRow,
    users: i64,
}

/// A year matters only where the first greeting is still ahead, so all earlier ones are one group. Names are compared byte by
/// byte, which takes half the time.
const GROUPS: &str = r#"
SELECT o.month, o.day, u.time_zone COLLATE "C" AS time_zone, u.send_at, u.leap_day COLLATE "C" AS leap_day,
       o.kind COLLATE "C" AS kind, CASE WHEN o.year >= $1 THEN o.year END AS year, count(*) AS users,
       '00000000-0000-0000-0000-000000000000'::uuid AS user_id, 'epoch'::timestamptz AS known_at
FROM occasions o JOIN users u ON u.id = o.user_id
WHERE $2::smallint[] IS NULL OR (o.month, o.day) IN (SELECT * FROM unnest($2::smallint[], $3::smallint[]))
GROUP BY 1, 2, 3, 4, 5, 6, 7"#;

impl Store {
    /// Gives `each` every group of occasions that are due together, and how many they are; on `days` (month and day)
    /// alone, if these are given. A year before `first_year` is left out. The occasions belong to nobody.
    ///
    /// Whom this binary cannot read is left out, and told of in the log: the trouble of one person must not be everybody's.
    ///
    /// One pass over all users, grouped by the server: what comes over the wire is bounded by dates times zones in use,
    /// and none of it is kept.
    pub async fn occasion_groups(
        &self,
        first_year: i32,
        days: Option<&[(u32, u32)]>,
        mut each: impl FnMut(&Occasion, u64),
    ) -> Result<()> {
        self.in_time(async {
            let (months, days): (Option<Vec<i16>>, Option<Vec<i16>>) = days
                .map(|days| {
                    days.iter()
                        .map(|(month, day)| (*month as i16, *day as i16))
                        .unzip()
                })
                .unzip();
            let mut transaction = self.begin().await?;
            // To hash a million rows takes 1.6 s of CPU, to sort them 4.3 s, and the planner expects too many groups to hash. One
            // core of the database at most: the stages need the others.
            sqlx::raw_sql(
                "SET LOCAL work_mem = '64MB'; SET LOCAL enable_sort = off; SET LOCAL max_parallel_workers_per_gather = 0",
            )
            .execute(&mut *transaction)
            .await?;
            let mut groups = sqlx::query_as::<_, Group>(GROUPS)
                .bind(first_year as i16)
                .bind(months)
                .bind(days)
                .fetch(&mut *transaction);
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
