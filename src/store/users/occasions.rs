//! The dates of users, by kind.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::super::Result;
use super::rows::date_columns;
use crate::calendar::{AnnualDate, LeapDay};
use crate::model::{BIRTHDAY, NewUser, Occasion, Schedule};

/// Dates to write and to take away.
#[derive(Debug, Default)]
pub(super) struct Dates<'a> {
    pub(super) users: Vec<Uuid>,
    pub(super) kinds: Vec<&'a str>,
    pub(super) years: Vec<Option<i16>>,
    pub(super) months: Vec<i16>,
    pub(super) days: Vec<i16>,
    gone: Vec<(Uuid, &'a str)>,
}

impl<'a> Dates<'a> {
    /// All dates of `user`.
    pub(super) fn add(&mut self, id: Uuid, user: &'a NewUser) {
        for (kind, date) in dates_of(user) {
            let Some(date) = date else {
                self.gone.push((id, kind));
                continue;
            };
            let (year, month, day) = date_columns(date);
            self.users.push(id);
            self.kinds.push(kind);
            self.years.push(year);
            self.months.push(month);
            self.days.push(day);
        }
    }

    /// Writes them; gives those of whom one is new or another than before. A date that changed counts as learned at
    /// `now`.
    pub(super) async fn write(
        self,
        transaction: &mut Transaction<'_, Postgres>,
        now: DateTime<Utc>,
    ) -> Result<HashSet<Uuid>> {
        let mut changed: HashSet<Uuid> = HashSet::new();
        if !self.gone.is_empty() {
            let (users, kinds): (Vec<Uuid>, Vec<&str>) = self.gone.into_iter().unzip();
            let deleted: Vec<Uuid> = sqlx::query_scalar(
                "DELETE FROM occasions o USING unnest($1::uuid[], $2::text[]) AS n(user_id, kind)
                 WHERE o.user_id = n.user_id AND o.kind = n.kind RETURNING o.user_id",
            )
            .bind(users)
            .bind(kinds)
            .fetch_all(&mut **transaction)
            .await?;
            changed.extend(deleted);
        }
        let written: Vec<Uuid> = sqlx::query_scalar(
            "INSERT INTO occasions AS o (user_id, kind, year, month, day, known_at)
             SELECT n.user_id, n.kind, n.year, n.month, n.day, $6
             FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::smallint[], $5::smallint[])
                 AS n(user_id, kind, year, month, day)
             ON CONFLICT (user_id, kind) DO UPDATE
             SET year = excluded.year, month = excluded.month, day = excluded.day,
                 known_at = CASE WHEN (o.month, o.day) = (excluded.month, excluded.day)
                            THEN o.known_at ELSE excluded.known_at END
             WHERE (o.year, o.month, o.day) IS DISTINCT FROM (excluded.year, excluded.month, excluded.day)
             RETURNING user_id",
        )
        .bind(self.users)
        .bind(self.kinds)
        .bind(self.years)
        .bind(self.months)
        .bind(self.days)
        .bind(now)
        .fetch_all(&mut **transaction)
        .await?;
        changed.extend(written);
        Ok(changed)
    }
}

/// The birthday and the others.
pub(super) fn dates_of(user: &NewUser) -> impl Iterator<Item = (&str, Option<AnnualDate>)> {
    let others = user.occasions.iter().map(|(kind, date)| (kind.as_str(), *date));
    std::iter::once((BIRTHDAY, Some(user.birth_date))).chain(others)
}

/// Raises the version of `users`, for whom only a date changed.
pub(super) async fn raise_versions(
    transaction: &mut Transaction<'_, Postgres>,
    now: DateTime<Utc>,
    users: &[Uuid],
) -> Result<()> {
    sqlx::query("UPDATE users SET version = version + 1, updated_at = $2 WHERE id = ANY($1)")
        .bind(users)
        .bind(now)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// What 29 February means to these users in this year may be about to change: then their dates on it count as learned at
/// `now`. Otherwise somebody for whom 28 February begins to count on 1 March would be owed a greeting for yesterday.
///
/// To be called before the users are written; looks only at those of whom some date is 29 February. They are known by the
/// id that is given, else by their external id.
pub(super) async fn note_leap_day_rules(
    transaction: &mut Transaction<'_, Postgres>,
    schedule: &Schedule,
    now: DateTime<Utc>,
    users: impl Iterator<Item = (Option<Uuid>, &NewUser)>,
) -> Result<()> {
    if !leap_day_rule_matters(now) {
        return Ok(());
    }
    let on_leap_day =
        |user: &NewUser| dates_of(user).any(|(_, date)| date.is_some_and(AnnualDate::is_leap_day));
    let users: Vec<(Option<Uuid>, &NewUser)> = users.filter(|(_, user)| on_leap_day(user)).collect();
    if users.is_empty() {
        return Ok(());
    }
    let external_id = |(id, user): &(Option<Uuid>, &NewUser)| match id {
        None => user.external_id.clone(),
        Some(_) => None,
    };
    sqlx::query(
        "UPDATE occasions o SET known_at = $4
         FROM users u JOIN unnest($1::uuid[], $2::text[], $3::text[]) AS n(id, external_id, leap_day)
                      ON u.id = n.id OR u.external_id = n.external_id
         WHERE o.user_id = u.id AND o.month = 2 AND o.day = 29 AND coalesce(u.leap_day, $5) <> coalesce(n.leap_day, $5)",
    )
    .bind(users.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(users.iter().map(external_id).collect::<Vec<_>>())
    .bind(
        users
            .iter()
            .map(|(_, user)| user.leap_day.map(LeapDay::as_str))
            .collect::<Vec<_>>(),
    )
    .bind(now)
    .bind(schedule.leap_day.as_str())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Whether the rules for 29 February mean anything at `now`: in a year that has one, they do not. Zones differ by a day at
/// the most, which is far from that date at the turn of the year.
pub(super) fn leap_day_rule_matters(now: DateTime<Utc>) -> bool {
    !now.date_naive().leap_year()
}

/// What planning needs of `user`, new with this id.
pub(super) fn occasions_of(id: Uuid, user: &NewUser, now: DateTime<Utc>) -> impl Iterator<Item = Occasion> {
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
