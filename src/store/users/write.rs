//! Writes users, one or a batch: looks up the ids, begins a transaction and locks the rows, and only then reads and writes them. A
//! lookup that the lock contradicts is [`StoreError::ConcurrentWrite`]; the caller retries the call.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{UserChange, UserRef};
use crate::calendar::{AnnualDate, LeapDay, SendAt};
use crate::model::{BIRTHDAY, ContactType, NewUser, Occasion, Schedule, Version};
use crate::store::bucket_locks::lock_buckets;
use crate::store::events::write::{WrittenEvents, insert_events, replan_users};
use crate::store::planned_days::planned_through;
use crate::store::{InstallationKey, Result, Store, StoreError, column};

/// Existing and deleted users at the time of the lookup. Nothing is locked yet.
#[derive(Debug, Default)]
pub(super) struct ExistingUsers {
    pub(super) external_ids: HashMap<Uuid, Option<String>>,
    pub(super) by_external_id: HashMap<String, Uuid>,
    deleted: HashMap<String, Uuid>,
}

impl ExistingUsers {
    pub(super) async fn find(
        store: &Store,
        key: &InstallationKey,
        ids: &[Uuid],
        external_ids: &[&str],
    ) -> Result<Self> {
        let sql = "
            SELECT id, external_id, false FROM users WHERE id = ANY($1) OR external_id = ANY($2)
            UNION ALL
            SELECT d.user_id, n.external_id, true
            FROM unnest($2::text[], $3::bytea[]) AS n(external_id, hash)
            JOIN deleted_users d ON d.external_id_hash = n.hash
            WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = d.user_id)";
        let rows: Vec<(Uuid, Option<String>, bool)> = sqlx::query_as(sql)
            .bind(ids)
            .bind(external_ids)
            .bind(column(external_ids, |id| key.external_id_hash(id)))
            .fetch_all(&store.pool)
            .await?;
        let mut existing = Self::default();
        for (id, external_id, deleted) in rows {
            if deleted {
                existing.deleted.extend(external_id.map(|external_id| (external_id, id)));
            } else {
                let by_external_id = external_id.clone().map(|external_id| (external_id, id));
                existing.by_external_id.extend(by_external_id);
                existing.external_ids.insert(id, external_id);
            }
        }
        Ok(existing)
    }

    /// Returns the id of the user with this external id, or of the deleted user who had it.
    pub(super) fn id(&self, external_id: &str) -> Option<Uuid> {
        let id = self.by_external_id.get(external_id);
        id.or_else(|| self.deleted.get(external_id)).copied()
    }

    /// Fails with [`StoreError::ConcurrentWrite`] if one of `ids` was written since the lookup.
    pub(super) fn check(&self, locked: &LockedUsers, ids: &[Uuid]) -> Result<()> {
        let same = |id| self.external_ids.get(id) == locked.get(id).map(|row| &row.external_id);
        if ids.iter().all(same) { Ok(()) } else { Err(StoreError::ConcurrentWrite) }
    }
}

#[derive(Debug)]
pub(super) struct LockedUser {
    pub(super) external_id: Option<String>,
    pub(super) version: Version,
}

pub(super) type LockedUsers = HashMap<Uuid, LockedUser>;

#[derive(FromRow)]
struct UserRow {
    id: Uuid,
    external_id: Option<String>,
    version: i64,
    created_at: DateTime<Utc>,
}

/// Begins to write the users with these `ids`: waits for planners of their buckets, and locks the existing rows.
/// The rows are read after the lock, by other statements: a statement that did both would wait for another edit, and then read the
/// dates from before that edit.
pub(super) async fn begin(
    store: &Store,
    ids: &[Uuid],
) -> Result<(Transaction<'static, Postgres>, LockedUsers)> {
    let mut transaction = store.begin().await?;
    lock_buckets(&mut transaction, ids).await?;
    let sql =
        "SELECT id, external_id, version, created_at FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    let rows: Vec<UserRow> = sqlx::query_as(sql).bind(ids).fetch_all(&mut *transaction).await?;
    let locked = rows.into_iter().map(|UserRow { id, external_id, version, created_at }| {
        (id, LockedUser { external_id, version: Version::new(version, created_at) })
    });
    Ok((transaction, locked.collect()))
}

