//! Many users at once, as an import writes them.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::plan::{WrittenEvents, insert_events, planned_through};
use super::super::replan::replan;
use super::super::{Result, Store, StoreError};
use super::columns::Columns;
use super::identify::{Target, identify};
use super::occasions::{Dates, note_leap_day_rules, occasions_of, raise_versions};
use super::{UserKey, Written};
use crate::model::{NewUser, Schedule};

impl Store {
    /// Writes `users` in one transaction, each under its key, and plans them under `schedule`. No key may come twice, but
    /// beside a [`UserKey::Own`]: see [`Written::Later`]. Gives, in the same order, the id of each and what became of it.
    ///
    /// # Errors
    /// The database refuses or is away; then none is written.
    pub async fn write_users(
        &self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        users: &[(UserKey, NewUser)],
    ) -> Result<Vec<(Uuid, Written)>> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            let targets = identify(&mut transaction, users).await?;
            let updated = users
                .iter()
                .zip(&targets)
                .filter_map(|((_, user), target)| match target {
                    Target::External(_) if user.external_id.is_some() => Some((None, user)),
                    Target::There(id) => Some((Some(*id), user)),
                    _ => None,
                });
            note_leap_day_rules(&mut transaction, schedule, now, updated).await?;
            let mut result = upsert_users(&mut transaction, now, users, &targets).await?;
            check_former_ids(&mut transaction, &targets, &result).await?;
            update_users(&mut transaction, now, users, &targets, &mut result).await?;
            let mut dates = Dates::default();
            for (((_, user), target), (id, outcome)) in users.iter().zip(&targets).zip(&result) {
                match target {
                    // One that is there under its own id stays as it is.
                    Target::Id(_) if *outcome != Written::Created => {}
                    Target::Not(..) => {}
                    _ => dates.add(*id, user),
                }
            }
            let changed_dates = dates.write(&mut transaction, now).await?;
            let mut only_dates = Vec::new();
            for (id, outcome) in &mut result {
                if *outcome == Written::Unchanged && changed_dates.contains(id) {
                    *outcome = Written::Updated;
                    only_dates.push(*id);
                }
            }
            if !only_dates.is_empty() {
                raise_versions(&mut transaction, now, &only_dates).await?;
            }
            let ids: Vec<Uuid> = result.iter().map(|(id, _)| *id).collect();
            let through = planned_through(&mut transaction, schedule, now, &ids).await?;
            let mut events = WrittenEvents::default();
            if let Some(through) = through {
                events = plan_created(&mut transaction, schedule, now, through, users, &result).await?;
            }
            let updated: Vec<Uuid> = result
                .iter()
                .filter(|(_, outcome)| *outcome == Written::Updated)
                .map(|(id, _)| *id)
                .collect();
            if !updated.is_empty() {
                let moved = replan(&mut transaction, schedule, now, through, &updated).await?;
                events.planned += moved.planned;
                events.skipped += moved.skipped;
            }
            transaction.commit().await?;
            events.count();
            Ok(result)
        })
        .await
    }
}

/// Where in the list of all those are whose target is one that is `wanted`, and what they are.
fn those<'a>(
    users: &'a [(UserKey, NewUser)],
    targets: &[Target],
    wanted: impl Fn(Target) -> bool,
) -> (Vec<usize>, Columns<'a>) {
    let all = users.iter().zip(targets).enumerate();
    all.filter(|(_, (_, target))| wanted(**target))
        .map(|(place, ((_, user), target))| (place, (target.id(), user)))
        .unzip()
}

/// Writes those who are known by their external id, or are new.
async fn upsert_users(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    users: &[(UserKey, NewUser)],
    targets: &[Target],
) -> Result<Vec<(Uuid, Written)>> {
    let (places, columns) = those(users, targets, |target| {
        matches!(target, Target::External(_) | Target::Id(_))
    });
    let by_external: Vec<bool> = places
        .iter()
        .map(|place| matches!(targets[*place], Target::External(_)))
        .collect();
    let rows: Vec<(i64, Uuid, bool, bool)> = sqlx::query_as_with(UPSERT_USERS, columns.arguments()?)
        .bind(&by_external)
        .bind(now)
        .fetch_all(&mut **transaction)
        .await?;
    let untouched = targets.iter().map(|target| match target {
        Target::Not(id, why) => (*id, *why),
        target => (target.id(), Written::Unchanged),
    });
    let mut result: Vec<(Uuid, Written)> = untouched.collect();
    let found: HashSet<usize> = rows
        .iter()
        .filter_map(|(position, ..)| usize::try_from(position - 1).ok())
        .collect();
    let overlooked = |(at, place): (usize, &usize)| {
        let asked = by_external[at] || matches!(users[*place].0, UserKey::Own(_));
        asked && !found.contains(&at)
    };
    // The insert waited for another, found nothing to change in what that wrote, and cannot see it yet.
    if places.iter().enumerate().any(overlooked) {
        return Err(StoreError::Overtaken);
    }
    for (position, id, created, updated) in rows {
        let outcome = match (created, updated) {
            (true, _) => Written::Created,
            (_, true) => Written::Updated,
            _ => Written::Unchanged,
        };
        let place = usize::try_from(position - 1).ok().and_then(|at| places.get(at));
        if let Some(slot) = place.and_then(|place| result.get_mut(*place)) {
            *slot = (id, outcome);
        }
    }
    Ok(result)
}

