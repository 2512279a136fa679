//! One user, or a page of them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::super::{Result, Store, StoreError};
use super::UserRef;
use super::rows::{by_user, one_user, user, users_with_dates};
use crate::calendar::Zone;
use crate::model::User;

/// Which users a list has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// In this zone, under this very name.
    pub time_zone: Option<Zone>,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPage {
    /// By id; without those whom this binary cannot read.
    pub users: Vec<User>,
    /// Where the next part begins, if there is one: behind this id.
    pub next: Option<Uuid>,
}

impl Store {
    /// One user.
    pub async fn user(&self, who: UserRef<'_>) -> Result<Option<User>> {
        self.in_time(one_user(&self.pool, who)).await
    }

    /// Up to `limit` users with an id over `after`, by id. Whom this binary cannot read is passed over, and named in the log:
    /// the trouble of one person must not be everybody's.
    pub async fn list_users(&self, filter: &UserFilter, after: Uuid, limit: u32) -> Result<UserPage> {
        self.in_time(async {
            let mut query = users_with_dates(|query| {
                query.push(" WHERE u.id > ").push_bind(after);
                if let Some(zone) = filter.time_zone {
                    query.push(" AND u.time_zone = ").push_bind(zone.name());
                }
                // One more says whether this is all. As text: for a limit that it does not know, Postgres assumes much, and
                // plans each time anew.
                query.push(" ORDER BY u.id LIMIT ").push(u64::from(limit) + 1);
            });
            page(&query.build().fetch_all(&self.pool).await?, limit)
        })
        .await
    }

    /// When each of `ids` was created, UTC.
    pub async fn users_created_at(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, DateTime<Utc>>> {
        self.in_time(async {
            let rows: Vec<(Uuid, DateTime<Utc>)> =
                sqlx::query_as("SELECT id, created_at FROM users WHERE id = ANY($1)")
                    .bind(ids)
                    .fetch_all(&self.pool)
                    .await?;
            Ok(rows.into_iter().collect())
        })
        .await
    }
}

/// The first `limit` users in `rows`.
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
                tracing::warn!(user_id = %id, error, "a user cannot be read, and is left out of a list");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}
