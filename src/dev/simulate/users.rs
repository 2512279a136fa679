//! Generates users and their changes from the seed.
//!
//! Each user has their own random number generator, so that a number has the same changes in a run with more users.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Timelike as _, Utc};
use fastrand::Rng;

use super::config::KINDS;
use super::reference_calendar::{self, ClockChange, Due};
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};
use crate::model::NewUser;

const POPULOUS: [&str; 12] = [
    "Asia/Kolkata",
    "Asia/Shanghai",
    "America/New_York",
    "America/Sao_Paulo",
    "Europe/Berlin",
    "Africa/Lagos",
    "Asia/Tokyo",
    "America/Los_Angeles",
    "Europe/London",
    "Australia/Sydney",
    "Africa/Cairo",
    "Asia/Kathmandu",
];
const WEST_OF_DATE_LINE: [&str; 4] =
    ["Pacific/Kiritimati", "Pacific/Apia", "Pacific/Auckland", "Pacific/Tongatapu"];
const EAST_OF_DATE_LINE: [&str; 4] =
    ["Pacific/Pago_Pago", "Pacific/Honolulu", "Pacific/Niue", "Pacific/Midway"];
const UNUSUAL_SEND_TIMES: [&str; 6] = ["00:00", "00:30", "02:30", "12:00", "23:30", "23:59"];
/// Between two changes of one user, so that the effects of the first have ended.
const MIN_INTERVAL: TimeDelta = TimeDelta::hours(24);
/// Ticks are at whole minutes, and changes between them.
const HALF_MINUTE: TimeDelta = TimeDelta::seconds(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserSettings {
    pub(super) zone: Zone,
    pub(super) send_at: Option<SendAt>,
    pub(super) leap_day: Option<LeapDay>,
    /// By kind.
    pub(super) dates: [Option<AnnualDate>; KINDS.len()],
}

impl UserSettings {
    pub(super) fn user(&self, number: u32) -> NewUser {
        let dates = KINDS.iter().zip(self.dates).skip(1);
        NewUser {
            external_id: Some(external_id(number)),
            first_name: "Sim".to_owned(),
            last_name: format!("{number:06}"),
            birth_date: self.dates[0].unwrap_or_else(default_date),
            time_zone: self.zone,
            send_at: self.send_at,
            leap_day: self.leap_day,
            locale: None,
            addresses: BTreeMap::new(),
            occasions: dates.map(|(kind, date)| ((*kind).to_owned(), date)).collect(),
        }
    }

    fn birthday_in(&self, year: i32) -> Option<Due> {
        let send_at = self.send_at.unwrap_or_default();
        let leap_day = self.leap_day.unwrap_or_default();
        reference_calendar::due(self.dates[0]?, year, send_at, self.zone, leap_day)
    }
}

pub(super) fn external_id(number: u32) -> String {
    format!("sim-{number:06}")
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UserChange {
    /// Added, or added again after a deletion.
    Join(UserSettings),
    Move(UserSettings),
    /// Another date, send time, or rule.
    Edit(UserSettings),
    Delete,
}

#[derive(Debug)]
pub(super) struct UserGenerator {
    seed: u64,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    zones: Vec<Zone>,
    clock_changes: Vec<(Zone, ClockChange)>,
}

impl UserGenerator {
    pub(super) fn new(seed: u64, from: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        let zones: Vec<Zone> = Zone::all().collect();
        let clock_changes = zones.iter().flat_map(|zone| {
            let changes = reference_calendar::clock_changes(*zone, from, until);
            changes.into_iter().map(|change| (*zone, change))
        });
        let clock_changes = clock_changes.collect();
        Self { seed, from, until, zones, clock_changes }
    }

    /// Returns the changes of user `number` in order. The first is a [`UserChange::Join`].
    pub(super) fn changes(&self, number: u32) -> Vec<(DateTime<Utc>, UserChange)> {
        let mut rng = Rng::with_seed(self.seed ^ (u64::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut settings = self.settings(&mut rng, number);
        let mut at = self.from;
        if rng.u8(..100) < 15 {
            at = self.late_start(&mut rng, &settings).clamp(self.from + HALF_MINUTE, self.until);
        }
        let mut changes = vec![(at, UserChange::Join(settings.clone()))];
        let mut exists = true;
        for year in self.from.year()..self.until.year() {
            if rng.u8(..100) >= 25 {
                continue;
            }
            let next = self.change_time(&mut rng, &settings, year);
            if next < at + MIN_INTERVAL || next >= self.until {
                continue;
            }
            at = next;
            let change = if exists {
                self.change(&mut rng, &mut settings, at)
            } else {
                // Often with the same settings as before.
                if rng.bool() {
                    settings.zone = self.any_zone(&mut rng);
                }
                UserChange::Join(settings.clone())
            };
            exists = change != UserChange::Delete;
            changes.push((at, change));
        }
        changes
    }

    fn settings(&self, rng: &mut Rng, number: u32) -> UserSettings {
        let mut zone = if number.is_multiple_of(2) {
            self.zones[(number as usize / 2) % self.zones.len()]
        } else {
            one_of(rng, &POPULOUS)
        };
        let mut send_at = (rng.u8(..100) < 12).then(|| unusual_send_time(rng));
        let mut birthday = random_date(rng, 1930, self.from.year() - 1);
        // Some birthdays are due during a clock change.
        if rng.u8(..100) < 8 && !self.clock_changes.is_empty() {
            let (changing, change) = self.clock_changes[rng.usize(..self.clock_changes.len())];
            let (first, last) = (change.before.min(change.after), change.before.max(change.after));
            let inside = first + TimeDelta::minutes(rng.i64(0..(last - first).num_minutes().max(1)));
            zone = changing;
            send_at = SendAt::from_minutes((inside.hour() * 60 + inside.minute()) as i16);
            birthday = AnnualDate::new(None, inside.month(), inside.day()).ok();
        }
        UserSettings {
            zone,
            send_at,
            leap_day: (rng.u8(..100) < 15).then(|| LeapDay::ALL[rng.usize(..3)]),
            dates: [birthday, (rng.u8(..100) < 25).then(|| self.anniversary(rng)).flatten()],
        }
    }

    fn any_zone(&self, rng: &mut Rng) -> Zone {
        self.zones[rng.usize(..self.zones.len())]
    }

    fn anniversary(&self, rng: &mut Rng) -> Option<AnnualDate> {
        random_date(rng, self.from.year() - 20, self.from.year() + 1)
    }

    /// Mostly near the user's birthday, where the difficult cases are.
    fn late_start(&self, rng: &mut Rng, settings: &UserSettings) -> DateTime<Utc> {
        let year = rng.i32(self.from.year()..self.until.year());
        let Some(due) = settings.birthday_in(year).filter(|_| rng.u8(..100) < 70) else {
            return self.random_time(rng, year);
        };
        let day_ends_at = reference_calendar::day_ends_at(settings.zone, due.local_date);
        match rng.u8(..6) {
            0 => due.at - HALF_MINUTE,
            1 => due.at + HALF_MINUTE,
            2 => day_ends_at - HALF_MINUTE,
            3 => day_ends_at + HALF_MINUTE,
            4 => due.at + TimeDelta::minutes(rng.i64(1..900)) + HALF_MINUTE,
            _ => due.at - TimeDelta::minutes(rng.i64(1..4000)) + HALF_MINUTE,
        }
    }

    fn random_time(&self, rng: &mut Rng, year: i32) -> DateTime<Utc> {
        let start = NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default().and_time(NaiveTime::MIN);
        let at = start.and_utc() + TimeDelta::minutes(rng.i64(0..365 * 24 * 60)) + HALF_MINUTE;
        at.max(self.from + HALF_MINUTE)
    }

    /// Half of all changes are near the user's birthday.
    fn change_time(&self, rng: &mut Rng, settings: &UserSettings, year: i32) -> DateTime<Utc> {
        match settings.birthday_in(year).filter(|_| rng.bool()) {
            Some(due) => due.at + TimeDelta::minutes(rng.i64(-1560..1560)) + HALF_MINUTE,
            None => self.random_time(rng, year),
        }
    }

    fn change(&self, rng: &mut Rng, settings: &mut UserSettings, at: DateTime<Utc>) -> UserChange {
        match rng.u8(..100) {
            0..40 => {
                settings.zone = match rng.u8(..4) {
                    0 => one_of(rng, &WEST_OF_DATE_LINE),
                    1 => one_of(rng, &EAST_OF_DATE_LINE),
                    2 => one_of(rng, &POPULOUS),
                    _ => self.any_zone(rng),
                };
                return UserChange::Move(settings.clone());
            }
            40..65 => settings.dates[0] = corrected_date(rng, settings, at).or(settings.dates[0]),
            65..75 => settings.send_at = rng.bool().then(|| unusual_send_time(rng)),
            75..80 => settings.leap_day = rng.bool().then(|| LeapDay::ALL[rng.usize(..3)]),
            80..90 => settings.dates[1] = rng.bool().then(|| self.anniversary(rng)).flatten(),
            _ => return UserChange::Delete,
        }
        UserChange::Edit(settings.clone())
    }
}

fn one_of(rng: &mut Rng, names: &[&str]) -> Zone {
    Zone::parse(names[rng.usize(..names.len())]).unwrap_or(Zone::UTC)
}

fn unusual_send_time(rng: &mut Rng) -> SendAt {
    UNUSUAL_SEND_TIMES[rng.usize(..UNUSUAL_SEND_TIMES.len())].parse().unwrap_or_default()
}

fn default_date() -> AnnualDate {
    "2000-01-01".parse().unwrap_or_else(|_| unreachable!("a valid date"))
}

/// Returns a date with a year in 80 % of all cases, 29 February in 5 %, and a day at New Year in 5 %.
fn random_date(rng: &mut Rng, first_year: i32, last_year: i32) -> Option<AnnualDate> {
    let year = rng.i32(first_year..=last_year);
    let with_year = rng.u8(..100) < 80;
    let (month, day) = match rng.u8(..100) {
        0..5 => (2, 29),
        5..8 => (1, 1),
        8..10 => (12, 31),
        _ => {
            let day = NaiveDate::from_yo_opt(2001, rng.u32(1..=365))?;
            (day.month(), day.day())
        }
    };
    let exists = NaiveDate::from_ymd_opt(year, month, day).is_some();
    AnnualDate::new((with_year && exists).then_some(year), month, day).ok()
}

/// Returns a date near today in 40 % of all cases, where an edit matters most.
fn corrected_date(rng: &mut Rng, settings: &UserSettings, at: DateTime<Utc>) -> Option<AnnualDate> {
    if rng.u8(..100) < 60 {
        return random_date(rng, 1930, at.year() - 1);
    }
    let today = settings.zone.local_date(at);
    let day = today.checked_add_days(Days::new(rng.u64(..7)))?.checked_sub_days(Days::new(2))?;
    AnnualDate::new(None, day.month(), day.day()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(seed: u64) -> UserGenerator {
        let at = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_time(NaiveTime::MIN).and_utc();
        UserGenerator::new(seed, at(2026), at(2028))
    }

    #[test]
    fn the_same_seed_gives_the_same_changes_and_another_seed_others() {
        let changes = |seed| {
            let generator = generator(seed);
            (0..50).map(|n| generator.changes(n)).collect::<Vec<_>>()
        };
        assert_eq!(changes(1), changes(1));
        assert_ne!(changes(1), changes(2));
    }

    #[test]
    fn changes_are_in_order_and_begin_with_a_join() {
        let generator = generator(7);
        for number in 0..500 {
            let changes = generator.changes(number);
            assert!(matches!(changes[0].1, UserChange::Join(_)));
            assert!(changes.is_sorted_by_key(|(at, _)| *at));
        }
    }
}
