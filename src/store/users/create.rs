//! New users, and the promise that a repeated request makes no second one.

use std::collections::HashSet;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::plan::{WrittenEvents, insert_events, planned_through};
use super::super::{Result, Store};
use super::columns::Columns;
use super::occasions::{Dates, occasions_of};
use crate::model::{NewUser, Schedule, User};

/// How long a key is remembered.
const KEY_LIFE: TimeDelta = TimeDelta::hours(24);

/// What a client calls its request, and the request itself.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency<'a> {
    /// The token that the request came with: what others call their requests is no concern of this one.
    pub token: Option<Uuid>,
    /// The client's key.
    pub key: &'a str,
    /// The body, byte for byte: the same key with another body is a mistake of the client.
    pub request: &'a [u8],
}

impl Idempotency<'_> {
    /// What stands in the table: one key for each token and each key of theirs.
    fn stored(&self) -> String {
        let token = self.token.map_or_else(String::new, |id| id.simple().to_string());
        // A token's id has no blank, so no two pairs are the same text.
        let hash = Sha256::digest(format!("{token} {}", self.key));
        hash.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// What an earlier request made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// The user's id.
    pub id: Uuid,
    /// When the user was created, UTC.
    pub created_at: DateTime<Utc>,
    /// The answer as it was then.
    pub answer: String,
}

/// What became of a request to create a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is there.
    New(Box<User>),
    /// The same request was answered before.
    Before(Box<Before>),
    /// The key belongs to a request that was done, and whose user has been deleted since.
    DeletedSince,
    /// The key belongs to another request.
    KeyTaken,
    /// The external id belongs to another user.
    ExternalIdTaken,
}

impl Store {
    /// Creates a user and plans it. `answer` makes the text that a repetition of this request gets.
    ///
    /// Who was deleted and comes back under the same external id gets the old id, and so no second greeting in a year.
    ///
    /// # Errors
    /// The database refuses or is away; then nothing is written.
    pub async fn create_user(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        user: &NewUser,
        idempotency: Option<Idempotency<'_>>,
        answer: impl Fn(&User) -> String,
    ) -> Result<Created> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            if let Some(idempotency) = idempotency
                && let Some(before) = reserve(&mut transaction, now, idempotency).await?
            {
                return Ok(before);
            }
            let users = std::slice::from_ref(user);
            let (mut created, written) = insert_and_plan(&mut transaction, schedule, now, users).await?;
            let Some(user) = created.pop().flatten() else {
                transaction.rollback().await?;
                return Ok(Created::ExternalIdTaken);
            };
            if let Some(idempotency) = idempotency {
                sqlx::query("UPDATE idempotency_keys SET user_id = $2, answer = $3 WHERE key = $1")
                    .bind(idempotency.stored())
                    .bind(user.id)
                    .bind(answer(&user))
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            written.count();
            Ok(Created::New(Box::new(user)))
        })
        .await
    }

    /// Forgets keys, and the answers with them, that have had their day, in batches, as many as one round may take.
    ///
    /// # Errors
    /// The database refuses or is away.
    pub async fn forget_idempotency_keys(&self, now: DateTime<Utc>) -> Result<()> {
        self.forget(
            now - KEY_LIFE,
            "DELETE FROM idempotency_keys WHERE key IN (
                 SELECT key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2
                 FOR UPDATE SKIP LOCKED)",
        )
        .await
    }

    /// Creates several users who have nothing to do with each other, each as [`Store::create_user`] does, in one
    /// transaction. Gives, in the same order, what became of each; none where the external id belongs to another user, be
    /// it one of these.
    ///
    /// # Errors
    /// The database refuses one of them, or is away; then none is written.
    pub async fn create_users(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        users: &[NewUser],
    ) -> Result<Vec<Option<User>>> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let (created, written) = insert_and_plan(&mut transaction, schedule, now, users).await?;
            transaction.commit().await?;
            written.count();
            Ok(created)
        })
        .await
    }
}

