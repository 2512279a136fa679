//! The database server: its version, clock and privileges.

use chrono::{DateTime, Utc};

use super::{Result, Store};

const ALL: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The privileges that the daemon needs on each table.
const NEEDED_PRIVILEGES: [(&str, &[&str]); 20] = [
    ("_sqlx_migrations", &["SELECT"]),
    ("users", ALL),
    ("occasions", ALL),
    ("events", ALL),
    ("attempts", ALL),
    ("outbox", ALL),
    ("leases", ALL),
    ("planned_days", ALL),
    ("day_counts", &["SELECT", "INSERT", "UPDATE"]),
    ("idempotency_keys", ALL),
    ("deleted_users", ALL),
    ("installation", &["SELECT"]),
    ("planning_basis", &["SELECT", "INSERT", "UPDATE"]),
    ("unplanned_users", ALL),
    ("pauses", &["SELECT", "INSERT", "DELETE"]),
    ("api_tokens", &["SELECT", "INSERT", "UPDATE"]),
    ("sessions", ALL),
    ("api_writes", ALL),
    ("uploads", ALL),
    ("upload_chunks", ALL),
];

/// The oldest major version of PostgreSQL whose features the statements use.
pub const MIN_SERVER_VERSION: u32 = 15;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub version: String,
    pub version_number: i32,
    pub user: String,
    pub tls: bool,
    /// Whether the connection stays on this machine.
    pub local: bool,
}

impl Server {
    #[must_use]
    pub fn major(&self) -> u32 {
        u32::try_from(self.version_number / 10_000).unwrap_or(0)
    }
}

impl Store {
    pub async fn clock(&self) -> Result<DateTime<Utc>> {
        self.run(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.pool)).await
    }

    pub async fn server(&self) -> Result<Server> {
        let sql = "
            SELECT current_setting('server_version'), current_setting('server_version_num')::int4, current_user::text,
                   coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)";
        let (version, version_number, user, tls) =
            self.run(sqlx::query_as(sql).fetch_one(&self.pool)).await?;
        Ok(Server { version, version_number, user, tls, local: self.is_local() })
    }

    pub async fn has_no_tables(&self) -> Result<bool> {
        let sql = "
            SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema'))";
        self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await
    }

    /// Returns the missing privileges of the role, such as `UPDATE on events`; with `migrate`, includes the one to create tables.
    /// Tables that do not exist yet are left out.
    pub async fn missing_privileges(&self, migrate: bool) -> Result<Vec<String>> {
        let needed = NEEDED_PRIVILEGES
            .iter()
            .flat_map(|(table, privileges)| privileges.iter().map(|one| (*table, *one)));
        let (tables, privileges): (Vec<&str>, Vec<&str>) = needed.unzip();
        let sql = "
            SELECT privilege || ' on ' || name
              FROM unnest($1::text[], $2::text[]) AS needed (name, privilege)
             WHERE to_regclass(name) IS NOT NULL
               AND NOT has_table_privilege(to_regclass(name)::oid, privilege)
             UNION ALL
            SELECT 'CREATE on the schema' WHERE $3 AND NOT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
        let missing = sqlx::query_scalar(sql).bind(tables).bind(privileges).bind(migrate);
        self.run(missing.fetch_all(&self.pool)).await
    }
}