/// Who is deleted while we wait for the external id has an old id, which was not to be seen yet when the insert began.
///
/// # Errors
/// [`StoreError::Overtaken`]: there is such a one.
async fn check_former_ids(
    transaction: &mut Transaction<'_, Postgres>,
    targets: &[Target],
    written: &[(Uuid, Written)],
) -> Result<()> {
    let created: Vec<Uuid> = targets
        .iter()
        .zip(written)
        .filter(|(target, (_, outcome))| {
            matches!(target, Target::External(_)) && *outcome == Written::Created
        })
        .map(|(_, (id, _))| *id)
        .collect();
    if created.is_empty() {
        return Ok(());
    }
    let overlooked: bool = sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT FROM users u JOIN former_users f ON f.external_id_hash = sha256(convert_to(u.external_id, 'UTF8'))
             WHERE u.id = ANY($1) AND f.user_id <> u.id AND NOT EXISTS (SELECT FROM users x WHERE x.id = f.user_id))",
    )
    .bind(created)
    .fetch_one(&mut **transaction)
    .await?;
    if overlooked {
        Err(StoreError::Overtaken)
    } else {
        Ok(())
    }
}

/// Gives for each user that was written or was there its position, id, and what happened. (`xmax` is 0 in a row that
/// was just inserted, and not in one that was just updated.) Who was deleted and comes back gets the old id.
const UPSERT_USERS: &str = "
WITH n AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::time[], $7::text[], $8::bool[])
        WITH ORDINALITY
        AS n(id, external_id, first_name, last_name, time_zone, send_at, leap_day, by_external, position)
), by_external AS (
    INSERT INTO users AS u (id, external_id, first_name, last_name, time_zone, send_at, leap_day, created_at, updated_at)
    SELECT coalesce(f.user_id, n.id), external_id, first_name, last_name, time_zone, send_at, leap_day, $9, $9
    FROM n LEFT JOIN former_users f ON f.external_id_hash = sha256(convert_to(n.external_id, 'UTF8'))
                                   AND NOT EXISTS (SELECT FROM users x WHERE x.id = f.user_id)
    WHERE by_external
    ORDER BY external_id
    ON CONFLICT (external_id) DO UPDATE
    SET first_name = excluded.first_name, last_name = excluded.last_name, time_zone = excluded.time_zone,
        send_at = excluded.send_at, leap_day = excluded.leap_day, version = u.version + 1, updated_at = $9
    WHERE (u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day) IS DISTINCT FROM
          (excluded.first_name, excluded.last_name, excluded.time_zone, excluded.send_at, excluded.leap_day)
    RETURNING u.id, u.external_id, xmax = 0 AS created
), by_id AS (
    INSERT INTO users (id, external_id, first_name, last_name, time_zone, send_at, leap_day, created_at, updated_at)
    SELECT id, external_id, first_name, last_name, time_zone, send_at, leap_day, $9, $9 FROM n WHERE NOT by_external
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT n.position, x.id, x.created, NOT x.created FROM n JOIN by_external x USING (external_id) WHERE n.by_external
UNION ALL
SELECT n.position, n.id, true, false FROM n JOIN by_id USING (id)
UNION ALL
SELECT n.position, u.id, false, false FROM n JOIN users u USING (external_id)
WHERE n.by_external AND NOT EXISTS (SELECT FROM by_external x WHERE x.external_id = n.external_id)";

/// Writes those who are there under an id of bday's own.
///
/// # Errors
/// [`StoreError::Overtaken`]: somebody else has the external id by now.
async fn update_users(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    users: &[(UserKey, NewUser)],
    targets: &[Target],
    result: &mut [(Uuid, Written)],
) -> Result<()> {
    let (places, columns) = those(users, targets, |target| matches!(target, Target::There(_)));
    if places.is_empty() {
        return Ok(());
    }
    let changed: Vec<Uuid> = sqlx::query_scalar_with(
        "UPDATE users AS u
         SET external_id = coalesce(n.external_id, u.external_id), first_name = n.first_name, last_name = n.last_name,
             time_zone = n.time_zone, send_at = n.send_at, leap_day = n.leap_day, version = u.version + 1, updated_at = $8
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::time[], $7::text[])
             AS n(id, external_id, first_name, last_name, time_zone, send_at, leap_day)
         WHERE u.id = n.id AND (u.external_id, u.first_name, u.last_name, u.time_zone, u.send_at, u.leap_day)
               IS DISTINCT FROM
               (coalesce(n.external_id, u.external_id), n.first_name, n.last_name, n.time_zone, n.send_at, n.leap_day)
         RETURNING u.id",
        columns.arguments()?,
    )
    .bind(now)
    .fetch_all(&mut **transaction)
    .await
    .map_err(|error| match StoreError::from(error) {
        // Somebody else was given the external id since we looked.
        error if error.constraint() == Some("external_ids_are_unique") => StoreError::Overtaken,
        error => error,
    })?;
    let changed: HashSet<Uuid> = changed.into_iter().collect();
    for place in places {
        let (id, outcome) = &mut result[place];
        if changed.contains(id) {
            *outcome = Written::Updated;
        }
    }
    Ok(())
}

/// The events of those who were not there before: there is nothing to move, so nothing to read.
async fn plan_created(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    through: NaiveDate,
    users: &[(UserKey, NewUser)],
    written: &[(Uuid, Written)],
) -> Result<WrittenEvents> {
    let mut events = Vec::new();
    for ((_, user), (id, outcome)) in users.iter().zip(written) {
        if *outcome == Written::Created {
            for occasion in occasions_of(*id, user, now) {
                events.extend(schedule.events_through(&occasion, now, through));
            }
        }
    }
    insert_events(transaction, now, &events).await
}
