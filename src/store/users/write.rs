//! A batch of users, as an import writes it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::super::plan::planned_through;
use super::super::{Result, Store, StoreError};
use super::known::{Known, begin};
use super::upsert::{Row, Terms, upsert};
use super::{UserKey, Written};
use crate::model::{NewUser, Schedule};

/// What is to be done with one user of a batch.
enum Target<'a> {
    Write(Row<'a>),
    Not(Uuid, Written),
}

impl Store {
    /// Writes `users` in one transaction, each under its key, and plans them under `schedule`. Returns, in the same order, the id
    /// of each and what was done.
    ///
    /// # Errors
    /// The database refuses or is unavailable; then none is written. Where [`StoreError::is_contention`], the same call may
    /// succeed.
    pub async fn write_users(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        users: &[(UserKey, NewUser)],
    ) -> Result<Vec<(Uuid, Written)>> {
        let key = self.installation_key().await?;
        // Boxed: a large future is copied at each await around it.
        self.in_time(Box::pin(async {
            let ids: Vec<Uuid> = users.iter().filter_map(|(key, _)| own_id(*key)).collect();
            let external_ids: Vec<&str> =
                users.iter().filter_map(|(_, user)| user.external_id.as_deref()).collect();
            let known = Known::of(self, key, &ids, &external_ids).await?;
            let targets = targets(&known, users);
            let rows = targets.iter().filter_map(|target| match target {
                Target::Write(row) => Some(*row),
                Target::Not(..) => None,
            });
            let rows: Vec<Row<'_>> = rows.collect();
            let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            let (mut transaction, locked) = begin(self, &ids, false).await?;
            known.check(&locked, &ids)?;
            let through = planned_through(&mut transaction, schedule, now).await?;
            let terms = Terms { key, schedule, now, through };
            let written = upsert(&mut transaction, terms, &rows, &locked).await;
            let (written, events) = written.map_err(StoreError::taken_is_overtaken)?;
            transaction.commit().await?;
            events.count();
            let outcome = |id| written.get(&id).copied().unwrap_or(Written::Unchanged);
            let outcomes = targets.into_iter().map(|target| match target {
                Target::Write(Row { id, .. }) => (id, outcome(id)),
                Target::Not(id, why) => (id, why),
            });
            Ok(outcomes.collect())
        }))
        .await
    }
}

fn own_id(key: UserKey) -> Option<Uuid> {
    match key {
        UserKey::Own(id) | UserKey::Id(id) => Some(id),
        UserKey::External => None,
    }
}

fn targets<'a>(known: &'a Known, users: &'a [(UserKey, NewUser)]) -> Vec<Target<'a>> {
    let (mut ids, mut external_ids) = (HashSet::new(), HashSet::new());
    let later = |target| match target {
        Target::Write(Row { id, external_id, .. }) => {
            let new = ids.insert(id);
            let new = external_id.is_none_or(|name| external_ids.insert(name)) && new;
            if new { target } else { Target::Not(id, Written::Later) }
        }
        Target::Not(..) => target,
    };
    users.iter().map(|(key, user)| target(known, *key, user)).map(later).collect()
}

fn target<'a>(known: &'a Known, key: UserKey, user: &'a NewUser) -> Target<'a> {
    let given = user.external_id.as_deref();
    let by_name = || given.and_then(|name| known.id(name));
    let write = |id, external_id| Target::Write(Row { id, external_id, user });
    let id = own_id(key).unwrap_or_else(Uuid::now_v7);
    let there = known.external_ids.get(&id).map(Option::as_deref);
    match (key, there) {
        (UserKey::External, _) | (UserKey::Own(_), None) => write(by_name().unwrap_or(id), given),
        (UserKey::Id(_), None) => write(id, given),
        (UserKey::Id(_), Some(_)) => Target::Not(id, Written::Unchanged),
        (UserKey::Own(_), Some(has)) => {
            let free = || given.is_none_or(|name| !known.by_external_id.contains_key(name));
            if given.is_none() || given == has || has.is_none() && free() {
                write(id, given.or(has))
            } else {
                Target::Not(id, Written::Clash)
            }
        }
    }
}
