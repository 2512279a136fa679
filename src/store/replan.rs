//! Replan: moves the events of users that were edited, and of all users where the zone data or the rules have changed.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::plan::{WrittenEvents, insert_events, lock_users, planned_through};
use super::users::OccasionRow;
use super::{Result, Store, column};
use crate::model::{EventState, NewEvent, Occasion, Reason, Schedule};

const BASIS_LOCK: i64 = 0x6264_6179_0004;

/// Another process may continue a recomputation that made no progress for this long.
const ABANDONED_AFTER: TimeDelta = TimeDelta::seconds(30);

pub(super) type Unreadable = Vec<(Uuid, String)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recomputed {
    /// Pending events were computed with this zone data and these rules.
    Current,
    Elsewhere,
    Page {
        looked_at: u64,
        moved: Vec<Moved>,
        unreadable: Unreadable,
        last: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub event_id: Uuid,
    pub time_zone: String,
    pub from: DateTime<Utc>,
    /// When it is due now (UTC); none if it was deleted.
    pub to: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Reading {
    pub time_zone: String,
    pub at: DateTime<Utc>,
    pub local: NaiveDateTime,
}

/// The zone data and the rules that pending events were computed with.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Basis {
    /// As [`crate::pipeline::zone_data::version`] has it.
    pub zone_data: String,
    /// As [`Schedule::rules`] has it.
    pub rules: String,
}

#[derive(sqlx::FromRow)]
struct Progress {
    done: bool,
    ours: bool,
    alive: bool,
    after_at: Option<DateTime<Utc>>,
    after_id: Option<Uuid>,
}

impl Store {
    pub async fn planning_basis(&self) -> Result<Option<Basis>> {
        let sql = "SELECT zone_data, rules FROM planning_basis";
        self.run(sqlx::query_as(sql).fetch_optional(&self.pool)).await
    }

    /// Recomputes the next page of pending events, unless that was done with `basis`. The position is stored with each page, so
    /// that another process can continue. One process at a time; each user is locked as for an edit.
    pub async fn recompute_page(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        basis: &Basis,
        limit: u32,
    ) -> Result<Recomputed> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
                .bind(BASIS_LOCK)
                .fetch_one(&mut *transaction)
                .await?;
            let progress = progress(&mut transaction, now, basis).await?;
            if progress.as_ref().is_some_and(|progress| progress.done) {
                return Ok(Recomputed::Current);
            }
            // Two processes that compute to different ends would undo each other's pages.
            let busy = progress.as_ref().is_some_and(|progress| !progress.ours && progress.alive);
            if !locked || busy {
                return Ok(Recomputed::Elsewhere);
            }
            let ours = progress.filter(|progress| progress.ours);
            let after = ours.and_then(|progress| progress.after_at.zip(progress.after_id));
            let page = pending_page(&mut transaction, after, limit).await?;
            let users = column(&page, |(_, _, user)| *user);
            lock_users(&mut transaction, &users).await?;
            let through = planned_through(&mut transaction, schedule, now).await?;
            let before = still_pending(&mut transaction, &column(&page, |(_, event, _)| *event)).await?;
            let (written, unreadable) = replan(&mut transaction, schedule, now, through, &users).await?;
            let moved = moved(&mut transaction, before).await?;
            let last = page.len() < limit as usize;
            let position = page.last().filter(|_| !last).map(|(at, event, _)| (*at, *event));
            note(&mut transaction, now, basis, position).await?;
            transaction.commit().await?;
            written.count();
            Ok(Recomputed::Page { looked_at: page.len() as u64, moved, unreadable, last })
        })
        .await
    }

    pub async fn zones_in_use(&self) -> Result<Vec<(String, i64)>> {
        let sql = "SELECT time_zone, count(*) FROM users GROUP BY time_zone ORDER BY time_zone";
        self.run(sqlx::query_as(sql).fetch_all(&self.pool)).await
    }

    /// Returns local times by the *database's* zone data, for each pair of `time_zones` and `instants`. Zones that the database
    /// does not know are left out.
    pub async fn clock_readings(
        &self,
        time_zones: &[&str],
        instants: &[DateTime<Utc>],
    ) -> Result<Vec<Reading>> {
        // To ask for an unknown zone would be an error. Materialized, since it reads a directory.
        let sql = "
            WITH known AS MATERIALIZED (
                SELECT name FROM pg_timezone_names WHERE name = ANY($1))
            SELECT s.time_zone, s.at, timezone(s.time_zone, s.at) AS local
            FROM unnest($1::text[], $2::timestamptz[]) AS s(time_zone, at) JOIN known ON known.name = s.time_zone";
        self.run(sqlx::query_as(sql).bind(time_zones).bind(instants).fetch_all(&self.pool)).await
    }
}

