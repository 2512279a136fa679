//! One user changed, or deleted.

use chrono::{DateTime, Utc};
use metrics::counter;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::plan::{WrittenEvents, planned_through};
use super::super::replan::replan;
use super::super::{Result, Store, StoreError};
use super::UserRef;
use super::create::forget_answers;
use super::occasions::{Dates, leap_day_rule_matters, raise_versions};
use super::rows::one_user;
use crate::calendar::{LeapDay, SendAt};
use crate::model::{NewUser, Reason, Schedule, User, Version};

/// What became of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edited<E> {
    /// There is no such user.
    Gone,
    /// The edit did not want to, and nothing was written.
    Refused(E),
    /// It is done, and this is the user now.
    Done(Box<User>),
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// There is no such user.
    Gone,
    /// The user has another version than was asked for.
    OtherVersion,
    /// The user, who had this id, is deleted.
    Done(Uuid),
}

impl Store {
    /// Changes one user into what `edit` makes of it, and replans it. Nobody else changes it meanwhile.
    ///
    /// # Errors
    /// The database refuses, for instance because the external id is taken, or is away, or the row holds what this binary
    /// cannot read; then nothing is written.
    pub async fn edit_user<E>(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        who: UserRef<'_>,
        edit: impl FnOnce(&User) -> Result<NewUser, E>,
    ) -> Result<Edited<E>> {
        // Outside is what the store says, inside what the edit says.
        let read = |_: Version, user: Result<&User>| edit(user.map_err(Err)?).map_err(Ok);
        Ok(match self.change_user(schedule, now, who, read).await? {
            Edited::Gone => Edited::Gone,
            Edited::Refused(why) => Edited::Refused(why?),
            Edited::Done(user) => Edited::Done(user),
        })
    }

    /// The same for who may not need to know what is there: `edit` gets the version, and the user if this binary can read it.
    ///
    /// # Errors
    /// The database refuses, for instance because the external id is taken, or is away; then nothing is written.
    pub async fn change_user<E>(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        who: UserRef<'_>,
        edit: impl FnOnce(Version, Result<&User>) -> Result<NewUser, E>,
    ) -> Result<Edited<E>> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            // Locked first and read afterwards: what a statement sees is as of its start, so one that did both would wait for
            // another edit, and then give the dates that were there before that.
            let Some((id, version, _)) = lock(&mut transaction, who).await? else {
                return Ok(Edited::Gone);
            };
            let (old, edited) = match one_user(&mut *transaction, UserRef::Id(id)).await {
                Ok(None) => return Ok(Edited::Gone),
                Ok(Some(old)) => {
                    let edited = edit(version, Ok(&old));
                    (Some(old), edited)
                }
                Err(error @ StoreError::Unreadable(_)) => (None, edit(version, Err(error))),
                Err(error) => return Err(error),
            };
            let new = match edited {
                Ok(new) => new,
                Err(refusal) => return Ok(Edited::Refused(refusal)),
            };
            let fields = update(&mut transaction, now, id, &new).await?;
            // Of one who could not be read, nobody knows the rule.
            let other_rule = |old: &User| schedule.rule(old.leap_day) != schedule.rule(new.leap_day);
            if leap_day_rule_matters(now) && old.as_ref().is_none_or(other_rule) {
                // As in `note_leap_day_rules`.
                sqlx::query(
                    "UPDATE occasions SET known_at = $2 WHERE user_id = $1 AND month = 2 AND day = 29",
                )
                .bind(id)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
            }
            let mut dates = Dates::default();
            dates.add(id, &new);
            let dates = !dates.write(&mut transaction, now).await?.is_empty();
            if dates && !fields {
                raise_versions(&mut transaction, now, &[id]).await?;
            }
            let mut current = old;
            let mut written = WrittenEvents::default();
            if dates || fields || current.is_none() {
                let through = planned_through(&mut transaction, schedule, now, &[id]).await?;
                written = replan(&mut transaction, schedule, now, through, &[id]).await?;
                current = one_user(&mut *transaction, UserRef::Id(id)).await?;
            }
            let Some(current) = current else {
                return Ok(Edited::Gone);
            };
            transaction.commit().await?;
            written.count();
            Ok(Edited::Done(Box::new(current)))
        })
        .await
    }

    /// Deletes a user, at one of `versions` if these are given, and cancels what was not sent yet. What is being
    /// delivered at this moment may still arrive.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn delete_user(
        &self,
        now: DateTime<Utc>,
        who: UserRef<'_>,
        versions: Option<&[Version]>,
    ) -> Result<Deleted> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let Some((id, version, external_id)) = lock(&mut transaction, who).await? else {
                return Ok(Deleted::Gone);
            };
            if versions.is_some_and(|versions| !versions.contains(&version)) {
                return Ok(Deleted::OtherVersion);
            }
            if let Some(external_id) = external_id {
                remember(&mut transaction, now, id, &external_id).await?;
            }
            forget_answers(&mut transaction, id).await?;
            sqlx::query("DELETE FROM users WHERE id = $1")
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            let cancelled = sqlx::query(
                "UPDATE events SET state = 'cancelled', reason = 'user_deleted', finished_at = $2, next_attempt_at = NULL
                 WHERE user_id = $1 AND state IN ('pending', 'queued')",
            )
            .bind(id)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            counter!("bday_events_cancelled_total", "reason" => Reason::UserDeleted.as_str())
                .increment(cancelled.rows_affected());
            Ok(Deleted::Done(id))
        })
        .await
    }
}

