//! Inserts missing events, and moves the events of edited users.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use metrics::counter;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::{EventState, NewEvent, Occasion, Reason, Schedule};
use crate::store::users::occasions::OccasionRow;
use crate::store::{Result, column};

/// Users whom this version cannot read, with the reason.
pub(in crate::store) type UnreadableUsers = Vec<(Uuid, String)>;

#[derive(Debug, Clone, Copy, Default)]
pub(in crate::store) struct WrittenEvents {
    pub(in crate::store) planned: u64,
    /// Events that are skipped because their date was learned too late on the day.
    pub(in crate::store) skipped: u64,
}

impl WrittenEvents {
    pub(in crate::store) fn record_metrics(self) {
        counter!("bday_events_planned_total").increment(self.planned);
        counter!("bday_events_skipped_total", "reason" => Reason::LateJoin.as_str()).increment(self.skipped);
    }

    pub(in crate::store) fn add(self, more: Self) -> Self {
        Self { planned: self.planned + more.planned, skipped: self.skipped + more.skipped }
    }
}

/// Writes the events that are missing. An event that was cancelled because its user was deleted is planned again with a returning
/// user, unless a request of it may have been sent.
pub(in crate::store) async fn insert_events(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    events: &[NewEvent],
) -> Result<WrittenEvents> {
    if events.is_empty() {
        return Ok(WrittenEvents::default());
    }
    let mut written = write_events(transaction, now, events, INSERT).await?;
    if written.len() < events.len() {
        written.extend(write_events(transaction, now, events, REVIVE).await?);
    }
    let planned = written.iter().filter(|pending| **pending).count() as u64;
    let skipped = written.len() as u64 - planned;
    Ok(WrittenEvents { planned, skipped })
}

const INSERT: &str = "
INSERT INTO events (id, user_id, kind, local_year, local_date, due_at, late_from, next_attempt_at, state, reason, finished_at,
                    created_at)
SELECT n.id, n.user_id, n.kind, n.local_year, n.local_date, n.due_at, n.late_from, CASE WHEN n.reason IS NULL THEN n.due_at END,
       n.state::event_state, n.reason, CASE WHEN n.reason IS NOT NULL THEN $10::timestamptz END, $10
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::date[], $6::timestamptz[], $7::timestamptz[], $8::text[],
            $9::text[])
    AS n(id, user_id, kind, local_year, local_date, due_at, late_from, state, reason)
ON CONFLICT ON CONSTRAINT one_event_per_user_kind_and_year DO NOTHING
RETURNING state = 'pending'";

const REVIVE: &str = "
UPDATE events e
SET local_date = n.local_date, due_at = n.due_at, late_from = n.late_from, state = n.state::event_state, reason = n.reason,
    next_attempt_at = CASE WHEN n.reason IS NULL THEN n.due_at END, queued_at = NULL,
    finished_at = CASE WHEN n.reason IS NOT NULL THEN $10::timestamptz END, created_at = $10
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::date[], $6::timestamptz[], $7::timestamptz[], $8::text[],
            $9::text[])
    AS n(id, user_id, kind, local_year, local_date, due_at, late_from, state, reason)
WHERE (e.user_id, e.kind, e.local_year) = (n.user_id, n.kind, n.local_year)
  AND e.state = 'cancelled' AND e.reason = 'user_deleted' AND e.attempts = 0
RETURNING e.state = 'pending'";

/// Returns for each written event whether it is pending.
async fn write_events(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    events: &[NewEvent],
    statement: &'static str,
) -> Result<Vec<bool>> {
    let written = sqlx::query_scalar(statement)
        .bind(column(events, |_| Uuid::now_v7()))
        .bind(column(events, |event| event.user_id))
        .bind(column(events, |event| event.kind.as_str()))
        .bind(column(events, |event| event.occurrence.local_year as i16))
        .bind(column(events, |event| event.occurrence.local_date))
        .bind(column(events, |event| event.occurrence.due_at))
        .bind(column(events, |event| event.late_from))
        .bind(column(events, |event| event.state.as_str()))
        .bind(column(events, |event| event.reason.map(Reason::as_str)))
        .bind(now)
        .fetch_all(transaction);
    Ok(written.await?)
}