/// Begins to write one user, and returns its id. The id is new without `user`, and for an unknown external id.
pub(super) async fn begin_one(
    store: &Store,
    key: &InstallationKey,
    user: Option<UserRef<'_>>,
) -> Result<(Uuid, Transaction<'static, Postgres>, LockedUsers)> {
    let (id, existing) = match user {
        None => (Uuid::now_v7(), None),
        Some(UserRef::Id(id)) => (id, None),
        Some(UserRef::External(external_id)) => {
            let existing = ExistingUsers::find(store, key, &[], &[external_id]).await?;
            (existing.id(external_id).unwrap_or_else(Uuid::now_v7), Some(existing))
        }
    };
    let (transaction, locked) = begin(store, &[id]).await?;
    if let Some(existing) = existing {
        existing.check(&locked, &[id])?;
    }
    Ok((id, transaction, locked))
}

/// A user to write. Ids and external ids are unique within a statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) id: Uuid,
    /// Takes precedence over the one in `user`.
    pub(super) external_id: Option<&'a str>,
    pub(super) user: &'a NewUser,
}

impl<'a> Row<'a> {
    /// Returns the birthday and the dates of other kinds; none removes a date.
    pub(super) fn dates(self) -> impl Iterator<Item = (&'a str, Option<AnnualDate>)> {
        let others = self.user.occasions.iter().map(|(kind, date)| (kind.as_str(), *date));
        std::iter::once((BIRTHDAY, Some(self.user.birth_date))).chain(others)
    }

    /// Returns the addresses; none removes an address.
    pub(super) fn addresses(self) -> impl Iterator<Item = (ContactType, Option<&'a str>)> {
        self.user.addresses.iter().map(|(contact, address)| (*contact, address.as_deref()))
    }

    fn occasions(self, now: DateTime<Utc>) -> impl Iterator<Item = Occasion> {
        self.dates().filter_map(move |(kind, date)| {
            Some(Occasion {
                user_id: self.id,
                kind: kind.to_owned(),
                date: date?,
                time_zone: self.user.time_zone,
                send_at: self.user.send_at,
                leap_day: self.user.leap_day,
                known_at: now,
            })
        })
    }
}

#[derive(Debug)]
pub(super) struct Changes(HashMap<Uuid, bool>);

impl Changes {
    pub(super) fn of(&self, id: Uuid) -> UserChange {
        match self.0.get(&id) {
            Some(true) => UserChange::Created,
            Some(false) => UserChange::Updated,
            None => UserChange::Unchanged,
        }
    }
}

