use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;

use super::{Result, Store, StoreError, login};

/// Migrations only go forward. The previous version ignores migrations that it does not know.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
});

impl Store {
    /// Applies missing migrations. Several processes may do so at once. A newer schema stays as it is.
    pub async fn migrate(&self) -> Result<()> {
        self.login.check()?;
        // Without a statement timeout, for statements over large tables. The lock timeout remains.
        let connect = self.pool.connect_options().as_ref().clone();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.options.acquire_timeout)
            .after_connect(|connection, _| Box::pin(login::configure(connection, Duration::ZERO)))
            .connect_lazy_with(connect);
        let migrated = MIGRATIONS.run(&pool).await.map_err(StoreError::from);
        pool.close().await;
        self.checked(migrated).await
    }

    /// Checks that the schema has all migrations of this version. It may have more: during an upgrade, the previous version runs
    /// beside the next.
    pub async fn check_schema(&self) -> Result<()> {
        let sql = "SELECT to_regclass('_sqlx_migrations')::text";
        let table: Option<String> = self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await?;
        let mut found: Vec<i64> = Vec::new();
        if table.is_some() {
            let sql = "SELECT version FROM _sqlx_migrations WHERE success";
            found = self.run(sqlx::query_scalar(sql).fetch_all(&self.pool)).await?;
        }
        // Not by the newest alone: migrations that were developed concurrently may have been applied in either order.
        let missing =
            MIGRATIONS.iter().map(|migration| migration.version).find(|version| !found.contains(version));
        match missing {
            Some(missing) => {
                Err(StoreError::Schema { newest: found.into_iter().max().unwrap_or(0), missing })
            }
            None => Ok(()),
        }
    }
}