async fn progress(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    basis: &Basis,
) -> Result<Option<Progress>> {
    let sql = "
        SELECT zone_data = $1 AND rules = $2 AS done,
               coalesce(next_zone_data = $1 AND next_rules = $2, false) AS ours,
               coalesce(next_rules IS NOT NULL AND progress_at > $3, false) AS alive, after_at, after_id
        FROM planning_basis";
    let progress = sqlx::query_as(sql)
        .bind(&basis.zone_data)
        .bind(&basis.rules)
        .bind(now - ABANDONED_AFTER)
        .fetch_optional(transaction);
    Ok(progress.await?)
}

async fn note(
    transaction: &mut PgConnection,
    now: DateTime<Utc>,
    basis: &Basis,
    position: Option<(DateTime<Utc>, Uuid)>,
) -> Result<()> {
    let sql = if position.is_none() {
        "INSERT INTO planning_basis (zone_data, rules, computed_at) VALUES ($1, $2, $3)
         ON CONFLICT (only_row) DO UPDATE
         SET zone_data = $1, rules = $2, computed_at = $3, next_zone_data = NULL, next_rules = NULL, after_at = NULL,
             after_id = NULL, progress_at = NULL"
    } else {
        "INSERT INTO planning_basis (zone_data, rules, computed_at, next_zone_data, next_rules, after_at, after_id, progress_at)
         VALUES ('', '', $3, $1, $2, $4, $5, $3)
         ON CONFLICT (only_row) DO UPDATE
         SET next_zone_data = $1, next_rules = $2, after_at = $4, after_id = $5, progress_at = $3"
    };
    let mut query = sqlx::query(sql).bind(&basis.zone_data).bind(&basis.rules).bind(now);
    if let Some((at, id)) = position {
        query = query.bind(at).bind(id);
    }
    query.execute(transaction).await?;
    Ok(())
}

async fn pending_page(
    transaction: &mut PgConnection,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: u32,
) -> Result<Vec<(DateTime<Utc>, Uuid, Uuid)>> {
    let (at, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()));
    let sql = "
        SELECT next_attempt_at, id, user_id FROM events
        WHERE next_attempt_at IS NOT NULL AND (next_attempt_at, id) > ($1, $2)
        ORDER BY next_attempt_at, id LIMIT $3";
    Ok(sqlx::query_as(sql).bind(at).bind(id).bind(i64::from(limit)).fetch_all(transaction).await?)
}

/// Returns those of `events` that no edit or claim has taken since they were read: event, due, the user's zone.
async fn still_pending(
    transaction: &mut PgConnection,
    events: &[Uuid],
) -> Result<Vec<(Uuid, DateTime<Utc>, String)>> {
    let sql = "
        SELECT e.id, e.due_at, coalesce(u.time_zone, '') FROM events e LEFT JOIN users u ON u.id = e.user_id
        WHERE e.id = ANY($1) AND e.state = 'pending'";
    Ok(sqlx::query_as(sql).bind(events).fetch_all(transaction).await?)
}

