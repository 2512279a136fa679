//! The one statement that writes users and their dates, and the plan that follows from it.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, Postgres, Transaction};
use uuid::Uuid;

use super::super::plan::{WrittenEvents, insert_events};
use super::super::replan::replan;
use super::super::{InstallationKey, Result, StoreError};
use super::Written;
use super::known::Locked;
use super::rows::date_columns;
use crate::calendar::{AnnualDate, LeapDay, SendAt};
use crate::model::{BIRTHDAY, NewUser, Occasion, Schedule};

/// A user to write. Of several with the same id or external id, none may be in one statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) id: Uuid,
    /// Instead of the one in `user`.
    pub(super) external_id: Option<&'a str>,
    pub(super) user: &'a NewUser,
}

/// The circumstances of a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) key: &'a InstallationKey,
    pub(super) schedule: &'a Schedule,
    pub(super) now: DateTime<Utc>,
    /// How far all users have been planned.
    pub(super) through: Option<NaiveDate>,
}

/// Writes `rows`, of which those that exist are `locked`, and plans them. Returns the users that were created or updated, and
/// what was planned.
///
/// # Errors
/// [`StoreError::Overtaken`]: another transaction was faster. The database refuses, for instance because an external id is taken.
pub(super) async fn upsert(
    transaction: &mut Transaction<'_, Postgres>,
    terms: Terms<'_>,
    rows: &[Row<'_>],
    locked: &HashMap<Uuid, Locked>,
) -> Result<(HashMap<Uuid, Written>, WrittenEvents)> {
    let Terms { schedule, now, through, .. } = terms;
    let mut changed = Vec::new();
    if !locked.is_empty() {
        note_leap_day_rules(transaction, schedule, now, rows).await?;
        changed = remove_dates(transaction, rows).await?;
    }
    let written: Vec<(Uuid, bool)> = sqlx::query_as_with(UPSERT, Columns::of(rows, changed).arguments()?)
        .bind(now)
        .fetch_all(&mut **transaction)
        .await?;
    // An id that was free at the lock was taken by another transaction.
    if written.iter().any(|(id, created)| *created == locked.contains_key(id)) {
        return Err(StoreError::Overtaken);
    }
    let outcome = |created| {
        if created { Written::Created } else { Written::Updated }
    };
    let written: HashMap<Uuid, Written> =
        written.into_iter().map(|(id, created)| (id, outcome(created))).collect();
    let created = || rows.iter().filter(|row| written.get(&row.id) == Some(&Written::Created));
    check_former_ids(transaction, terms.key, created()).await?;
    let mut events = WrittenEvents::default();
    if let Some(through) = through {
        let occasions = created().flat_map(|row| occasions_of(row, now));
        let new: Vec<_> = occasions
            .flat_map(|occasion| schedule.events_through(&occasion, now, through).collect::<Vec<_>>())
            .collect();
        events = insert_events(transaction, now, &new).await?;
    }
    let updated = written.iter().filter(|(_, outcome)| **outcome == Written::Updated);
    let updated: Vec<Uuid> = updated.map(|(id, _)| *id).collect();
    if !updated.is_empty() {
        let moved = replan(transaction, schedule, now, through, &updated).await?;
        events.planned += moved.planned;
        events.skipped += moved.skipped;
    }
    Ok((written, events))
}

/// Returns each user that was created (`xmax` is 0) or updated. Only what differs is written. A date that changed counts as
/// learned now. In the order of the external ids, so that two statements do not wait for each other.
///
/// Existing rows are found by the conflict, which always uses the index. A join would be planned once, while the tables are small,
/// to read all of them.
const UPSERT: &str = "
WITH n AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::time[], $7::text[])
        AS n(id, external_id, first_name, last_name, time_zone, send_at, leap_day)
), d AS (
    INSERT INTO occasions AS o (user_id, kind, year, month, day, known_at)
    SELECT n.user_id, n.kind, n.year, n.month, n.day, $14
    FROM unnest($8::uuid[], $9::text[], $10::smallint[], $11::smallint[], $12::smallint[])
        AS n(user_id, kind, year, month, day)
    ON CONFLICT (user_id, kind) DO UPDATE
    SET year = excluded.year, month = excluded.month, day = excluded.day,
        known_at = CASE WHEN (o.month, o.day) = (excluded.month, excluded.day) THEN o.known_at ELSE excluded.known_at END
    WHERE (o.year, o.month, o.day) IS DISTINCT FROM (excluded.year, excluded.month, excluded.day)
    RETURNING user_id
), u AS (
    INSERT INTO users AS u (id, external_id, first_name, last_name, time_zone, send_at, leap_day, created_at, updated_at)
    SELECT id, external_id, first_name, last_name, time_zone, send_at, leap_day, $14, $14 FROM n ORDER BY external_id, id
    ON CONFLICT (id) DO UPDATE
    SET external_id = excluded.external_id, first_name = excluded.first_name, last_name = excluded.last_name,
        time_zone = excluded.time_zone, send_at = excluded.send_at, leap_day = excluded.leap_day,
        version = u.version + 1, updated_at = excluded.updated_at
    WHERE (u.external_id, u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day) IS DISTINCT FROM
          (excluded.external_id, excluded.first_name, excluded.last_name, excluded.time_zone, excluded.send_at,
           excluded.leap_day)
       OR u.id IN (SELECT user_id FROM d) OR u.id = ANY($13)
    RETURNING u.id, xmax = 0 AS created
)
SELECT id, created FROM u";

