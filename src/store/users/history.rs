//! The history of one user: all data about it, also after its deletion.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::UserRef;
use super::read::one_user;
use crate::model::{Attempt, Event, EventWithAttempts, Feedback, User};
use crate::store::attempts::ATTEMPTS;
use crate::store::events::COLUMNS;
use crate::store::feedback::FEEDBACK;
use crate::store::{InstallationKey, Pause, Result, Store, column};

/// Enough for dozens of years.
const MAX_EVENTS: i64 = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserHistory {
    pub user_id: Uuid,
    pub user: Option<User>,
    /// Stored for 400 days.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Since when bday knows the date of each kind.
    pub known_at: BTreeMap<String, DateTime<Utc>>,
    pub events: Vec<EventWithAttempts>,
    /// The local date through which all users are planned; none before the first plan.
    pub planned_through: Option<NaiveDate>,
    pub pause: Option<Pause>,
    /// The dates that a planner has begun and not finished.
    pub being_planned: Vec<NaiveDate>,
}

impl Store {
    /// Reads the history in one snapshot: in several, an event could be missing in one part and present in another.
    pub async fn user_history(&self, user: UserRef<'_>) -> Result<Option<UserHistory>> {
        let key = self.installation_key().await?;
        self.in_time(async {
            let mut transaction = self.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let history = history(&mut transaction, key, user).await?;
            transaction.commit().await?;
            Ok(history)
        })
        .await
    }
}

async fn history(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    reference: UserRef<'_>,
) -> Result<Option<UserHistory>> {
    let user = one_user(&mut *transaction, reference).await?;
    let (user_id, deleted_at) = match &user {
        Some(user) => (user.id, None),
        None => match (deleted_user(transaction, key, reference).await?, reference) {
            (Some((id, deleted_at)), _) => (id, Some(deleted_at)),
            (None, UserRef::Id(id)) => (id, None),
            (None, UserRef::External(_)) => return Ok(None),
        },
    };
    let events = events(transaction, user_id).await?;
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
    let pause = sqlx::query_as("SELECT since, reason FROM pauses").fetch_optional(transaction).await?;
    let known_at = known_at.into_iter().collect();
    Ok(Some(UserHistory {
        user_id,
        user,
        deleted_at,
        known_at,
        events,
        planned_through,
        pause,
        being_planned,
    }))
}

async fn deleted_user(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    user: UserRef<'_>,
) -> Result<Option<(Uuid, DateTime<Utc>)>> {
    let (id, hash) = match user {
        UserRef::Id(id) => (Some(id), None),
        UserRef::External(external_id) => (None, Some(key.external_id_hash(external_id))),
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
    let attempts: Vec<Attempt> = sqlx::query_as(ATTEMPTS).bind(&ids).fetch_all(&mut *transaction).await?;
    let feedback: Vec<Feedback> = sqlx::query_as(FEEDBACK).bind(&ids).fetch_all(transaction).await?;
    let mut attempts = by_event(attempts, |attempt| attempt.event_id);
    let mut feedback = by_event(feedback, |feedback| feedback.event_id);
    let with_attempts = |event: Event| EventWithAttempts {
        attempts: attempts.remove(&event.id).unwrap_or_default(),
        feedback: feedback.remove(&event.id).unwrap_or_default(),
        event,
    };
    Ok(events.into_iter().map(with_attempts).collect())
}

fn by_event<T>(rows: Vec<T>, event: impl Fn(&T) -> Uuid) -> HashMap<Uuid, Vec<T>> {
    let mut by_event: HashMap<Uuid, Vec<T>> = HashMap::new();
    for row in rows {
        by_event.entry(event(&row)).or_default().push(row);
    }
    by_event
}