/// Returns those of the events `before` that are due at another instant now, or deleted.
async fn moved(
    transaction: &mut PgConnection,
    before: Vec<(Uuid, DateTime<Utc>, String)>,
) -> Result<Vec<Moved>> {
    let after: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("SELECT id, due_at FROM events WHERE id = ANY($1)")
            .bind(column(&before, |(id, ..)| *id))
            .fetch_all(transaction)
            .await?;
    let after: HashMap<Uuid, DateTime<Utc>> = after.into_iter().collect();
    let moved = before.into_iter().filter_map(|(event_id, from, time_zone)| {
        let to = after.get(&event_id).copied();
        (to != Some(from)).then_some(Moved { event_id, time_zone, from, to })
    });
    Ok(moved.collect())
}

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

/// Moves the events of `users` to where their occasions are now, and writes those that are missing. Users whom this version cannot
/// read are left as they are.
///
/// | the event of that local year | becomes |
/// | --- | --- |
/// | pending or queued, nothing sent yet | pending at the new instant; past or not, as a new one would be |
/// | the same, but its date is over, or does not take place | deleted: the year is free again |
/// | skipped, nothing sent yet | pending, if the new instant is still ahead |
/// | of a kind that is not in `schedule`, and the date is still there | as it is: another process knows the kind |
/// | a request was, or may have been sent | as it is: one greeting a year |
///
/// A queued event that moved is still in its pack. The worker that receives it drops an event that is not queued.
pub(super) async fn replan(
    transaction: &mut PgConnection,
    schedule: &Schedule,
    now: DateTime<Utc>,
    through: Option<NaiveDate>,
    users: &[Uuid],
) -> Result<(WrittenEvents, Unreadable)> {
    let sql = "
        SELECT o.user_id, o.kind, o.year, o.month, o.day, o.known_at, u.time_zone, u.send_at, u.leap_day
        FROM occasions o JOIN users u ON u.id = o.user_id WHERE o.user_id = ANY($1)";
    let rows: Vec<OccasionRow> = sqlx::query_as(sql).bind(users).fetch_all(&mut *transaction).await?;
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
        written = written.and(insert_events(transaction, now, &missing).await?);
    }
    Ok((written, unreadable.into_iter().collect()))
}

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
    let movable: Vec<Movable> = sqlx::query_as(sql).bind(users).fetch_all(&mut *transaction).await?;
    let (mut moved, mut gone): (Vec<(Uuid, NewEvent)>, Vec<Uuid>) = Default::default();
    for old in movable {
        let occasion =
            occasions.iter().find(|occasion| occasion.user_id == old.user_id && occasion.kind == old.kind);
        // A kind that only another process knows: that process has planned it.
        if occasion.is_some_and(|occasion| schedule.send_at(occasion).is_none()) {
            continue;
        }
        match occasion.and_then(|occasion| schedule.event(occasion, i32::from(old.local_year))) {
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
        sqlx::query("DELETE FROM events WHERE id = ANY($1)").bind(gone).execute(&mut *transaction).await?;
    }
    if moved.is_empty() {
        return Ok(0);
    }
    let sql = "
        UPDATE events e
        SET local_date = n.local_date, due_at = n.due_at, late_from = n.late_from, state = n.state::event_state,
            reason = n.reason, next_attempt_at = CASE WHEN n.reason IS NULL THEN n.due_at END, queued_at = NULL,
            finished_at = CASE WHEN n.reason IS NOT NULL THEN $7 END
        FROM unnest($1::uuid[], $2::date[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[])
            AS n(id, local_date, due_at, late_from, state, reason)
        WHERE e.id = n.id";
    sqlx::query(sql)
        .bind(column(&moved, |(id, _)| *id))
        .bind(column(&moved, |(_, event)| event.occurrence.local_date))
        .bind(column(&moved, |(_, event)| event.occurrence.due_at))
        .bind(column(&moved, |(_, event)| event.late_from))
        .bind(column(&moved, |(_, event)| event.state.as_str()))
        .bind(column(&moved, |(_, event)| event.reason.map(Reason::as_str)))
        .bind(now)
        .execute(transaction)
        .await?;
    Ok(moved.iter().filter(|(_, event)| event.state == EventState::Skipped).count() as u64)
}
