//! One new user, and the promise that a repeated request makes no second one.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::plan::{self, begin_writing, insert_events};
use super::super::{Result, Store};
use super::occasions::{dates_of, occasions_of};
use super::rows::date_columns;
use crate::calendar::{LeapDay, SendAt};
use crate::model::{NewUser, Schedule, User};

/// How long a key is remembered.
const KEY_LIFE: TimeDelta = TimeDelta::hours(24);

/// What a client calls its request, and the request itself.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency<'a> {
    /// The client's key.
    pub key: &'a str,
    /// The body, byte for byte: the same key with another body is a mistake of the client.
    pub request: &'a [u8],
}

/// What became of a request to create a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is there.
    New(Box<User>),
    /// The same request was answered before: the id that it got, and the answer as it was then.
    Before(Uuid, String),
    /// The key belongs to another request.
    KeyTaken,
}

impl Store {
    /// Creates a user and plans it. `answer` makes the text that a repetition of this request gets.
    ///
    /// Who was deleted and comes back under the same external id gets the old id, and so no second greeting in a year.
    ///
    /// # Errors
    /// The database refuses, for instance because the external id is taken, or is away; then nothing is written.
    pub async fn create_user(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        user: &NewUser,
        idempotency: Option<Idempotency<'_>>,
        answer: impl Fn(&User) -> String,
    ) -> Result<Created> {
        self.in_time(async {
            let (mut transaction, through) = begin_writing(self).await?;
            if let Some(idempotency) = idempotency
                && let Some(before) = reserve(&mut transaction, now, idempotency).await?
            {
                // What was swept stays swept.
                transaction.commit().await?;
                return Ok(before);
            }
            let created = insert(&mut transaction, now, user).await?;
            let mut written = plan::Written::default();
            if let Some(through) = through {
                let mut events = Vec::new();
                for occasion in occasions_of(created.id, user, now) {
                    events.extend(schedule.events_through(&occasion, now, through));
                }
                written = insert_events(&mut transaction, now, &events).await?;
            }
            if let Some(idempotency) = idempotency {
                sqlx::query("UPDATE idempotency_keys SET user_id = $2, answer = $3 WHERE key = $1")
                    .bind(idempotency.key)
                    .bind(created.id)
                    .bind(answer(&created))
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            written.count();
            Ok(Created::New(Box::new(created)))
        })
        .await
    }
}

/// Takes the key for this transaction. Gives what it stands for if it is taken; a request under the same key that is
/// still under way is waited for.
async fn reserve(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    idempotency: Idempotency<'_>,
) -> Result<Option<Created>> {
    // Each new key sweeps some old ones away, so the table has what a day brings and needs no keeper.
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE key IN (
             SELECT key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT 8 FOR UPDATE SKIP LOCKED)",
    )
    .bind(now - KEY_LIFE)
    .execute(&mut **transaction)
    .await?;
    let ours: Option<bool> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys AS k (key, request_hash, created_at) VALUES ($1, sha256($2), $3)
         ON CONFLICT (key) DO UPDATE
         SET request_hash = excluded.request_hash, created_at = excluded.created_at, user_id = NULL, answer = NULL
         WHERE k.created_at < $4
         RETURNING true",
    )
    .bind(idempotency.key)
    .bind(idempotency.request)
    .bind(now)
    .bind(now - KEY_LIFE)
    .fetch_optional(&mut **transaction)
    .await?;
    if ours.is_some() {
        return Ok(None);
    }
    let (same, id, answer): (bool, Uuid, String) = sqlx::query_as(
        "SELECT request_hash = sha256($2), user_id, answer FROM idempotency_keys WHERE key = $1",
    )
    .bind(idempotency.key)
    .bind(idempotency.request)
    .fetch_one(&mut **transaction)
    .await?;
    Ok(Some(if same {
        Created::Before(id, answer)
    } else {
        Created::KeyTaken
    }))
}

async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    user: &NewUser,
) -> Result<User> {
    let dates = || dates_of(user).filter_map(|(kind, date)| Some((kind, date?)));
    let kinds: Vec<&str> = dates().map(|(kind, _)| kind).collect();
    let columns = || dates().map(|(_, date)| date_columns(date));
    let id = match &user.external_id {
        Some(external_id) => former_id(transaction, external_id).await?,
        None => None,
    };
    let id = id.unwrap_or_else(Uuid::now_v7);
    sqlx::query(
        "WITH u AS (
             INSERT INTO users (id, external_id, first_name, last_name, time_zone, send_at, leap_day, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
         )
         INSERT INTO occasions (user_id, kind, year, month, day, known_at)
         SELECT $1, n.kind, n.year, n.month, n.day, $8
         FROM unnest($9::text[], $10::smallint[], $11::smallint[], $12::smallint[]) AS n(kind, year, month, day)",
    )
    .bind(id)
    .bind(user.external_id.as_deref())
    .bind(&user.first_name)
    .bind(&user.last_name)
    .bind(user.time_zone.name())
    .bind(user.send_at.map(SendAt::time))
    .bind(user.leap_day.map(LeapDay::as_str))
    .bind(now)
    .bind(&kinds)
    .bind(columns().map(|(year, ..)| year).collect::<Vec<_>>())
    .bind(columns().map(|(_, month, _)| month).collect::<Vec<_>>())
    .bind(columns().map(|(.., day)| day).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    let others = user.occasions.iter();
    Ok(User {
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
    })
}

/// The id of somebody who was deleted and comes back. Asked apart from the insert: for one that mostly has no external id,
/// Postgres would plan that insert anew each time, which takes longer than the insert.
async fn former_id(transaction: &mut Transaction<'_, Postgres>, external_id: &str) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar(
        "SELECT f.user_id FROM former_users f
         WHERE f.external_id_hash = sha256(convert_to($1, 'UTF8'))
           AND NOT EXISTS (SELECT FROM users x WHERE x.id = f.user_id)",
    )
    .bind(external_id)
    .fetch_optional(&mut **transaction)
    .await?)
}
