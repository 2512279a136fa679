//! Saves a batch of users for the import, or one user for the API and the command line.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::idempotency_keys::{Idempotency, RepeatedRequest, Reservation};
use super::read::one_user;
use super::write::{ExistingUsers, LockedUsers, Row, begin, begin_one, upsert};
use super::{UserChange, UserKey, UserRef};
use crate::model::{NewUser, Schedule, User, Version};
use crate::store::api_writes::{ApiWrite, CHANGED, CREATED};
use crate::store::events::write::WrittenEvents;
use crate::store::{InstallationKey, Result, Store, StoreError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchOutcome {
    Saved(UserChange),
    /// Not saved: the id belongs to a user with another external id, or the external id to another user. Only for
    /// [`UserKey::ExportedId`].
    IdConflict,
    /// Not saved: an earlier entry of the batch is the same user. Save it in another batch; the first entry of a batch is never
    /// deferred.
    Deferred,
}

#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'a> {
    /// The row of the audit log, committed together with the change.
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
pub struct CurrentUser {
    pub version: Version,
    /// [`StoreError::Unreadable`] if this version cannot read it; it can still be replaced.
    pub user: Result<User>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveOutcome<E> {
    Saved(UserChange, Box<User>),
    Refused(E),
    /// The request was answered before; only its row in the audit log was written.
    Repeated(RepeatedRequest),
}

impl Store {
    /// Saves `users` in one transaction, each under its key, and plans them. Returns, in the same order, the id and the outcome of
    /// each.
    pub async fn save_users(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        users: &[(UserKey, NewUser)],
    ) -> Result<Vec<(Uuid, BatchOutcome)>> {
        let key = self.installation_key().await?;
        // Boxed: a large future is copied at each await around it.
        self.in_time(Box::pin(async {
            let ids: Vec<Uuid> = users.iter().filter_map(|(key, _)| id_of(*key)).collect();
            let external_ids: Vec<&str> =
                users.iter().filter_map(|(_, user)| user.external_id.as_deref()).collect();
            let existing = ExistingUsers::find(self, key, &ids, &external_ids).await?;
            let targets = targets(&existing, users);
            let rows: Vec<Row<'_>> =
                targets.iter().filter_map(|target| target.as_ref().ok()).copied().collect();
            let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            let (mut transaction, locked) = begin(self, &ids).await?;
            existing.check(&locked, &ids)?;
            let written = upsert(&mut transaction, key, schedule, now, &rows, &locked).await;
            let (changes, events) = written.map_err(StoreError::taken_as_concurrent_write)?;
            transaction.commit().await?;
            events.record_metrics();
            let outcome = |row: Row<'_>| (row.id, BatchOutcome::Saved(changes.of(row.id)));
            Ok(targets.into_iter().map(|target| target.map_or_else(|reason| reason, outcome)).collect())
        }))
        .await
    }

    /// Replaces `user` by what `edit` returns, or creates it if `edit` gets none, and plans it, in one transaction. Without `user`,
    /// the user is new. A deleted user who returns under the same external id gets the same id again, and so no second greeting
    /// in a year.
    pub async fn save_user<E>(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        user: Option<UserRef<'_>>,
        request: Option<&ApiRequest<'_>>,
        edit: impl FnOnce(Option<CurrentUser>) -> Result<NewUser, E>,
    ) -> Result<SaveOutcome<E>> {
        let key = self.installation_key().await?;
        // Boxed: a large future is copied at each await around it.
        self.in_time(Box::pin(async {
            let (id, mut transaction, locked) = begin_one(self, key, user).await?;
            let reservation = request.and_then(|request| Reservation::of(key, request));
            if let Some(reservation) = &reservation
                && let Some(repeated) = reservation.reserve(&mut transaction, now).await?
            {
                if let (RepeatedRequest::Answered { id, .. }, Some(request)) = (&repeated, request) {
                    request.write.insert(&mut transaction, *id, CREATED).await?;
                    transaction.commit().await?;
                }
                return Ok(SaveOutcome::Repeated(repeated));
            }
            let current = current_user(&mut transaction, id, &locked).await?;
            let new = match edit(current) {
                Ok(new) => new,
                Err(refusal) => return Ok(SaveOutcome::Refused(refusal)),
            };
            let (change, events) = write_one(&mut transaction, key, schedule, now, id, &new, &locked).await?;
            let created = change == UserChange::Created;
            let user = if created { new.created(id, now) } else { read(&mut transaction, id).await?? };
            if let Some(request) = request {
                let user = user.clone().with_configured_kinds(schedule);
                save_request(&mut transaction, request, reservation, change, &user).await?;
            }
            transaction.commit().await?;
            events.record_metrics();
            Ok(SaveOutcome::Saved(change, Box::new(user)))
        }))
        .await
    }

    /// Replaces an existing user by what `edit` returns. [`SaveOutcome::Refused`] without a reason: the user does not exist.
    pub async fn edit_user<E>(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        user: UserRef<'_>,
        edit: impl FnOnce(&User) -> Result<NewUser, E>,
    ) -> Result<SaveOutcome<Option<E>>> {
        let mut unreadable = None;
        let edit = |current: Option<CurrentUser>| {
            let user = current.ok_or(None)?.user.map_err(|error| {
                unreadable = Some(error);
                None
            })?;
            edit(&user).map_err(Some)
        };
        let saved = self.save_user(schedule, now, Some(user), None, edit).await?;
        unreadable.map_or(Ok(saved), Err)
    }
}

async fn write_one(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    schedule: &Schedule,
    now: DateTime<Utc>,
    id: Uuid,
    user: &NewUser,
    locked: &LockedUsers,
) -> Result<(UserChange, WrittenEvents)> {
    let row = Row { id, external_id: user.external_id.as_deref(), user };
    let is_new = locked.is_empty();
    match upsert(transaction, key, schedule, now, &[row], locked).await {
        Ok((changes, events)) => Ok((changes.of(id), events)),
        Err(error) if is_new => Err(error.taken_as_concurrent_write()),
        Err(error) => Err(error),
    }
}

/// Stores the answer for repeated requests, and the row of the audit log.
async fn save_request(
    transaction: &mut PgConnection,
    request: &ApiRequest<'_>,
    reservation: Option<Reservation>,
    change: UserChange,
    user: &User,
) -> Result<()> {
    if let Some(reservation) = reservation {
        let answer = serde_json::to_string(user).unwrap_or_default();
        reservation.save_answer(&mut *transaction, user.id, answer).await?;
    }
    let status = if change == UserChange::Created { CREATED } else { CHANGED };
    request.write.insert(transaction, user.id, status).await
}

async fn current_user(
    transaction: &mut PgConnection,
    id: Uuid,
    locked: &LockedUsers,
) -> Result<Option<CurrentUser>> {
    Ok(match locked.get(&id) {
        None => None,
        Some(row) => Some(CurrentUser { version: row.version, user: read(transaction, id).await? }),
    })
}

/// Reads a locked user. The inner error is [`StoreError::Unreadable`].
async fn read(transaction: &mut PgConnection, id: Uuid) -> Result<Result<User>> {
    match one_user(transaction, UserRef::Id(id)).await {
        Ok(user) => user.map(Ok).ok_or(StoreError::ConcurrentWrite),
        Err(error @ StoreError::Unreadable(_)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

pub(super) fn id_of(key: UserKey) -> Option<Uuid> {
    match key {
        UserKey::ExportedId(id) | UserKey::NewId(id) => Some(id),
        UserKey::ExternalId => None,
    }
}

pub(super) type Target<'a> = Result<Row<'a>, (Uuid, BatchOutcome)>;

pub(super) fn targets<'a>(existing: &'a ExistingUsers, users: &'a [(UserKey, NewUser)]) -> Vec<Target<'a>> {
    let (mut ids, mut external_ids) = (HashSet::new(), HashSet::new());
    let mut once = |row: Row<'a>| {
        let new = ids.insert(row.id);
        let new = row.external_id.is_none_or(|external_id| external_ids.insert(external_id)) && new;
        if new { Ok(row) } else { Err((row.id, BatchOutcome::Deferred)) }
    };
    users.iter().map(|(key, user)| target(existing, *key, user).and_then(&mut once)).collect()
}

fn target<'a>(existing: &'a ExistingUsers, key: UserKey, user: &'a NewUser) -> Target<'a> {
    let given = user.external_id.as_deref();
    let by_external_id = || given.and_then(|external_id| existing.id(external_id));
    let write = |id, external_id| Ok(Row { id, external_id, user });
    let id = id_of(key).unwrap_or_else(Uuid::now_v7);
    let current = existing.external_ids.get(&id).map(Option::as_deref);
    match (key, current) {
        (UserKey::ExternalId, _) | (UserKey::ExportedId(_), None) => {
            write(by_external_id().unwrap_or(id), given)
        }
        (UserKey::NewId(_), None) => write(id, given),
        (UserKey::NewId(_), Some(_)) => Err((id, BatchOutcome::Saved(UserChange::Unchanged))),
        (UserKey::ExportedId(_), Some(current)) => {
            let free = || given.is_none_or(|external_id| !existing.by_external_id.contains_key(external_id));
            if given.is_none() || given == current || current.is_none() && free() {
                write(id, given.or(current))
            } else {
                Err((id, BatchOutcome::IdConflict))
            }
        }
    }
}
