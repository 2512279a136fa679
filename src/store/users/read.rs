use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use super::{UserRef, columns};
use crate::calendar::Zone;
use crate::model::{BIRTHDAY, User};
use crate::store::{Result, Store, StoreError};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Matches this name only, not its aliases.
    pub time_zone: Option<Zone>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPage {
    /// By id, without users whom this version cannot read.
    pub users: Vec<User>,
    pub next: Option<Uuid>,
}

impl Store {
    pub async fn user(&self, user: UserRef<'_>) -> Result<Option<User>> {
        self.in_time(one_user(&self.pool, user)).await
    }

    /// Returns up to `limit` users with an id over `after`, by id. Users whom this version cannot read are left out and logged.
    pub async fn list_users(&self, filter: &UserFilter, after: Uuid, limit: u32) -> Result<UserPage> {
        let mut query = users_with_dates(|query| {
            query.push(" WHERE u.id > ").push_bind(after);
            if let Some(zone) = filter.time_zone {
                query.push(" AND u.time_zone = ").push_bind(zone.name());
            }
            // One more user shows that there is another page. As text: for a limit in a parameter, PostgreSQL assumes a large
            // number, and plans each time anew.
            query.push(" ORDER BY u.id LIMIT ").push(u64::from(limit) + 1);
        });
        page(&self.run(query.build().fetch_all(&self.pool)).await?, limit)
    }

    /// Returns the full name of each of `ids` who exists.
    pub async fn user_names(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, String>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = "SELECT id, rtrim(first_name || ' ' || last_name) FROM users WHERE id = ANY($1)";
        let names = self.run(sqlx::query_as(sql).bind(ids).fetch_all(&self.pool)).await?;
        Ok(names.into_iter().collect())
    }

    pub async fn users_created_at(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, DateTime<Utc>>> {
        let query = sqlx::query_as("SELECT id, created_at FROM users WHERE id = ANY($1)").bind(ids);
        Ok(self.run(query.fetch_all(&self.pool)).await?.into_iter().collect())
    }
}

/// Selects users by id, with a row for each date; `push_condition` adds the conditions on `users u`. The addresses of a user are
/// one look-up.
pub(super) fn users_with_dates(
    push_condition: impl FnOnce(&mut QueryBuilder<Postgres>),
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT u.id, u.external_id, u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day, u.version,
                u.created_at, u.updated_at, o.kind, o.year, o.month, o.day, u.locale, u.email, u.phone, u.slack_user_id
         FROM (SELECT u.*, p.* FROM users u CROSS JOIN LATERAL (
                   SELECT max(address) FILTER (WHERE type = 'email') AS email,
                          max(address) FILTER (WHERE type = 'phone') AS phone,
                          max(address) FILTER (WHERE type = 'slack_user_id') AS slack_user_id
                   FROM contact_points WHERE user_id = u.id) p",
    );
    push_condition(&mut query);
    query.push(") u LEFT JOIN occasions o ON o.user_id = u.id ORDER BY u.id");
    query
}

pub(super) async fn one_user(executor: impl PgExecutor<'_>, reference: UserRef<'_>) -> Result<Option<User>> {
    let mut query = users_with_dates(|query| {
        match reference {
            UserRef::Id(id) => query.push(" WHERE u.id = ").push_bind(id),
            UserRef::External(id) => query.push(" WHERE u.external_id = ").push_bind(id),
        };
    });
    let rows = query.build().fetch_all(executor).await?;
    by_user(&rows).next().map(|(_, rows)| user(rows)).transpose()
}

pub(super) fn page(rows: &[PgRow], limit: u32) -> Result<UserPage> {
    let (mut page, mut last) = (UserPage::default(), None);
    for (at, (id, rows)) in by_user(rows).enumerate() {
        if at == limit as usize {
            page.next = last;
            break;
        }
        last = Some(id);
        match user(rows) {
            Ok(user) => page.users.push(user),
            Err(StoreError::Unreadable(error)) => {
                tracing::warn!(user_id = %id, error, "unreadable user left out of a list");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

fn by_user(rows: &[PgRow]) -> impl Iterator<Item = (Uuid, &[PgRow])> {
    let id = |row: &PgRow| row.try_get::<Uuid, _>(0).ok();
    rows.chunk_by(move |one, next| id(one) == id(next)).filter_map(move |rows| Some((id(&rows[0])?, rows)))
}

/// Returns the user of `rows`. Columns are read by position: the look-up by name would take most of the time.
fn user(rows: &[PgRow]) -> Result<User> {
    let row = &rows[0];
    let id = row.try_get(0)?;
    let (mut birth_date, mut occasions) = (None, BTreeMap::new());
    for row in rows {
        let Some(kind) = row.try_get::<Option<&str>, _>(10)? else {
            continue;
        };
        let date = columns::date(row.try_get(11)?, row.try_get(12)?, row.try_get(13)?)?;
        if kind == BIRTHDAY {
            birth_date = Some(date);
        } else {
            occasions.insert(kind.to_owned(), date);
        }
    }
    Ok(User {
        id,
        external_id: row.try_get(1)?,
        first_name: row.try_get(2)?,
        last_name: row.try_get(3)?,
        birth_date: birth_date.ok_or_else(|| columns::unreadable(id, "it has no birthday"))?,
        time_zone: columns::zone(id, row.try_get(4)?)?,
        send_at: columns::send_at(id, row.try_get(5)?)?,
        leap_day: columns::leap_day(id, row.try_get(6)?)?,
        occasions,
        version: row.try_get(7)?,
        created_at: row.try_get(8)?,
        updated_at: row.try_get(9)?,
        locale: row.try_get(14)?,
        email: row.try_get(15)?,
        phone: row.try_get(16)?,
        slack_user_id: row.try_get(17)?,
    })
}
