//! Time zones of users, and the database's own zone data.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{Result, Store};

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DatabaseLocalTime {
    pub time_zone: String,
    pub at: DateTime<Utc>,
    pub local: NaiveDateTime,
}

impl Store {
    pub async fn zones_in_use(&self) -> Result<Vec<(String, i64)>> {
        let sql = "SELECT time_zone, count(*) FROM users GROUP BY time_zone ORDER BY time_zone";
        self.run(sqlx::query_as(sql).fetch_all(&self.pool)).await
    }

    /// Returns the local time of each pair of `time_zones` and `instants`. Zones that the database does not know are left out.
    pub async fn local_times(
        &self,
        time_zones: &[&str],
        instants: &[DateTime<Utc>],
    ) -> Result<Vec<DatabaseLocalTime>> {
        // `timezone` fails for an unknown zone. Materialized, since the view reads a directory.
        let sql = "
            WITH known AS MATERIALIZED (
                SELECT name FROM pg_timezone_names WHERE name = ANY($1))
            SELECT s.time_zone, s.at, timezone(s.time_zone, s.at) AS local
            FROM unnest($1::text[], $2::timestamptz[]) AS s(time_zone, at) JOIN known ON known.name = s.time_zone";
        self.run(sqlx::query_as(sql).bind(time_zones).bind(instants).fetch_all(&self.pool)).await
    }
}