/// Gives what became of each, and what that has done to events.
async fn insert_and_plan(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    users: &[NewUser],
) -> Result<(Vec<Option<User>>, WrittenEvents)> {
    let created = insert(transaction, now, users).await?;
    let ids: Vec<Uuid> = created.iter().flatten().map(|user| user.id).collect();
    let through = planned_through(transaction, schedule, now, &ids).await?;
    let mut events = Vec::new();
    for (new, user) in users.iter().zip(&created) {
        if let (Some(user), Some(through)) = (user, through) {
            for occasion in occasions_of(user.id, new, now) {
                events.extend(schedule.events_through(&occasion, now, through));
            }
        }
    }
    let written = insert_events(transaction, now, &events).await?;
    Ok((created, written))
}

/// Takes the key for this transaction. Gives what it stands for if it is taken; a request under the same key that is
/// still under way is waited for.
async fn reserve(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    idempotency: Idempotency<'_>,
) -> Result<Option<Created>> {
    let key = idempotency.stored();
    let ours: Option<bool> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys AS k (key, request_hash, created_at) VALUES ($1, sha256($2), $3)
         ON CONFLICT (key) DO UPDATE
         SET request_hash = excluded.request_hash, created_at = excluded.created_at, user_id = NULL, answer = NULL
         WHERE k.created_at < $4
         RETURNING true",
    )
    .bind(&key)
    .bind(idempotency.request)
    .bind(now)
    .bind(now - KEY_LIFE)
    .fetch_optional(&mut **transaction)
    .await?;
    if ours.is_some() {
        return Ok(None);
    }
    // The key and its user were written at the same `now`.
    let (same, id, created_at, answer): (bool, Option<Uuid>, DateTime<Utc>, Option<String>) = sqlx::query_as(
        "SELECT request_hash = sha256($2), user_id, created_at, answer FROM idempotency_keys WHERE key = $1",
    )
    .bind(&key)
    .bind(idempotency.request)
    .fetch_one(&mut **transaction)
    .await?;
    Ok(Some(match (id, answer) {
        (Some(id), Some(answer)) if same => Created::Before(Box::new(Before {
            id,
            created_at,
            answer,
        })),
        (Some(_), Some(_)) => Created::KeyTaken,
        // What the request said is forgotten as well.
        _ => Created::DeletedSince,
    }))
}

/// Takes a user who is deleted out of the answers that are kept. Their keys stay for their day, so that a repeat of such a
/// request does not create the user again.
pub(super) async fn forget_answers(transaction: &mut Transaction<'_, Postgres>, user: Uuid) -> Result<()> {
    sqlx::query(
        "UPDATE idempotency_keys SET user_id = NULL, answer = NULL, request_hash = '' WHERE user_id = $1",
    )
    .bind(user)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes those whose external id is free; of several with the same, the first.
async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    users: &[NewUser],
) -> Result<Vec<Option<User>>> {
    let mut external_ids = HashSet::new();
    let first: Vec<bool> = users
        .iter()
        .map(|user| {
            user.external_id
                .as_deref()
                .is_none_or(|id| external_ids.insert(id))
        })
        .collect();
    let mut ids: Vec<Uuid> = users.iter().map(|_| Uuid::now_v7()).collect();
    let mut written = write(transaction, now, users, &ids, &first).await?;
    if !external_ids.is_empty() {
        let back = take_former_ids(transaction, users, &written, &mut ids).await?;
        if back.contains(&true) {
            written.extend(write(transaction, now, users, &ids, &back).await?);
        }
    }
    let created = users
        .iter()
        .zip(&ids)
        .zip(&first)
        .map(|((user, id), first)| (*first && written.contains(id)).then(|| as_created(user, *id, now)));
    Ok(created.collect())
}

