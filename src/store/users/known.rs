//! Which ids a write concerns, and the lock on their rows.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::plan::lock_buckets;
use super::super::{InstallationKey, Result, Store, StoreError};
use super::UserRef;
use crate::model::Version;

/// Users and former users, as they were at the lookup. Nothing is locked yet.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// External ids of existing users, by id.
    pub(super) external_ids: HashMap<Uuid, Option<String>>,
    /// Ids of existing users, by external id.
    pub(super) by_external_id: HashMap<String, Uuid>,
    /// Ids that deleted users had, by external id.
    former: HashMap<String, Uuid>,
}

impl Known {
    pub(super) async fn of(
        store: &Store,
        key: &InstallationKey,
        ids: &[Uuid],
        external_ids: &[&str],
    ) -> Result<Self> {
        let hashes: Vec<[u8; 32]> = external_ids.iter().map(|id| key.external_id(id)).collect();
        let rows: Vec<(Uuid, Option<String>, bool)> = sqlx::query_as(
            "SELECT id, external_id, false FROM users WHERE id = ANY($1) OR external_id = ANY($2)
             UNION ALL
             SELECT f.user_id, n.external_id, true
             FROM unnest($2::text[], $3::bytea[]) AS n(external_id, hash)
             JOIN former_users f ON f.external_id_hash = n.hash
             WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = f.user_id)",
        )
        .bind(ids)
        .bind(external_ids)
        .bind(hashes.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
        .fetch_all(&store.pool)
        .await?;
        let mut known = Self::default();
        for (id, external_id, former) in rows {
            if former {
                known.former.extend(external_id.map(|name| (name, id)));
            } else {
                known.by_external_id.extend(external_id.clone().map(|name| (name, id)));
                known.external_ids.insert(id, external_id);
            }
        }
        Ok(known)
    }

    /// The id of the user who has this external id, or had it when deleted.
    pub(super) fn id(&self, external_id: &str) -> Option<Uuid> {
        let id = self.by_external_id.get(external_id);
        id.or_else(|| self.former.get(external_id)).copied()
    }

    /// # Errors
    /// [`StoreError::Overtaken`]: one of `ids` was written since the lookup.
    pub(super) fn check(&self, locked: &HashMap<Uuid, Locked>, ids: &[Uuid]) -> Result<()> {
        let same = |id| self.external_ids.get(id) == locked.get(id).map(|row| &row.external_id);
        if ids.iter().all(same) { Ok(()) } else { Err(StoreError::Overtaken) }
    }
}

/// The id that `who` stands for; a new one for an unknown external id. Only an external id needs a lookup.
pub(super) async fn id_of(
    store: &Store,
    key: &InstallationKey,
    who: UserRef<'_>,
) -> Result<(Uuid, Option<Known>)> {
    match who {
        UserRef::Id(id) => Ok((id, None)),
        UserRef::External(name) => {
            let known = Known::of(store, key, &[], &[name]).await?;
            Ok((known.id(name).unwrap_or_else(Uuid::now_v7), Some(known)))
        }
    }
}

/// An existing user, locked until the transaction ends.
#[derive(Debug)]
pub(super) struct Locked {
    pub(super) external_id: Option<String>,
    pub(super) version: Version,
}

/// Begins to write the users with these `ids`: waits for a planner of theirs, and locks those that exist; a `new` id needs no look.
///
/// Locked first and read afterwards: a statement sees what was committed at its start, so one that did both would wait for
/// another edit, and then read the dates from before that edit.
pub(super) async fn begin(
    store: &Store,
    ids: &[Uuid],
    new: bool,
) -> Result<(Transaction<'static, Postgres>, HashMap<Uuid, Locked>)> {
    let mut transaction = store.begin().await?;
    lock_buckets(&mut transaction, ids).await?;
    if new {
        return Ok((transaction, HashMap::new()));
    }
    let rows: Vec<(Uuid, Option<String>, i64, DateTime<Utc>)> = sqlx::query_as(
        "SELECT id, external_id, version, created_at FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE",
    )
    .bind(ids)
    .fetch_all(&mut *transaction)
    .await?;
    let locked = rows.into_iter().map(|(id, external_id, number, created_at)| {
        let version = Version::new(number, created_at);
        (id, Locked { external_id, version })
    });
    Ok((transaction, locked.collect()))
}
