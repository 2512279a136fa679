//! Everything on record about one user, read in one snapshot.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::events::{ATTEMPTS, COLUMNS};
use super::super::{InstallationKey, Pause, Result, Store, column};
use super::UserRef;
use super::read::one_user;
use crate::model::{Attempt, Event, EventWithAttempts, User};

/// Events at the most: dozens of years, and a bound.
const MAX_EVENTS: i64 = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The id, also of a deleted user.
    pub user_id: Uuid,
    pub user: Option<User>,
    /// When the user was deleted (UTC); known for 400 days.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Since when bday knows the date of each kind (UTC).
    pub known_at: BTreeMap<String, DateTime<Utc>>,
    pub events: Vec<EventWithAttempts>,
    /// How far all users have been planned; none before the first plan.
    pub planned_through: Option<NaiveDate>,
    pub pause: Option<Pause>,
    /// The dates that a planner has begun and not finished.
    pub being_planned: Vec<NaiveDate>,
}

impl Store {
    pub async fn facts(&self, who: UserRef<'_>) -> Result<Option<Facts>> {
        let key = self.installation_key().await?;
        self.in_time(async {
            // One snapshot for all of it: otherwise an event could be missing in one part and present in another.
            let mut transaction = self.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let user = one_user(&mut *transaction, who).await?;
            let former = match user {
                None => former(&mut transaction, key, who).await?,
                Some(_) => None,
            };
            let (user_id, deleted_at) = match (&user, former, who) {
                (Some(user), ..) => (user.id, None),
                (None, Some((id, deleted_at)), _) => (id, Some(deleted_at)),
                (None, None, UserRef::Id(id)) => (id, None),
                (None, None, UserRef::External(_)) => return Ok(None),
            };
            let events = events(&mut transaction, user_id).await?;
            if user.is_none() && deleted_at.is_none() && events.is_empty() {
                return Ok(None);
            }
            let known_at: Vec<(String, DateTime<Utc>)> =
                sqlx::query_as("SELECT kind, known_at FROM occasions WHERE user_id = $1")
                    .bind(user_id)
                    .fetch_all(&mut *transaction)
                    .await?;
            let (planned_through, being_planned) = sqlx::query_as(
                "SELECT max(local_date), ARRAY(SELECT local_date FROM planned_days GROUP BY 1
                                               HAVING count(planned_at) = 0 ORDER BY 1)
                 FROM planned_days",
            )
            .fetch_one(&mut *transaction)
            .await?;
            let pause =
                sqlx::query_as("SELECT since, reason FROM pauses").fetch_optional(&mut *transaction).await?;
            transaction.commit().await?;
            let known_at = known_at.into_iter().collect();
            Ok(Some(Facts {
                user_id,
                user,
                deleted_at,
                known_at,
                events,
                planned_through,
                pause,
                being_planned,
            }))
        })
        .await
    }
}

async fn former(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    who: UserRef<'_>,
) -> Result<Option<(Uuid, DateTime<Utc>)>> {
    let (id, hash) = match who {
        UserRef::Id(id) => (Some(id), None),
        UserRef::External(name) => (None, Some(key.external_id(name))),
    };
    let sql = "SELECT user_id, deleted_at FROM deleted_users WHERE user_id = $1 OR external_id_hash = $2";
    Ok(sqlx::query_as(sql).bind(id).bind(hash).fetch_optional(transaction).await?)
}

async fn events(transaction: &mut PgConnection, user: Uuid) -> Result<Vec<EventWithAttempts>> {
    let mut query = sqlx::QueryBuilder::new(COLUMNS);
    query.push(" WHERE user_id = ").push_bind(user);
    query.push(" ORDER BY local_year DESC, due_at DESC, kind LIMIT ").push_bind(MAX_EVENTS);
    let events: Vec<Event> = query.build_query_as().fetch_all(&mut *transaction).await?;
    let ids = column(&events, |event| event.id);
    let attempts: Vec<Attempt> = sqlx::query_as(ATTEMPTS).bind(ids).fetch_all(transaction).await?;
    let mut by_event: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    for attempt in attempts {
        by_event.entry(attempt.event_id).or_default().push(attempt);
    }
    let with_attempts = |event: Event| {
        let attempts = by_event.remove(&event.id).unwrap_or_default();
        EventWithAttempts { event, attempts }
    };
    Ok(events.into_iter().map(with_attempts).collect())
}
