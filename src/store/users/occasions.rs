//! Occasions: the yearly dates of users, as planning and the forecast read them.

use chrono::{DateTime, NaiveTime, Utc};
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::columns;
use crate::model::Occasion;
use crate::store::{Result, Routes, Store, StoreError};

#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct OccasionRow {
    pub(in crate::store) user_id: Uuid,
    kind: String,
    year: Option<i16>,
    month: i16,
    day: i16,
    known_at: DateTime<Utc>,
    time_zone: String,
    send_at: Option<NaiveTime>,
    leap_day: Option<String>,
}

impl OccasionRow {
    pub(in crate::store) async fn of_users(
        transaction: &mut PgConnection,
        users: &[Uuid],
    ) -> Result<Vec<Self>> {
        let sql = "
            SELECT o.user_id, o.kind, o.year, o.month, o.day, o.known_at, u.time_zone, u.send_at, u.leap_day
            FROM occasions o JOIN users u ON u.id = o.user_id WHERE o.user_id = ANY($1)";
        Ok(sqlx::query_as(sql).bind(users).fetch_all(transaction).await?)
    }

    pub(in crate::store) fn occasion(self) -> Result<Occasion> {
        let user = self.user_id;
        Ok(Occasion {
            user_id: user,
            kind: self.kind,
            date: columns::date(self.year, self.month, self.day)?,
            time_zone: columns::zone(user, &self.time_zone)?,
            send_at: columns::send_at(user, self.send_at)?,
            leap_day: columns::leap_day(user, self.leap_day.as_deref())?,
            known_at: self.known_at,
        })
    }
}

#[derive(sqlx::FromRow)]
struct OccasionGroup {
    #[sqlx(flatten)]
    occasion: OccasionRow,
    users: i64,
    channel: Option<String>,
}

/// A year matters only if the first greeting is still ahead, so all earlier years are one group. The collation "C" halves the time.
const OCCASION_GROUPS: &str = r#"
WITH routes AS MATERIALIZED (
    SELECT kind, ARRAY(SELECT jsonb_array_elements_text(channels)) AS channels FROM jsonb_each($4) AS r(kind, channels)
)
SELECT o.month, o.day, u.time_zone COLLATE "C" AS time_zone, u.send_at, u.leap_day COLLATE "C" AS leap_day,
       o.kind COLLATE "C" AS kind, CASE WHEN o.year >= $1 THEN o.year END AS year,
       CASE WHEN $4 IS NULL THEN 'webhook'
            ELSE (SELECT r.channel FROM reach(o.user_id, o.kind, routes.channels) r) END COLLATE "C" AS channel, count(*) AS users,
       '00000000-0000-0000-0000-000000000000'::uuid AS user_id, 'epoch'::timestamptz AS known_at
FROM occasions o JOIN users u ON u.id = o.user_id LEFT JOIN routes ON routes.kind = o.kind
WHERE $2::smallint[] IS NULL OR (o.month, o.day) IN (SELECT * FROM unnest($2::smallint[], $3::smallint[]))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"#;

impl Store {
    /// Calls `each` with every group of occasions that are due together by the same channel of `routes`, that channel, and the number of
    /// users; only with those on `days` (month and day), if given. No channel: none reaches the users. Years before `first_year` are omitted. Dates that this version cannot read are left out and logged. The server
    /// groups the users and streams the groups: memory is bounded.
    pub async fn occasion_groups(
        &self,
        first_year: i32,
        days: Option<&[(u32, u32)]>,
        routes: Option<&Routes>,
        mut each: impl FnMut(&Occasion, Option<&str>, u64),
    ) -> Result<()> {
        self.in_time(async {
            let days = days.map(|days| days.iter().map(|(month, day)| (*month as i16, *day as i16)).unzip());
            let (months, days): (Option<Vec<i16>>, Option<Vec<i16>>) = days.unzip();
            let mut transaction = self.begin().await?;
            // Hashing a million rows takes 1.6 s of CPU, sorting them 4.3 s, and the planner expects too many groups for a hash. At
            // most one core of the database: the stages need the others.
            sqlx::raw_sql(
                "SET LOCAL work_mem = '64MB'; SET LOCAL enable_sort = off; SET LOCAL max_parallel_workers_per_gather = 0",
            )
            .execute(&mut *transaction)
            .await?;
            let groups = sqlx::query_as::<_, OccasionGroup>(OCCASION_GROUPS).bind(first_year as i16).bind(months).bind(days).bind(routes);
            let mut groups = groups.fetch(&mut *transaction);
            let (mut unreadable, mut first) = (0, None);
            while let Some(group) = groups.try_next().await? {
                match group.occasion.occasion() {
                    Ok(occasion) => each(&occasion, group.channel.as_deref(), group.users as u64),
                    Err(StoreError::Unreadable(error)) => {
                        unreadable += group.users;
                        first.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if let Some(error) = first {
                tracing::warn!(dates = unreadable, error, "unreadable dates left out of the forecast");
            }
            Ok(())
        })
        .await
    }
}