pub(super) async fn upsert(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    schedule: &Schedule,
    now: DateTime<Utc>,
    rows: &[Row<'_>],
    locked: &LockedUsers,
) -> Result<(Changes, WrittenEvents)> {
    let through = planned_through(transaction, schedule, now).await?;
    let mut with_removals = Vec::new();
    if !locked.is_empty() {
        update_known_at(transaction, schedule, now, rows).await?;
        with_removals = remove_dates(transaction, rows).await?;
        with_removals.extend(remove_addresses(transaction, rows, locked).await?);
    }
    let changes = Changes(write_rows(transaction, key, now, rows, &with_removals).await?);
    // An id that was free at the lock was taken by another transaction.
    if changes.0.iter().any(|(id, created)| *created == locked.contains_key(id)) {
        return Err(StoreError::ConcurrentWrite);
    }
    let created: Vec<Row<'_>> =
        rows.iter().filter(|row| changes.of(row.id) == UserChange::Created).copied().collect();
    check_deleted_ids(transaction, key, &created).await?;
    let mut events = WrittenEvents::default();
    if let Some(through) = through {
        let mut new = Vec::new();
        for occasion in created.iter().flat_map(|row| row.occasions(now)) {
            new.extend(schedule.events_through(&occasion, now, through));
        }
        events = insert_events(transaction, now, &new).await?;
    }
    let updated: Vec<Uuid> = changes.0.iter().filter(|(_, created)| !**created).map(|(id, _)| *id).collect();
    if !updated.is_empty() {
        let (moved, unreadable) = replan_users(transaction, schedule, now, through, &updated).await?;
        if let Some((_, error)) = unreadable.into_iter().next() {
            return Err(StoreError::Unreadable(error));
        }
        events = events.add(moved);
    }
    Ok((changes, events))
}

/// Returns each user that was created (`xmax` is 0) or updated. Writes only what differs; a changed date counts as learned now. The
/// order by external id keeps two statements from a deadlock. The conflict clause finds existing rows by the index; the plan of a
/// join, made while the tables are small, would read all rows.
const UPSERT: &str = "
WITH n AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::time[], $7::text[], $15::text[])
        AS n(id, external_id, first_name, last_name, time_zone, send_at, leap_day, locale)
), c AS (
    INSERT INTO contact_points AS c (user_id, type, address, address_hash)
    SELECT n.user_id, n.type, n.address, n.hash
    FROM unnest($16::uuid[], $17::text[], $18::text[], $19::bytea[]) AS n(user_id, type, address, hash)
    ON CONFLICT (user_id, type) DO UPDATE SET address = excluded.address, address_hash = excluded.address_hash
    WHERE c.address <> excluded.address
    RETURNING user_id
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
    INSERT INTO users AS u (id, external_id, first_name, last_name, time_zone, send_at, leap_day, locale, created_at,
                            updated_at)
    SELECT id, external_id, first_name, last_name, time_zone, send_at, leap_day, locale, $14, $14
    FROM n ORDER BY external_id, id
    ON CONFLICT (id) DO UPDATE
    SET external_id = excluded.external_id, first_name = excluded.first_name, last_name = excluded.last_name,
        time_zone = excluded.time_zone, send_at = excluded.send_at, leap_day = excluded.leap_day,
        locale = excluded.locale, version = u.version + 1, updated_at = excluded.updated_at
    WHERE (u.external_id, u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day, u.locale) IS DISTINCT FROM
          (excluded.external_id, excluded.first_name, excluded.last_name, excluded.time_zone, excluded.send_at,
           excluded.leap_day, excluded.locale)
       OR u.id IN (SELECT user_id FROM d) OR u.id IN (SELECT user_id FROM c) OR u.id = ANY($13)
    RETURNING u.id, xmax = 0 AS created
)
SELECT id, created FROM u";

/// Writes `rows`. The users of `changed` count as updated even if their rows are the same.
async fn write_rows(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    now: DateTime<Utc>,
    rows: &[Row<'_>],
    changed: &[Uuid],
) -> Result<HashMap<Uuid, bool>> {
    let dates =
        rows.iter().flat_map(|row| row.dates().filter_map(|(kind, date)| Some((row.id, kind, date?))));
    let dates: Vec<(Uuid, &str, AnnualDate)> = dates.collect();
    let addresses = rows
        .iter()
        .flat_map(|row| row.addresses().filter_map(|(contact, address)| Some((row.id, contact, address?))));
    let addresses: Vec<(Uuid, ContactType, &str)> = addresses.collect();
    let written: Vec<(Uuid, bool)> = sqlx::query_as(UPSERT)
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.external_id))
        .bind(column(rows, |row| row.user.first_name.as_str()))
        .bind(column(rows, |row| row.user.last_name.as_str()))
        .bind(column(rows, |row| row.user.time_zone.name()))
        .bind(column(rows, |row| row.user.send_at.map(SendAt::time)))
        .bind(column(rows, |row| row.user.leap_day.map(LeapDay::as_str)))
        .bind(column(&dates, |(user, ..)| *user))
        .bind(column(&dates, |(_, kind, _)| *kind))
        .bind(column(&dates, |(.., date)| date.year().map(|year| year as i16)))
        .bind(column(&dates, |(.., date)| date.month() as i16))
        .bind(column(&dates, |(.., date)| date.day() as i16))
        .bind(changed)
        .bind(now)
        .bind(column(rows, |row| row.user.locale.as_deref()))
        .bind(column(&addresses, |(user, ..)| *user))
        .bind(column(&addresses, |(_, contact, _)| contact.as_str()))
        .bind(column(&addresses, |(.., address)| *address))
        .bind(column(&addresses, |(.., address)| key.address_hash(address)))
        .fetch_all(transaction)
        .await?;
    Ok(written.into_iter().collect())
}

