//! A batch of users, as an import writes it; or one user, as the API and the command line do.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::api_writes::{ApiWrite, CHANGED, CREATED};
use super::super::{Result, Store, StoreError};
use super::idempotency::{Idempotency, Repeated, Reservation};
use super::read::one_user;
use super::write::{Known, Row, begin, begin_one, upsert};
use super::{UserKey, UserRef};
use crate::model::{NewUser, Schedule, User, Version};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveOutcome {
    Created,
    Updated,
    Unchanged,
    /// Not written: the id belongs to a user with another external id, or the external id to another user. Only for
    /// [`UserKey::Own`].
    Clash,
    /// Not written: an earlier entry of the batch is the same user. Write it again in another batch; the first entry of a
    /// batch never gets this.
    Later,
}

#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'a> {
    /// Its row in the audit log, committed together with the change.
    pub write: &'a ApiWrite,
    pub idempotency: Option<Idempotency<'a>>,
}

impl<'a> ApiRequest<'a> {
    #[must_use]
    pub fn of(write: &'a ApiWrite) -> Self {
        Self { write, idempotency: None }
    }
}

#[derive(Debug)]
pub struct Current {
    pub version: Version,
    /// [`StoreError::Unreadable`] where this version cannot read it; it can still be replaced.
    pub user: Result<User>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved<E> {
    Created(Box<User>),
    Changed(Box<User>),
    /// Refused by the caller's function; nothing was written.
    Refused(E),
    /// The request was answered before; nothing was written but its row in the audit log.
    Repeated(Repeated),
}

impl Store {
    /// Writes `users` in one transaction, each under its key, and plans them under `schedule`. Returns, in the same order, the id
    /// of each and what was done.
    pub async fn write_users(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        users: &[(UserKey, NewUser)],
    ) -> Result<Vec<(Uuid, SaveOutcome)>> {
        let key = self.installation_key().await?;
        // Boxed: a large future is copied at each await around it.
        self.in_time(Box::pin(async {
            let ids: Vec<Uuid> = users.iter().filter_map(|(key, _)| own_id(*key)).collect();
            let external_ids: Vec<&str> =
                users.iter().filter_map(|(_, user)| user.external_id.as_deref()).collect();
            let known = Known::of(self, key, &ids, &external_ids).await?;
            let targets = targets(&known, users);
            let rows: Vec<Row<'_>> =
                targets.iter().filter_map(|target| target.as_ref().ok()).copied().collect();
            let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            let (mut transaction, locked) = begin(self, &ids).await?;
            known.check(&locked, &ids)?;
            let written = upsert(&mut transaction, key, schedule, now, &rows, &locked).await;
            let (written, events) = written.map_err(StoreError::taken_is_overtaken)?;
            transaction.commit().await?;
            events.count();
            let outcome = |row: Row<'_>| match written.get(&row.id) {
                Some(true) => (row.id, SaveOutcome::Created),
                Some(false) => (row.id, SaveOutcome::Updated),
                None => (row.id, SaveOutcome::Unchanged),
            };
            Ok(targets.into_iter().map(|target| target.map_or_else(|not| not, outcome)).collect())
        }))
        .await
    }

