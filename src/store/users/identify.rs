//! Who is meant: a person that is written is known by its external id, by bday's own id, or by both.

use std::collections::{HashMap, HashSet};

use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::Result;
use super::{UserKey, Written};
use crate::model::NewUser;

/// What becomes of a user that is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Whoever has its external id is updated, else it is new under this id.
    External(Uuid),
    /// It is new under this id, or stays as it is.
    Id(Uuid),
    /// It is there under this id, and is updated.
    There(Uuid),
    /// It is not written.
    Not(Uuid, Written),
}

impl Target {
    /// The id, if the database does not know better.
    pub(super) fn id(self) -> Uuid {
        let (Self::External(id) | Self::Id(id) | Self::There(id) | Self::Not(id, _)) = self;
        id
    }
}

/// Finds out who is meant by each of `users`, and keeps those that are there from being changed by others.
///
/// Only ids of bday's own need a look: without any, the statements that write know what to do.
pub(super) async fn identify(
    transaction: &mut Transaction<'_, Postgres>,
    users: &[(UserKey, NewUser)],
) -> Result<Vec<Target>> {
    let known = if users.iter().any(|(key, _)| matches!(key, UserKey::Own(_))) {
        Known::of(transaction, users).await?
    } else {
        Known::default()
    };
    let (mut people, mut external_ids) = (HashSet::new(), HashSet::new());
    let targets = users.iter().map(|(key, user)| {
        let external_id = user.external_id.as_deref();
        let target = known.target(*key, external_id);
        if let Target::Not(..) = target {
            return target;
        }
        // No statement may write the same row twice, by whatever name.
        let new = people.insert(known.person(target, external_id));
        if external_id.is_none_or(|id| external_ids.insert(id)) && new {
            target
        } else {
            Target::Not(target.id(), Written::Later)
        }
    });
    Ok(targets.collect())
}

/// Who is there.
#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<Uuid, Option<String>>,
    by_external: HashMap<String, Uuid>,
    /// The ids of those who were deleted, and would get them back.
    former: HashMap<String, Uuid>,
}

impl Known {
    async fn of(transaction: &mut Transaction<'_, Postgres>, users: &[(UserKey, NewUser)]) -> Result<Self> {
        let ids = users.iter().filter_map(|(key, _)| match key {
            UserKey::Own(id) | UserKey::Id(id) => Some(*id),
            UserKey::External => None,
        });
        let external_ids: Vec<&str> = users
            .iter()
            .filter_map(|(_, user)| user.external_id.as_deref())
            .collect();
        let there: Vec<(Uuid, Option<String>)> = sqlx::query_as(
            "SELECT id, external_id FROM users WHERE id = ANY($1) OR external_id = ANY($2) ORDER BY id FOR UPDATE",
        )
        .bind(ids.collect::<Vec<_>>())
        .bind(&external_ids)
        .fetch_all(&mut **transaction)
        .await?;
        let former: Vec<(String, Uuid)> = sqlx::query_as(
            "SELECT n.external_id, f.user_id FROM unnest($1::text[]) AS n(external_id)
             JOIN former_users f ON f.external_id_hash = sha256(convert_to(n.external_id, 'UTF8'))
             WHERE NOT EXISTS (SELECT FROM users x WHERE x.id = f.user_id)",
        )
        .bind(&external_ids)
        .fetch_all(&mut **transaction)
        .await?;
        let named = there.iter().filter_map(|(id, name)| Some((name.clone()?, *id)));
        Ok(Self {
            by_external: named.collect(),
            former: former.into_iter().collect(),
            by_id: there.into_iter().collect(),
        })
    }

    fn target(&self, key: UserKey, external_id: Option<&str>) -> Target {
        let id = match key {
            UserKey::External => return Target::External(Uuid::now_v7()),
            UserKey::Id(id) => return Target::Id(id),
            UserKey::Own(id) => id,
        };
        match (self.by_id.get(&id), external_id) {
            (None, None) => Target::Id(id),
            (None, Some(_)) => Target::External(id),
            (Some(_), None) => Target::There(id),
            (Some(Some(has)), Some(given)) if has == given => Target::There(id),
            (Some(None), Some(given)) if !self.by_external.contains_key(given) => Target::There(id),
            _ => Target::Not(id, Written::Clash),
        }
    }

    /// The id of the row that will be written.
    fn person(&self, target: Target, external_id: Option<&str>) -> Uuid {
        let named = match (target, external_id) {
            (Target::External(_), Some(name)) => self.by_external.get(name).or_else(|| self.former.get(name)),
            _ => None,
        };
        named.copied().unwrap_or(target.id())
    }
}
