//! What `bday doctor` asks of the database. Changes nothing.

use super::{Result, Store};

/// What the daemon does with each table.
const USES: [(&str, &[&str]); 16] = [
    // Every process looks whether the schema is its own.
    ("_sqlx_migrations", &["SELECT"]),
    ("users", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("occasions", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("events", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("attempts", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("outbox", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("leases", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("planned_days", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("idempotency_keys", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("former_users", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("installation", &["SELECT"]),
    ("planning_basis", &["SELECT", "INSERT", "UPDATE"]),
    ("unplanned_users", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("pauses", &["SELECT", "INSERT", "DELETE"]),
    ("api_tokens", &["SELECT", "INSERT", "UPDATE"]),
    ("api_writes", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
];

/// The oldest major version of PostgreSQL whose features the statements use.
pub const OLDEST_SERVER: u32 = 15;

/// Who answered, and how we are connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Such as `17.2`.
    pub version: String,
    /// The same as a number: 170002.
    pub version_number: i32,
    /// The role that we are.
    pub user: String,
    /// Whether this connection is encrypted.
    pub tls: bool,
    /// Whether it stays on this machine, by the address that we connect to.
    pub local: bool,
}

impl Server {
    /// `17` of 17.2.
    #[must_use]
    pub fn major(&self) -> u32 {
        u32::try_from(self.version_number / 10_000).unwrap_or(0)
    }
}

impl Store {
    /// Who answers.
    pub async fn server(&self) -> Result<Server> {
        self.in_time(async {
            let (version, version_number, user, tls) = sqlx::query_as(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::int4, current_user::text,
                        coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)",
            )
            .fetch_one(&self.pool)
            .await?;
            let local = self.is_local();
            Ok(Server { version, version_number, user, tls, local })
        })
        .await
    }

    /// What our role lacks, as `UPDATE on events`. With `migrate`, to create tables as well. Tables that are not there
    /// yet are left out.
    pub async fn missing_privileges(&self, migrate: bool) -> Result<Vec<String>> {
        let (mut tables, mut privileges) = (Vec::new(), Vec::new());
        for (table, uses) in USES {
            for privilege in uses {
                tables.push(table);
                privileges.push(*privilege);
            }
        }
        self.in_time(async {
            let mut missing: Vec<String> = sqlx::query_scalar(
                "SELECT privilege || ' on ' || name
                   FROM unnest($1::text[], $2::text[]) AS needed (name, privilege)
                  WHERE to_regclass(name) IS NOT NULL
                    AND NOT has_table_privilege(to_regclass(name)::oid, privilege)",
            )
            .bind(&tables)
            .bind(&privileges)
            .fetch_all(&self.pool)
            .await?;
            if migrate {
                let may: bool = sqlx::query_scalar("SELECT has_schema_privilege(current_schema(), 'CREATE')")
                    .fetch_one(&self.pool)
                    .await?;
                if !may {
                    missing.push("CREATE on the schema".to_owned());
                }
            }
            Ok(missing)
        })
        .await
    }
}