/// Locks a user, whom nobody else can change before this transaction ends. Gives its id, version and external id.
async fn lock(
    transaction: &mut Transaction<'_, Postgres>,
    who: UserRef<'_>,
) -> Result<Option<(Uuid, Version, Option<String>)>> {
    let (id, external_id) = who.columns();
    let row: Option<(Uuid, i64, DateTime<Utc>, Option<String>)> = sqlx::query_as(
        "SELECT id, version, created_at, external_id FROM users WHERE id = $1 OR external_id = $2 FOR UPDATE",
    )
    .bind(id)
    .bind(external_id)
    .fetch_optional(&mut **transaction)
    .await?;
    Ok(row.map(|(id, number, created_at, external_id)| (id, Version::new(number, created_at), external_id)))
}

/// Writes what differs, and gives whether something did; the version grows only then.
async fn update(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    id: Uuid,
    new: &NewUser,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE users SET external_id = $2, first_name = $3, last_name = $4, time_zone = $5, send_at = $6, leap_day = $7,
                version = version + 1, updated_at = $8
         WHERE id = $1 AND (external_id, first_name, last_name, time_zone, send_at, leap_day) IS DISTINCT FROM
                           ($2, $3, $4, $5, $6::time, $7)",
    )
    .bind(id)
    .bind(new.external_id.as_deref())
    .bind(&new.first_name)
    .bind(&new.last_name)
    .bind(new.time_zone.name())
    .bind(new.send_at.map(SendAt::time))
    .bind(new.leap_day.map(LeapDay::as_str))
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Remembers which id belonged to an external id, so that who comes back is known, and not greeted twice in a year.
/// Of the external id only a hash stays, and that for no longer than it matters.
async fn remember(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    id: Uuid,
    external_id: &str,
) -> Result<()> {
    sqlx::query(
        "DELETE FROM former_users WHERE user_id = $1 OR external_id_hash = sha256(convert_to($2, 'UTF8'))",
    )
    .bind(id)
    .bind(external_id)
    .execute(&mut **transaction)
    .await?;
    // By itself: behind an OR, it would read all of them for each deletion.
    sqlx::query(
        "DELETE FROM former_users
         WHERE user_id IN (SELECT user_id FROM former_users WHERE deleted_at < $1::timestamptz - interval '400 days'
                           ORDER BY deleted_at LIMIT 8 FOR UPDATE SKIP LOCKED)",
    )
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    sqlx::query(
        "INSERT INTO former_users (user_id, external_id_hash, deleted_at)
         VALUES ($1, sha256(convert_to($2, 'UTF8')), $3) ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(external_id)
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
