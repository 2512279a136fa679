//! How many greetings are due, per UTC day and minute of the year ahead: for planning capacity.
//!
//! Derived like the plan itself: the database groups people by what decides their instant (date, zone, send time, rule
//! for 29 February, kind), and the calendar computes one instant a group. So a million people cost some hundred
//! thousand computations, and memory is one counter a minute (2 MB a year), however many people there are.
//!
//! Not foreseen: who will be added, moved or deleted, what was sent already, and what comes late after an outage.

mod counts;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::calendar::Zone;
use crate::model::Schedule;
use crate::store::{self, Store};
use counts::Counts;

/// The usual length: a year, and 29 February if there is one.
pub const DEFAULT_DAYS: u32 = 366;
/// The greatest length.
pub const MAX_DAYS: u32 = 1830;
/// Of the busiest minutes, as many are named.
const BUSIEST: usize = 10;
/// Of the zones behind one of them, as many are named.
const ZONES: usize = 5;

/// The year ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The first day, UTC: today, as a whole.
    pub from: NaiveDate,
    /// How many days.
    pub days: u32,
    /// How many dates of people there are, of all configured kinds.
    pub dates: u64,
    /// How many greetings are due in these days.
    pub due: u64,
    /// Day by day, UTC.
    pub per_day: Vec<Day>,
    /// The minutes with most greetings, the busiest first.
    pub busiest_minutes: Vec<Minute>,
}

/// A UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Day {
    /// UTC.
    pub date: NaiveDate,
    /// How many greetings are due.
    pub due: u64,
}

/// A minute in which many greetings are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Minute {
    /// Its beginning, UTC.
    pub at: DateTime<Utc>,
    /// How many greetings are due.
    pub due: u64,
    /// Where most of these people live.
    pub zones: Vec<ZoneShare>,
}

/// The people of one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneShare {
    /// An IANA time zone name.
    #[schema(value_type = String, example = "Asia/Kolkata")]
    pub time_zone: Zone,
    /// How many of the greetings.
    pub due: u64,
}

/// Looks `days` ahead (at most [`MAX_DAYS`]), from the beginning of the UTC day of `now`.
pub async fn forecast(
    store: &Store,
    schedule: &Schedule,
    now: DateTime<Utc>,
    days: u32,
) -> store::Result<Forecast> {
    let from = now.date_naive();
    let mut counts = Counts::new(from, days.clamp(1, MAX_DAYS));
    let mut dates = 0;
    store
        .occasion_groups(from.year() - 1, None, |occasion, users| {
            if schedule.kinds.contains_key(&occasion.kind) {
                dates += users;
                counts.add(schedule, occasion, users);
            }
        })
        .await?;
    let mut busiest_minutes = counts.busiest(BUSIEST);
    name_zones(store, schedule, from, &mut busiest_minutes).await?;
    let per_day = counts.per_day();
    Ok(Forecast {
        from,
        days: per_day.len() as u32,
        dates,
        due: per_day.iter().map(|day| day.due).sum(),
        per_day,
        busiest_minutes,
    })
}

/// Finds out whose minutes those are: a second look, at the few dates that can be due in them.
async fn name_zones(
    store: &Store,
    schedule: &Schedule,
    from: NaiveDate,
    minutes: &mut [Minute],
) -> store::Result<()> {
    let days: BTreeSet<(u32, u32)> =
        minutes.iter().flat_map(|minute| nearby(minute.at.date_naive())).collect();
    let days: Vec<(u32, u32)> = days.into_iter().collect();
    let mut shares: Vec<BTreeMap<&'static str, u64>> = vec![BTreeMap::new(); minutes.len()];
    let years: BTreeSet<i32> =
        minutes.iter().flat_map(|minute| minute.at.year() - 1..=minute.at.year() + 1).collect();
    store
        .occasion_groups(from.year() - 1, Some(&days), |occasion, users| {
            for year in &years {
                let Some(due_at) = counts::due_at(schedule, occasion, *year) else {
                    continue;
                };
                for (minute, share) in minutes.iter().zip(&mut shares) {
                    if minute.at <= due_at && due_at < minute.at + TimeDelta::minutes(1) {
                        *share.entry(occasion.time_zone.name()).or_default() += users;
                    }
                }
            }
        })
        .await?;
    for (minute, share) in minutes.iter_mut().zip(shares) {
        let mut zones: Vec<ZoneShare> = share
            .into_iter()
            .filter_map(|(name, due)| Some(ZoneShare { time_zone: Zone::parse(name).ok()?, due }))
            .collect();
        zones.sort_by_key(|share| std::cmp::Reverse(share.due));
        zones.truncate(ZONES);
        minute.zones = zones;
    }
    Ok(())
}

/// The dates (month and day) that some zone and rule can make due on the UTC date `day`.
fn nearby(day: NaiveDate) -> impl Iterator<Item = (u32, u32)> {
    // A zone moves a date by one day, and so do a date that does not exist and 29 February; never by more than two.
    let around =
        (0..5).filter_map(move |n| day.checked_sub_days(Days::new(2))?.checked_add_days(Days::new(n)));
    let around: Vec<(u32, u32)> = around.map(|day| (day.month(), day.day())).collect();
    let leap = around.contains(&(2, 28)) || around.contains(&(3, 1));
    around.into_iter().chain(leap.then_some((2, 29)))
}

/// Midnight of a UTC date.
fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}
