//! Compares users with the stored ones, for the dry run of an import. Locks and writes nothing.

use std::collections::HashMap;

use uuid::Uuid;

use super::read::{page, users_with_dates};
use super::save::{BatchOutcome, id_of, targets};
use super::write::{ExistingUsers, Row};
use super::{UserChange, UserKey};
use crate::model::{BIRTHDAY, NewUser, User};
use crate::store::{Result, Store};

impl Store {
    /// Returns, in the same order, the id of each of `users` and what [`Store::save_users`] would do with it now: none if its id and
    /// its external id belong to different users. An entry for the same user as an earlier one counts after that one.
    pub async fn compare_users(
        &self,
        users: &[(UserKey, NewUser)],
    ) -> Result<Vec<(Uuid, Option<UserChange>)>> {
        let key = self.installation_key().await?;
        // Boxed: a large future is copied at each await around it.
        self.in_time(Box::pin(async {
            let ids: Vec<Uuid> = users.iter().filter_map(|(key, _)| id_of(*key)).collect();
            let external_ids: Vec<&str> =
                users.iter().filter_map(|(_, user)| user.external_id.as_deref()).collect();
            let existing = ExistingUsers::find(self, key, &ids, &external_ids).await?;
            let targets = targets(&existing, users);
            let ids: Vec<Uuid> = targets.iter().flatten().map(|row| row.id).collect();
            let stored = self.users_by_id(&ids).await?;
            let mut earlier = EarlierRows::default();
            let compared = targets.into_iter().zip(users).map(|(target, (key, user))| match target {
                Ok(row) => {
                    let is_new = !existing.external_ids.contains_key(&row.id);
                    earlier.add(row);
                    (row.id, Some(change(is_new, stored.get(&row.id), row)))
                }
                Err((id, BatchOutcome::Saved(change))) => (id, Some(change)),
                Err((id, BatchOutcome::IdConflict)) => (id, None),
                Err((id, BatchOutcome::Deferred)) => (id, Some(earlier.change(id, *key, user))),
            });
            Ok(compared.collect())
        }))
        .await
    }

    /// Returns the users with these ids, without those whom this version cannot read.
    async fn users_by_id(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, User>> {
        let mut query = users_with_dates(|query| {
            query.push(" WHERE u.id = ANY(").push_bind(ids).push(")");
        });
        let rows = query.build().fetch_all(&self.pool).await?;
        let users = page(&rows, u32::MAX)?.users;
        Ok(users.into_iter().map(|user| (user.id, user)).collect())
    }
}

fn change(is_new: bool, stored: Option<&User>, row: Row<'_>) -> UserChange {
    match stored {
        _ if is_new => UserChange::Created,
        Some(stored) if is_same(stored, row) => UserChange::Unchanged,
        _ => UserChange::Updated,
    }
}

/// Whether a write of `row` would change nothing.
fn is_same(stored: &User, row: Row<'_>) -> bool {
    let NewUser { first_name, last_name, time_zone, send_at, leap_day, locale, .. } = row.user;
    let date = |kind: &str| match kind {
        BIRTHDAY => Some(stored.birth_date),
        kind => stored.occasions.get(kind).copied(),
    };
    let is_same_name = (&stored.first_name, &stored.last_name) == (first_name, last_name);
    is_same_name
        && stored.external_id.as_deref() == row.external_id
        && (&stored.time_zone, &stored.send_at, &stored.leap_day) == (time_zone, send_at, leap_day)
        && stored.locale == *locale
        && row.dates().all(|(kind, new)| date(kind) == new)
        && row.addresses().all(|(contact, address)| stored.address(contact) == address)
}

/// The rows of a batch so far.
#[derive(Default)]
struct EarlierRows<'a> {
    by_id: HashMap<Uuid, &'a NewUser>,
    by_external_id: HashMap<&'a str, &'a NewUser>,
}

impl<'a> EarlierRows<'a> {
    fn add(&mut self, row: Row<'a>) {
        self.by_id.insert(row.id, row.user);
        self.by_external_id.extend(row.external_id.map(|external_id| (external_id, row.user)));
    }

    /// Adds a row for the user of an earlier row, and returns what it does.
    fn change(&mut self, id: Uuid, key: UserKey, user: &'a NewUser) -> UserChange {
        if let UserKey::NewId(_) = key {
            // Equal rows are different users.
            return UserChange::Created;
        }
        let external_id = user.external_id.as_deref();
        let by_external_id =
            external_id.and_then(|external_id| self.by_external_id.insert(external_id, user));
        let earlier = self.by_id.insert(id, user).or(by_external_id);
        if earlier == Some(user) { UserChange::Unchanged } else { UserChange::Updated }
    }
}