/// Moves the events of `users` to where their occasions are now, and writes those that are missing. Users whom this version cannot
/// read are left as they are.
///
/// | the event of that local year | becomes |
/// | --- | --- |
/// | pending or queued, no request sent | pending at the new instant, as a new event would be |
/// | the same, but its date is over, or does not take place | deleted: the year is free again |
/// | skipped, no request sent | pending, if the new instant is still ahead |
/// | of a kind that is not in `schedule`, and the date still exists | unchanged: another process knows the kind |
/// | a request was, or may have been sent | unchanged: one greeting a year |
///
/// A queued event that moved is still in its pack. The worker that receives it drops an event that is not queued.
pub(in crate::store) async fn replan_users(
    transaction: &mut PgConnection,
    schedule: &Schedule,
    now: DateTime<Utc>,
    through: Option<NaiveDate>,
    users: &[Uuid],
) -> Result<(WrittenEvents, UnreadableUsers)> {
    let rows = OccasionRow::of_users(transaction, users).await?;
    let (mut occasions, mut unreadable) = (Vec::with_capacity(users.len()), HashMap::new());
    for row in rows {
        let user = row.user_id;
        match row.occasion() {
            Ok(occasion) => occasions.push(occasion),
            Err(error) => drop(unreadable.insert(user, error.to_string())),
        }
    }
    occasions.retain(|occasion| !unreadable.contains_key(&occasion.user_id));
    let users: Vec<Uuid> = users.iter().copied().filter(|user| !unreadable.contains_key(user)).collect();
    let skipped = move_events(transaction, schedule, now, &users, &occasions).await?;
    let mut written = WrittenEvents { planned: 0, skipped };
    if let Some(through) = through {
        let mut missing = Vec::new();
        for occasion in &occasions {
            let events = schedule.events_through(occasion, now, through);
            missing.extend(events.map(|event| event.learned_at(now)));
        }
        written = written.add(insert_events(transaction, now, &missing).await?);
    }
    Ok((written, unreadable.into_iter().collect()))
}

#[derive(Debug, sqlx::FromRow)]
struct UnsentEvent {
    id: Uuid,
    user_id: Uuid,
    kind: String,
    local_year: i16,
    state: EventState,
    local_date: NaiveDate,
    due_at: DateTime<Utc>,
}

enum EventChange {
    Keep,
    Delete,
    MoveTo(NewEvent),
}

/// Returns how many of the moved events are skipped.
async fn move_events(
    transaction: &mut PgConnection,
    schedule: &Schedule,
    now: DateTime<Utc>,
    users: &[Uuid],
    occasions: &[Occasion],
) -> Result<u64> {
    let sql = "
        SELECT id, user_id, kind, local_year, state, local_date, due_at FROM events
        WHERE user_id = ANY($1) AND state IN ('pending', 'queued', 'skipped') AND attempts = 0
        ORDER BY id FOR UPDATE";
    let unsent: Vec<UnsentEvent> = sqlx::query_as(sql).bind(users).fetch_all(&mut *transaction).await?;
    let (mut moved, mut deleted) = (Vec::new(), Vec::new());
    for event in unsent {
        let occasion = occasions
            .iter()
            .find(|occasion| occasion.user_id == event.user_id && occasion.kind == event.kind);
        match change(schedule, now, &event, occasion) {
            EventChange::Keep => {}
            EventChange::Delete => deleted.push(event.id),
            EventChange::MoveTo(new) => moved.push((event.id, new)),
        }
    }
    if !deleted.is_empty() {
        sqlx::query("DELETE FROM events WHERE id = ANY($1)").bind(deleted).execute(&mut *transaction).await?;
    }
    update_moved(transaction, now, &moved).await?;
    Ok(moved.iter().filter(|(_, event)| event.state == EventState::Skipped).count() as u64)
}

fn change(
    schedule: &Schedule,
    now: DateTime<Utc>,
    old: &UnsentEvent,
    occasion: Option<&Occasion>,
) -> EventChange {
    // A kind that only another process knows: that process has planned it.
    if occasion.is_some_and(|occasion| schedule.send_at(occasion).is_none()) {
        return EventChange::Keep;
    }
    let was_skipped = old.state == EventState::Skipped;
    let Some(new) = occasion.and_then(|occasion| schedule.event(occasion, i32::from(old.local_year))) else {
        return if was_skipped { EventChange::Keep } else { EventChange::Delete };
    };
    let same = (new.occurrence.due_at, new.occurrence.local_date) == (old.due_at, old.local_date);
    let ahead = new.state == EventState::Pending && new.occurrence.due_at > now;
    if same || was_skipped && !ahead { EventChange::Keep } else { EventChange::MoveTo(new.learned_at(now)) }
}

async fn update_moved(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    moved: &[(Uuid, NewEvent)],
) -> Result<()> {
    if moved.is_empty() {
        return Ok(());
    }
    let sql = "
        UPDATE events e
        SET local_date = n.local_date, due_at = n.due_at, late_from = n.late_from, state = n.state::event_state,
            reason = n.reason, next_attempt_at = CASE WHEN n.reason IS NULL THEN n.due_at END, queued_at = NULL,
            finished_at = CASE WHEN n.reason IS NOT NULL THEN $7::timestamptz END
        FROM unnest($1::uuid[], $2::date[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[])
            AS n(id, local_date, due_at, late_from, state, reason)
        WHERE e.id = n.id";
    sqlx::query(sql)
        .bind(column(moved, |(id, _)| *id))
        .bind(column(moved, |(_, event)| event.occurrence.local_date))
        .bind(column(moved, |(_, event)| event.occurrence.due_at))
        .bind(column(moved, |(_, event)| event.late_from))
        .bind(column(moved, |(_, event)| event.state.as_str()))
        .bind(column(moved, |(_, event)| event.reason.map(Reason::as_str)))
        .bind(now)
        .execute(transaction)
        .await?;
    Ok(())
}
