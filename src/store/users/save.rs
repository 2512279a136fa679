//! One user created or changed, as the API and the command line do it.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::api_writes::{ApiWrite, CHANGED, CREATED};
use super::super::plan::planned_through;
use super::super::{Result, Store, StoreError};
use super::idempotency::{Idempotency, Repeated, reserve};
use super::known::{begin, id_of};
use super::rows::one_user;
use super::upsert::{Row, Terms, upsert};
use super::{UserRef, Written};
use crate::model::{NewUser, Schedule, User, Version};

/// The request of the API that a write belongs to.
#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'a> {
    /// Its row in the audit log, committed together with the change.
    pub write: &'a ApiWrite,
    /// The client's name for the request, if it gave one.
    pub idempotency: Option<Idempotency<'a>>,
}

impl<'a> ApiRequest<'a> {
    /// A request without a name.
    #[must_use]
    pub fn of(write: &'a ApiWrite) -> Self {
        Self { write, idempotency: None }
    }
}

/// A user before a change.
#[derive(Debug)]
pub struct Current {
    /// For `If-Match`.
    pub version: Version,
    /// [`StoreError::Unreadable`] where this binary cannot read it; it can still be replaced.
    pub user: Result<User>,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved<E> {
    /// The user is new.
    Created(Box<User>),
    /// The user existed, and is like this now.
    Changed(Box<User>),
    /// Refused by the caller's function; nothing was written.
    Refused(E),
    /// The request was answered before; nothing was written but its row in the audit log.
    Repeated(Repeated),
}

/// What became of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edited<E> {
    /// There is no such user.
    Gone,
    /// Refused by the caller's function; nothing was written.
    Refused(E),
    /// The user after the edit.
    Done(Box<User>),
}

/// A locked user. The inner error is that of the row, the outer one that of the database.
async fn read(transaction: &mut Transaction<'_, Postgres>, id: Uuid) -> Result<Result<User>> {
    match one_user(&mut **transaction, UserRef::Id(id)).await {
        Ok(user) => user.map(Ok).ok_or(StoreError::Overtaken),
        Err(error @ StoreError::Unreadable(_)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

impl Store {
    /// Changes `who` into what `edit` makes of it, or creates it where `edit` gets none, and plans it, in one transaction. Without
    /// `who`, the user is new. A user
    /// who is deleted and returns under the same external id gets the same id again, and so no second greeting in a year.
    ///
    /// # Errors
    /// The database refuses, for instance because the external id is taken, or is unavailable; then nothing is written. Where
    /// [`StoreError::is_contention`], the same call may succeed.
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
            let (id, known) = match who {
                Some(who) => id_of(self, key, who).await?,
                None => (Uuid::now_v7(), None),
            };
            let (mut transaction, locked) = begin(self, &[id], who.is_none()).await?;
            if let Some(known) = known {
                known.check(&locked, &[id])?;
            }
            let write = request.map(|request| request.write);
            let reserved = match reserve(&mut transaction, key, now, request).await? {
                Ok(reserved) => reserved,
                Err(repeated) => {
                    if let (Repeated::Before(before), Some(write)) = (&repeated, write) {
                        write.insert(&mut transaction, before.id, CREATED).await?;
                        transaction.commit().await?;
                    }
                    return Ok(Saved::Repeated(repeated));
                }
            };
            let current = match locked.get(&id) {
                None => None,
                Some(row) => Some(Current { version: row.version, user: read(&mut transaction, id).await? }),
            };
            let new = match edit(current) {
                Ok(new) => new,
                Err(refusal) => return Ok(Saved::Refused(refusal)),
            };
            let row = Row { id, external_id: new.external_id.as_deref(), user: &new };
            let through = planned_through(&mut transaction, schedule, now).await?;
            let terms = Terms { key, schedule, now, through };
            let result = upsert(&mut transaction, terms, &[row], &locked).await;
            let new_user = locked.is_empty();
            let (written, events) =
                result.map_err(|error| if new_user { error.taken_is_overtaken() } else { error })?;
            let created = written.get(&id) == Some(&Written::Created);
            let user = if created { new.created(id, now) } else { read(&mut transaction, id).await?? };
            if let Some(reserved) = reserved {
                let answer = serde_json::to_string(&user.clone().known_to(schedule)).unwrap_or_default();
                reserved.answer(&mut transaction, id, answer).await?;
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

    /// Changes an existing user into what `edit` makes of it.
    ///
    /// # Errors
    /// As [`Store::save_user`], or the row holds what this binary cannot read.
    pub async fn edit_user<E>(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        who: UserRef<'_>,
        edit: impl FnOnce(&User) -> Result<NewUser, E>,
    ) -> Result<Edited<E>> {
        enum Refusal<E> {
            Gone,
            Store(StoreError),
            Edit(E),
        }
        let edit = |current: Option<Current>| {
            let user = current.ok_or(Refusal::Gone)?.user.map_err(Refusal::Store)?;
            edit(&user).map_err(Refusal::Edit)
        };
        match self.save_user(schedule, now, Some(who), None, edit).await? {
            Saved::Created(user) | Saved::Changed(user) => Ok(Edited::Done(user)),
            Saved::Refused(Refusal::Store(error)) => Err(error),
            Saved::Refused(Refusal::Edit(refusal)) => Ok(Edited::Refused(refusal)),
            Saved::Refused(Refusal::Gone) | Saved::Repeated(_) => Ok(Edited::Gone),
        }
    }
}