    /// Changes `who` into what `edit` makes of it, or creates it where `edit` gets none, and plans it, in one transaction. Without
    /// `who`, the user is new. A user who is deleted and returns under the same external id gets the same id again, and so no
    /// second greeting in a year.
    pub async fn save_user<E>(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        who: Option<UserRef<'_>>,
        request: Option<&ApiRequest<'_>>,
        edit: impl FnOnce(Option<Current>) -> Result<NewUser, E>,
    ) -> Result<Saved<E>> {
        let key = self.installation_key().await?;
        // Boxed: a large future is copied at each await around it.
        self.in_time(Box::pin(async {
            let (id, mut transaction, locked) = begin_one(self, key, who).await?;
            let write = request.map(|request| request.write);
            let reservation = request.and_then(|request| Reservation::of(key, request));
            if let Some(reservation) = &reservation
                && let Some(repeated) = reservation.repeats(&mut transaction, now).await?
            {
                if let (Repeated::Before { id, .. }, Some(write)) = (&repeated, write) {
                    write.insert(&mut transaction, *id, CREATED).await?;
                    transaction.commit().await?;
                }
                return Ok(Saved::Repeated(repeated));
            }
            let current = match locked.get(&id) {
                None => None,
                Some(row) => Some(Current { version: row.version, user: read(&mut transaction, id).await? }),
            };
            let new = match edit(current) {
                Ok(new) => new,
                Err(refusal) => return Ok(Saved::Refused(refusal)),
            };
            let row = Row { id, external_id: new.external_id.as_deref(), user: &new };
            let result = upsert(&mut transaction, key, schedule, now, &[row], &locked).await;
            let is_new = locked.is_empty();
            let (written, events) =
                result.map_err(|error| if is_new { error.taken_is_overtaken() } else { error })?;
            let created = written.get(&id) == Some(&true);
            let user = if created { new.created(id, now) } else { read(&mut transaction, id).await?? };
            if let Some(reservation) = reservation {
                let answer = serde_json::to_string(&user.clone().known_to(schedule)).unwrap_or_default();
                reservation.answer(&mut transaction, id, answer).await?;
            }
            if let Some(write) = write {
                write.insert(&mut transaction, id, if created { CREATED } else { CHANGED }).await?;
            }
            transaction.commit().await?;
            events.count();
            let user = Box::new(user);
            Ok(if created { Saved::Created(user) } else { Saved::Changed(user) })
        }))
        .await
    }

    /// Changes an existing user into what `edit` makes of it. [`Saved::Refused`] without a reason: there is no such user.
    pub async fn edit_user<E>(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        who: UserRef<'_>,
        edit: impl FnOnce(&User) -> Result<NewUser, E>,
    ) -> Result<Saved<Option<E>>> {
        let mut unreadable = None;
        let edit = |current: Option<Current>| {
            let user = current.ok_or(None)?.user.map_err(|error| {
                unreadable = Some(error);
                None
            })?;
            edit(&user).map_err(Some)
        };
        let saved = self.save_user(schedule, now, Some(who), None, edit).await?;
        unreadable.map_or(Ok(saved), Err)
    }
}

/// Reads a locked user. The inner error is that of the row, the outer one that of the database.
async fn read(transaction: &mut PgConnection, id: Uuid) -> Result<Result<User>> {
    match one_user(transaction, UserRef::Id(id)).await {
        Ok(user) => user.map(Ok).ok_or(StoreError::Overtaken),
        Err(error @ StoreError::Unreadable(_)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

fn own_id(key: UserKey) -> Option<Uuid> {
    match key {
        UserKey::Own(id) | UserKey::Id(id) => Some(id),
        UserKey::External => None,
    }
}

/// The row to write for a user of a batch, or the reason why none is written.
type Target<'a> = Result<Row<'a>, (Uuid, SaveOutcome)>;

fn targets<'a>(known: &'a Known, users: &'a [(UserKey, NewUser)]) -> Vec<Target<'a>> {
    let (mut ids, mut external_ids) = (HashSet::new(), HashSet::new());
    let mut first = |row: Row<'a>| {
        let new = ids.insert(row.id);
        let new = row.external_id.is_none_or(|name| external_ids.insert(name)) && new;
        if new { Ok(row) } else { Err((row.id, SaveOutcome::Later)) }
    };
    users.iter().map(|(key, user)| target(known, *key, user).and_then(&mut first)).collect()
}

fn target<'a>(known: &'a Known, key: UserKey, user: &'a NewUser) -> Target<'a> {
    let given = user.external_id.as_deref();
    let by_name = || given.and_then(|name| known.id(name));
    let write = |id, external_id| Ok(Row { id, external_id, user });
    let id = own_id(key).unwrap_or_else(Uuid::now_v7);
    let there = known.external_ids.get(&id).map(Option::as_deref);
    match (key, there) {
        (UserKey::External, _) | (UserKey::Own(_), None) => write(by_name().unwrap_or(id), given),
        (UserKey::Id(_), None) => write(id, given),
        (UserKey::Id(_), Some(_)) => Err((id, SaveOutcome::Unchanged)),
        (UserKey::Own(_), Some(has)) => {
            let free = || given.is_none_or(|name| !known.by_external_id.contains_key(name));
            if given.is_none() || given == has || has.is_none() && free() {
                write(id, given.or(has))
            } else {
                Err((id, SaveOutcome::Clash))
            }
        }
    }
}