/// Sets `known_at` of dates on 29 February where `rows` change the user's rule. Otherwise a rule that changes on 1 March from 1 March
/// to 28 February would make yesterday's greeting due. In a leap year the rule has no effect.
async fn update_known_at(
    transaction: &mut PgConnection,
    schedule: &Schedule,
    now: DateTime<Utc>,
    rows: &[Row<'_>],
) -> Result<()> {
    if now.date_naive().leap_year() {
        return Ok(());
    }
    let sql = "
        UPDATE occasions o SET known_at = $3
        FROM unnest($1::uuid[], $2::text[]) AS n(id, leap_day) JOIN users u ON u.id = n.id
        WHERE o.user_id = u.id AND o.month = 2 AND o.day = 29 AND coalesce(u.leap_day, $4) <> coalesce(n.leap_day, $4)";
    sqlx::query(sql)
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.user.leap_day.map(LeapDay::as_str)))
        .bind(now)
        .bind(schedule.leap_day.as_str())
        .execute(transaction)
        .await?;
    Ok(())
}

async fn remove_dates(transaction: &mut PgConnection, rows: &[Row<'_>]) -> Result<Vec<Uuid>> {
    let removed = rows.iter().flat_map(|row| {
        let none = row.dates().filter(|(_, date)| date.is_none());
        none.map(|(kind, _)| (row.id, kind))
    });
    let (users, kinds): (Vec<Uuid>, Vec<&str>) = removed.unzip();
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "
        DELETE FROM occasions o USING unnest($1::uuid[], $2::text[]) AS n(user_id, kind)
        WHERE o.user_id = n.user_id AND o.kind = n.kind RETURNING o.user_id";
    Ok(sqlx::query_scalar(sql).bind(users).bind(kinds).fetch_all(transaction).await?)
}

/// Removes the addresses that `rows` do not have any more. One look-up for each user that exists, whatever the number of types.
async fn remove_addresses(
    transaction: &mut PgConnection,
    rows: &[Row<'_>],
    locked: &LockedUsers,
) -> Result<Vec<Uuid>> {
    let removed = rows.iter().filter(|row| locked.contains_key(&row.id)).filter_map(|row| {
        let none = row.addresses().filter(|(_, address)| address.is_none());
        let types: Vec<&str> = none.map(|(contact, _)| contact.as_str()).collect();
        (!types.is_empty()).then(|| (row.id, types.join(",")))
    });
    let (users, types): (Vec<Uuid>, Vec<String>) = removed.unzip();
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "
        DELETE FROM contact_points p USING unnest($1::uuid[], $2::text[]) AS n(user_id, types)
        WHERE p.user_id = n.user_id AND p.type = ANY(string_to_array(n.types, ',')) RETURNING p.user_id";
    Ok(sqlx::query_scalar(sql).bind(users).bind(types).fetch_all(transaction).await?)
}

/// Checks after the insert for a deleted user with the same external id, whose deletion the insert may have waited for.
async fn check_deleted_ids(
    transaction: &mut PgConnection,
    key: &InstallationKey,
    created: &[Row<'_>],
) -> Result<()> {
    let named = created.iter().filter_map(|row| Some((row.id, key.external_id_hash(row.external_id?))));
    let (ids, hashes): (Vec<Uuid>, Vec<[u8; 32]>) = named.unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let sql = "
        SELECT EXISTS (
            SELECT FROM unnest($1::uuid[], $2::bytea[]) AS n(id, hash) JOIN deleted_users d ON d.external_id_hash = n.hash
            WHERE d.user_id <> n.id AND NOT EXISTS (SELECT FROM users u WHERE u.id = d.user_id))";
    let missed: bool = sqlx::query_scalar(sql).bind(ids).bind(hashes).fetch_one(transaction).await?;
    if missed { Err(StoreError::ConcurrentWrite) } else { Ok(()) }
}