/// Writes those who are `wanted`, unless somebody has their external id; gives the ids of who was written.
async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    users: &[NewUser],
    ids: &[Uuid],
    wanted: &[bool],
) -> Result<HashSet<Uuid>> {
    let (mut columns, mut dates) = (Columns::default(), Dates::default());
    for ((user, id), wanted) in users.iter().zip(ids).zip(wanted) {
        if *wanted {
            columns.extend([(*id, user)]);
            dates.add(*id, user);
        }
    }
    let written: Vec<Uuid> = sqlx::query_scalar_with(INSERT, columns.arguments()?)
        .bind(now)
        .bind(&dates.users)
        .bind(&dates.kinds)
        .bind(&dates.years)
        .bind(&dates.months)
        .bind(&dates.days)
        .fetch_all(&mut **transaction)
        .await?;
    Ok(written.into_iter().collect())
}

/// In the order of their external ids, so that two who write at once do not wait for each other.
const INSERT: &str = "
WITH u AS (
    INSERT INTO users (id, external_id, first_name, last_name, time_zone, send_at, leap_day, created_at, updated_at)
    SELECT id, external_id, first_name, last_name, time_zone, send_at, leap_day, $8, $8
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::time[], $7::text[])
        AS n(id, external_id, first_name, last_name, time_zone, send_at, leap_day)
    ORDER BY external_id
    ON CONFLICT (external_id) DO NOTHING
    RETURNING id
), o AS (
    INSERT INTO occasions (user_id, kind, year, month, day, known_at)
    SELECT u.id, n.kind, n.year, n.month, n.day, $8
    FROM unnest($9::uuid[], $10::text[], $11::smallint[], $12::smallint[], $13::smallint[])
        AS n(user_id, kind, year, month, day)
    JOIN u ON u.id = n.user_id
)
SELECT id FROM u";

/// Puts the id of somebody who was deleted and comes back in the place of the new one, and takes the new row away; gives
/// whom that concerns, who are to be written again. Asked behind the insert: that waits for a deletion of the same person
/// that is under way, and before, its traces are not to be seen. Apart from it, as most have no external id.
async fn take_former_ids(
    transaction: &mut Transaction<'_, Postgres>,
    users: &[NewUser],
    written: &HashSet<Uuid>,
    ids: &mut [Uuid],
) -> Result<Vec<bool>> {
    let former: Vec<(i64, Uuid)> = sqlx::query_as(
        "SELECT n.position, f.user_id FROM unnest($1::text[]) WITH ORDINALITY AS n(external_id, position)
         JOIN former_users f ON f.external_id_hash = sha256(convert_to(n.external_id, 'UTF8'))
         WHERE NOT EXISTS (SELECT FROM users x WHERE x.id = f.user_id)",
    )
    .bind(
        users
            .iter()
            .map(|user| user.external_id.as_deref())
            .collect::<Vec<_>>(),
    )
    .fetch_all(&mut **transaction)
    .await?;
    let (mut back, mut new) = (vec![false; users.len()], Vec::new());
    for (position, former) in former {
        let Ok(at) = usize::try_from(position - 1) else {
            continue;
        };
        if let (Some(id), Some(back)) = (ids.get_mut(at), back.get_mut(at))
            && written.contains(id)
        {
            *back = true;
            new.push(std::mem::replace(id, former));
        }
    }
    if !new.is_empty() {
        sqlx::query("DELETE FROM users WHERE id = ANY($1)")
            .bind(new)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(back)
}

fn as_created(user: &NewUser, id: Uuid, now: DateTime<Utc>) -> User {
    let others = user.occasions.iter();
    User {
        id,
        external_id: user.external_id.clone(),
        first_name: user.first_name.clone(),
        last_name: user.last_name.clone(),
        birth_date: user.birth_date,
        time_zone: user.time_zone,
        send_at: user.send_at,
        leap_day: user.leap_day,
        occasions: others
            .filter_map(|(kind, date)| Some((kind.clone(), (*date)?)))
            .collect(),
        version: 1,
        created_at: now,
        updated_at: now,
    }
}
