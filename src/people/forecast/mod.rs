//! Forecast: counts the greetings that are due per UTC day and minute, for planning capacity.
//!
//! The database groups users by the values that decide their instant (date, zone, send time, rule for 29 February, kind), and the
//! calendar computes one instant for each group: a million users cost about a hundred thousand computations. Memory is one counter
//! for each minute (2 MB a year).
//!
//! Left out: future edits, greetings that were sent already, and greetings that are late after an outage.

mod counts;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::calendar::Zone;
use crate::model::Schedule;
use crate::store::{self, Routes, Store};
use counts::Counts;

pub const DEFAULT_DAYS: u32 = 366;
pub const MAX_DAYS: u32 = 1830;
const MAX_BUSIEST_MINUTES: usize = 10;
const MAX_ZONES_PER_MINUTE: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The first day (UTC): today, complete.
    pub from: NaiveDate,
    pub days: u32,
    /// The number of dates of all users and configured kinds.
    pub dates: u64,
    /// The number of greetings due in these days.
    pub due: u64,
    /// The greetings due in these days by channel, as the users can be reached now.
    pub channels: Vec<ChannelShare>,
    pub per_day: Vec<Day>,
    /// The minutes with the most greetings, the busiest first.
    pub busiest_minutes: Vec<Minute>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelShare {
    /// Null: no channel reaches these users.
    #[schema(example = "webhook")]
    pub channel: Option<String>,
    /// The number of greetings due.
    pub due: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Day {
    pub date: NaiveDate,
    /// The number of greetings due.
    pub due: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Minute {
    /// The beginning (UTC).
    pub at: DateTime<Utc>,
    /// The number of greetings due.
    pub due: u64,
    pub zones: Vec<ZoneShare>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneShare {
    /// An IANA time zone name.
    #[schema(value_type = String, example = "Asia/Kolkata")]
    pub time_zone: Zone,
    /// The number of these greetings.
    pub due: u64,
}

/// Forecasts `days` (at most [`MAX_DAYS`]) from the beginning of the UTC day of `now`.
pub async fn forecast(
    store: &Store,
    schedule: &Schedule,
    routes: Option<&Routes>,
    now: DateTime<Utc>,
    days: u32,
) -> store::Result<Forecast> {
    let from = now.date_naive();
    let mut counts = Counts::new(from, days.clamp(1, MAX_DAYS));
    let mut dates = 0;
    let mut by_channel: BTreeMap<Option<String>, u64> = BTreeMap::new();
    store
        .occasion_groups(from.year() - 1, None, routes, |occasion, channel, users| {
            if schedule.kinds.contains_key(&occasion.kind) {
                dates += users;
                let due = counts.add(schedule, occasion, users);
                if due > 0 {
                    *by_channel.entry(channel.map(str::to_owned)).or_default() += due;
                }
            }
        })
        .await?;
    let mut busiest_minutes = counts.busiest(MAX_BUSIEST_MINUTES);
    add_zones(store, schedule, from, &mut busiest_minutes).await?;
    let per_day = counts.per_day();
    Ok(Forecast {
        from,
        days: per_day.len() as u32,
        dates,
        due: per_day.iter().map(|day| day.due).sum(),
        channels: by_channel.into_iter().map(|(channel, due)| ChannelShare { channel, due }).collect(),
        per_day,
        busiest_minutes,
    })
}

/// Adds their zones to `minutes`, by a second query for the few dates that can be due in them.
async fn add_zones(
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
        .occasion_groups(from.year() - 1, Some(&days), None, |occasion, _, users| {
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
        zones.truncate(MAX_ZONES_PER_MINUTE);
        minute.zones = zones;
    }
    Ok(())
}

/// Returns the dates (month and day) that can be due on the UTC date `day` in any zone.
fn nearby(day: NaiveDate) -> impl Iterator<Item = (u32, u32)> {
    // A zone moves a date by one day, and so do a missing date and 29 February; together by two at most.
    let around =
        (0..5).filter_map(move |n| day.checked_sub_days(Days::new(2))?.checked_add_days(Days::new(n)));
    let around: Vec<(u32, u32)> = around.map(|day| (day.month(), day.day())).collect();
    let leap = around.contains(&(2, 28)) || around.contains(&(3, 1));
    around.into_iter().chain(leap.then_some((2, 29)))
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}