/// The parameters of [`UPSERT`], column by column.
#[derive(Debug, Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    external_ids: Vec<Option<&'a str>>,
    first_names: Vec<&'a str>,
    last_names: Vec<&'a str>,
    time_zones: Vec<&'a str>,
    send_ats: Vec<Option<NaiveTime>>,
    leap_days: Vec<Option<&'a str>>,
    date_users: Vec<Uuid>,
    kinds: Vec<&'a str>,
    years: Vec<Option<i16>>,
    months: Vec<i16>,
    days: Vec<i16>,
    /// Users of whom a date was removed.
    changed: Vec<Uuid>,
}

impl<'a> Columns<'a> {
    fn of(rows: &[Row<'a>], changed: Vec<Uuid>) -> Self {
        let mut all = Self { changed, ..Self::default() };
        for Row { id, external_id, user } in rows {
            all.ids.push(*id);
            all.external_ids.push(*external_id);
            all.first_names.push(&user.first_name);
            all.last_names.push(&user.last_name);
            all.time_zones.push(user.time_zone.name());
            all.send_ats.push(user.send_at.map(SendAt::time));
            all.leap_days.push(user.leap_day.map(LeapDay::as_str));
            for (kind, date) in dates_of(user) {
                let Some((year, month, day)) = date.map(date_columns) else {
                    continue;
                };
                all.date_users.push(*id);
                all.kinds.push(kind);
                all.years.push(year);
                all.months.push(month);
                all.days.push(day);
            }
        }
        all
    }

    fn arguments(&self) -> Result<PgArguments> {
        let mut arguments = PgArguments::default();
        arguments
            .add(&self.ids)
            .and_then(|()| arguments.add(&self.external_ids))
            .and_then(|()| arguments.add(&self.first_names))
            .and_then(|()| arguments.add(&self.last_names))
            .and_then(|()| arguments.add(&self.time_zones))
            .and_then(|()| arguments.add(&self.send_ats))
            .and_then(|()| arguments.add(&self.leap_days))
            .and_then(|()| arguments.add(&self.date_users))
            .and_then(|()| arguments.add(&self.kinds))
            .and_then(|()| arguments.add(&self.years))
            .and_then(|()| arguments.add(&self.months))
            .and_then(|()| arguments.add(&self.days))
            .and_then(|()| arguments.add(&self.changed))
            .map_err(sqlx::Error::Encode)?;
        Ok(arguments)
    }
}

/// Sets `known_at` of dates on 29 February where `rows` change what that date means in this year. Otherwise a user whose rule
/// changes from 1 March to 28 February on 1 March would be owed a greeting for yesterday.
///
/// In a leap year the rule means nothing. (Zones differ by a day at most, which is far from 29 February at the turn of the year.)
async fn note_leap_day_rules(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    rows: &[Row<'_>],
) -> Result<()> {
    if now.date_naive().leap_year() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE occasions o SET known_at = $3
         FROM unnest($1::uuid[], $2::text[]) AS n(id, leap_day) JOIN users u ON u.id = n.id
         WHERE o.user_id = u.id AND o.month = 2 AND o.day = 29 AND coalesce(u.leap_day, $4) <> coalesce(n.leap_day, $4)",
    )
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.user.leap_day.map(LeapDay::as_str)).collect::<Vec<_>>())
    .bind(now)
    .bind(schedule.leap_day.as_str())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Removes the dates that `rows` do not have any more. Returns the users of whom one was removed.
