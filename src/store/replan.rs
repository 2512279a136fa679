//! Replan: what an edit moves, within the transaction of that edit.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::Result;
use super::plan::{WrittenEvents, insert_events};
use super::users::OccasionRow;
use crate::model::{EventState, NewEvent, Occasion, Reason, Schedule};

/// An event that an edit may move: no request was ever begun for it.
#[derive(Debug, sqlx::FromRow)]
struct Movable {
    id: Uuid,
    user_id: Uuid,
    kind: String,
    local_year: i16,
    state: EventState,
    local_date: NaiveDate,
    due_at: DateTime<Utc>,
}

/// Moves the events of `users` to where their occasions are now, and writes those that are missing.
///
/// | the event of that local year | becomes |
/// | --- | --- |
/// | pending or queued, nothing sent yet | pending at the new instant; past or not, as a new one would be |
/// | the same, but its date is over, or does not take place | deleted: the year is free again |
/// | skipped, nothing sent yet | pending, if the new instant is still ahead |
/// | of a kind that is not in `schedule`, and the date is still there | as it is: another process knows the kind |
/// | anything of it was, or may have been sent | as it is: one greeting a year |
///
/// Gives what was planned or skipped by it.
///
/// A queued event that moved is still in its pack. The worker that receives it finds an event that is not queued, and leaves it.
pub(super) async fn replan(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    through: Option<NaiveDate>,
    users: &[Uuid],
) -> Result<WrittenEvents> {
    let mut occasions = Vec::with_capacity(users.len());
    for row in rows(transaction, users).await? {
        occasions.push(row.occasion()?);
    }
    move_and_add(transaction, schedule, now, through, users, &occasions).await
}

/// The same, but users whom this binary cannot read are left as they are. Gives what is wrong with them, too.
pub(super) async fn replan_readable(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    through: Option<NaiveDate>,
    users: &[Uuid],
) -> Result<(WrittenEvents, Vec<(Uuid, String)>)> {
    let mut occasions = Vec::with_capacity(users.len());
    let mut unreadable = HashMap::new();
    for row in rows(transaction, users).await? {
        let user = row.user_id;
        match row.occasion() {
            Ok(occasion) => occasions.push(occasion),
            Err(error) => drop(unreadable.insert(user, error.to_string())),
        }
    }
    occasions.retain(|occasion| !unreadable.contains_key(&occasion.user_id));
    let users: Vec<Uuid> = users.iter().copied().filter(|user| !unreadable.contains_key(user)).collect();
    let written = move_and_add(transaction, schedule, now, through, &users, &occasions).await?;
    Ok((written, unreadable.into_iter().collect()))
}

async fn rows(transaction: &mut Transaction<'_, Postgres>, users: &[Uuid]) -> Result<Vec<OccasionRow>> {
    Ok(sqlx::query_as(
        "SELECT o.user_id, o.kind, o.year, o.month, o.day, o.known_at, u.time_zone, u.send_at, u.leap_day
         FROM occasions o JOIN users u ON u.id = o.user_id WHERE o.user_id = ANY($1)",
    )
    .bind(users)
    .fetch_all(&mut **transaction)
    .await?)
}

async fn move_and_add(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    through: Option<NaiveDate>,
    users: &[Uuid],
    occasions: &[Occasion],
) -> Result<WrittenEvents> {
    let movable: Vec<Movable> = sqlx::query_as(
        "SELECT id, user_id, kind, local_year, state, local_date, due_at FROM events
         WHERE user_id = ANY($1) AND state IN ('pending', 'queued', 'skipped') AND attempts = 0
         ORDER BY id FOR UPDATE",
    )
    .bind(users)
    .fetch_all(&mut **transaction)
    .await?;
    let mut written = WrittenEvents {
        planned: 0,
        skipped: move_events(transaction, schedule, now, occasions, movable).await?,
    };
    if let Some(through) = through {
        let mut missing = Vec::new();
        for occasion in occasions {
            missing
                .extend(schedule.events_through(occasion, now, through).map(|event| event.learned_at(now)));
        }
        let WrittenEvents { planned, skipped } = insert_events(transaction, now, &missing).await?;
        written.planned += planned;
        written.skipped += skipped;
    }
    Ok(written)
}

/// Gives how many are skipped from now on.
async fn move_events(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    occasions: &[Occasion],
    movable: Vec<Movable>,
) -> Result<u64> {
    let mut moved: Vec<(Uuid, NewEvent)> = Vec::new();
    let mut gone = Vec::new();
    for old in movable {
        let occasion =
            occasions.iter().find(|occasion| occasion.user_id == old.user_id && occasion.kind == old.kind);
        // Of a kind that this process does not know it cannot say when it is due, and who does know it has planned that day.
        if occasion.is_some_and(|occasion| schedule.send_at(occasion).is_none()) {
            continue;
        }
        let event = occasion.and_then(|occasion| schedule.event(occasion, i32::from(old.local_year)));
        match event {
            None if old.state == EventState::Skipped => {}
            None => gone.push(old.id),
            Some(event) => {
                let stays =
                    (event.occurrence.due_at, event.occurrence.local_date) == (old.due_at, old.local_date);
                let ahead = event.state == EventState::Pending && event.occurrence.due_at > now;
                if !stays && (ahead || old.state != EventState::Skipped) {
                    moved.push((old.id, event.learned_at(now)));
                }
            }
        }
    }
    if !gone.is_empty() {
        sqlx::query("DELETE FROM events WHERE id = ANY($1)").bind(gone).execute(&mut **transaction).await?;
    }
    if moved.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = moved.iter().map(|(id, _)| *id).collect();
    let events = || moved.iter().map(|(_, event)| event);
    let dates: Vec<NaiveDate> = events().map(|event| event.occurrence.local_date).collect();
    let dues: Vec<DateTime<Utc>> = events().map(|event| event.occurrence.due_at).collect();
    let late_froms: Vec<DateTime<Utc>> = events().map(|event| event.late_from).collect();
    let states: Vec<&str> = events().map(|event| event.state.as_str()).collect();
    let reasons: Vec<Option<&str>> = events().map(|event| event.reason.map(Reason::as_str)).collect();
    sqlx::query(
        "UPDATE events e
         SET local_date = n.local_date, due_at = n.due_at, late_from = n.late_from, state = n.state::event_state,
             reason = n.reason, next_attempt_at = CASE WHEN n.reason IS NULL THEN n.due_at END, queued_at = NULL,
             finished_at = CASE WHEN n.reason IS NOT NULL THEN $7 END
         FROM unnest($1::uuid[], $2::date[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[])
             AS n(id, local_date, due_at, late_from, state, reason)
         WHERE e.id = n.id",
    )
    .bind(ids)
    .bind(dates)
    .bind(dues)
    .bind(late_froms)
    .bind(states)
    .bind(reasons)
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    Ok(events().filter(|event| event.state == EventState::Skipped).count() as u64)
}