async fn remove_dates(transaction: &mut Transaction<'_, Postgres>, rows: &[Row<'_>]) -> Result<Vec<Uuid>> {
    let removed = rows.iter().flat_map(|row| {
        let none = dates_of(row.user).filter(|(_, date)| date.is_none());
        none.map(|(kind, _)| (row.id, kind))
    });
    let (users, kinds): (Vec<Uuid>, Vec<&str>) = removed.unzip();
    if users.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar(
        "DELETE FROM occasions o USING unnest($1::uuid[], $2::text[]) AS n(user_id, kind)
         WHERE o.user_id = n.user_id AND o.kind = n.kind RETURNING o.user_id",
    )
    .bind(users)
    .bind(kinds)
    .fetch_all(&mut **transaction)
    .await?)
}

/// Checks again, after the insert: it may have waited for a deletion of the same external id, whose former id the lookup before
/// could not see.
///
/// # Errors
/// [`StoreError::Overtaken`]: a user of `created` was deleted before, and had another id.
async fn check_former_ids<'a>(
    transaction: &mut Transaction<'_, Postgres>,
    key: &InstallationKey,
    created: impl Iterator<Item = &'a Row<'a>>,
) -> Result<()> {
    let named = created.filter_map(|row| Some((row.id, key.external_id(row.external_id?))));
    let (ids, hashes): (Vec<Uuid>, Vec<[u8; 32]>) = named.unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let overlooked: bool = sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT FROM unnest($1::uuid[], $2::bytea[]) AS n(id, hash) JOIN former_users f ON f.external_id_hash = n.hash
             WHERE f.user_id <> n.id AND NOT EXISTS (SELECT FROM users u WHERE u.id = f.user_id))",
    )
    .bind(ids)
    .bind(hashes.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
    .fetch_one(&mut **transaction)
    .await?;
    if overlooked { Err(StoreError::Overtaken) } else { Ok(()) }
}

/// The birthday and the others.
fn dates_of(user: &NewUser) -> impl Iterator<Item = (&str, Option<AnnualDate>)> {
    let others = user.occasions.iter().map(|(kind, date)| (kind.as_str(), *date));
    std::iter::once((BIRTHDAY, Some(user.birth_date))).chain(others)
}

/// What planning needs of a new user.
fn occasions_of(row: &Row<'_>, now: DateTime<Utc>) -> impl Iterator<Item = Occasion> {
    let Row { id, user, .. } = *row;
    dates_of(user).filter_map(move |(kind, date)| {
        Some(Occasion {
            user_id: id,
            kind: kind.to_owned(),
            date: date?,
            time_zone: user.time_zone,
            send_at: user.send_at,
            leap_day: user.leap_day,
            known_at: now,
        })
    })
}
