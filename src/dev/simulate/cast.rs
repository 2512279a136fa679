//! The people of a simulation and what happens to them, drawn from the seed.
//!
//! Each person has a generator of their own, so that the same number lives the same life in a run with more people.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Timelike as _, Utc};
use fastrand::Rng;

use super::oracle;
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};
use crate::model::{BIRTHDAY, NewUser};

/// The kinds, by index.
pub(super) const KINDS: [&str; 2] = [BIRTHDAY, "work_anniversary"];
/// Their send times in the simulated configuration.
pub(super) const SEND_AT: [&str; KINDS.len()] = ["09:00", "10:30"];

/// Where most people live.
const CROWDED: [&str; 12] = [
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
/// On the two sides of the date line.
const WEST_OF_IT: [&str; 4] = ["Pacific/Kiritimati", "Pacific/Apia", "Pacific/Auckland", "Pacific/Tongatapu"];
const EAST_OF_IT: [&str; 4] = ["Pacific/Pago_Pago", "Pacific/Honolulu", "Pacific/Niue", "Pacific/Midway"];
const ODD_SEND_TIMES: [&str; 6] = ["00:00", "00:30", "02:30", "12:00", "23:30", "23:59"];
/// Two turns of one life are at least this far apart: whatever a turn sets off is over by then.
const APART: TimeDelta = TimeDelta::hours(24);

/// Everything of a person that decides when a greeting is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) zone: Zone,
    pub(super) send_at: Option<SendAt>,
    pub(super) leap_day: Option<LeapDay>,
    pub(super) dates: [Option<AnnualDate>; KINDS.len()],
}

/// What happens to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    Join(Settings),
    Move(Settings),
    /// Another date, send time, or rule.
    Change(Settings),
    Delete,
}

/// A person.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// In order. The first is a [`Turn::Join`].
    pub(super) turns: Vec<(DateTime<Utc>, Turn)>,
}

/// Draws lives.
#[derive(Debug)]
pub(super) struct Cast {
    seed: u64,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    zones: Vec<Zone>,
    /// Jumps of clocks within the simulated years: the zone, and what it shows before and after.
    jumps: Vec<(Zone, chrono::NaiveDateTime, chrono::NaiveDateTime)>,
}

impl Settings {
    /// As whoever writes users wants it.
    pub(super) fn user(&self, number: u32) -> NewUser {
        let dates = KINDS.iter().zip(self.dates).skip(1);
        NewUser {
            external_id: Some(external_id(number)),
            first_name: "Sim".to_owned(),
            last_name: format!("{number:06}"),
            birth_date: self.dates[0].unwrap_or_else(some_day),
            time_zone: self.zone,
            send_at: self.send_at,
            leap_day: self.leap_day,
            occasions: dates.map(|(kind, date)| ((*kind).to_owned(), date)).collect::<BTreeMap<_, _>>(),
        }
    }
}

/// The external id of that person.
pub(super) fn external_id(number: u32) -> String {
    format!("sim-{number:06}")
}

impl Cast {
    pub(super) fn new(seed: u64, from: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        let zones: Vec<Zone> = Zone::all().collect();
        let jumps = zones
            .iter()
            .flat_map(|zone| {
                let jumps = oracle::jumps(*zone, from, until).into_iter();
                jumps.map(|(_, before, after)| (*zone, before, after))
            })
            .collect();
        Self { seed, from, until, zones, jumps }
    }

    /// The life of person `number`.
    pub(super) fn life(&self, number: u32) -> Life {
        let mut rng = Rng::with_seed(self.seed ^ (u64::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut now = self.settings(&mut rng, number);
        let mut at = self.from;
        if rng.u8(..100) < 15 {
            at = self.late_start(&mut rng, &now).clamp(self.from + TimeDelta::seconds(30), self.until);
        }
        let mut turns = vec![(at, Turn::Join(now.clone()))];
        let mut alive = true;
        for year in self.from.year()..self.until.year() {
            if rng.u8(..100) >= 25 {
                continue;
            }
            let next = self.moment(&mut rng, &now, year);
            if next < at + APART || next >= self.until {
                continue;
            }
            at = next;
            let turn = if alive {
                self.turn(&mut rng, &mut now, at)
            } else {
                Turn::Join(self.again(&mut rng, &now))
            };
            if let Turn::Join(settings) = &turn {
                now = settings.clone();
            }
            alive = turn != Turn::Delete;
            turns.push((at, turn));
        }
        Life { turns }
    }

    fn settings(&self, rng: &mut Rng, number: u32) -> Settings {
        let mut zone = if number.is_multiple_of(2) {
            self.zones[(number as usize / 2) % self.zones.len()]
        } else {
            named(rng, &CROWDED)
        };
        let mut send_at = (rng.u8(..100) < 12).then(|| parsed(rng, &ODD_SEND_TIMES));
        let mut birthday = some_date(rng, 1930, self.from.year() - 1);
        // Somebody has to be due when the clock jumps.
        if rng.u8(..100) < 8 && !self.jumps.is_empty() {
            let (where_, before, after) = self.jumps[rng.usize(..self.jumps.len())];
            let (first, last) = (before.min(after), before.max(after));
            let inside = first + TimeDelta::minutes(rng.i64(0..(last - first).num_minutes().max(1)));
            zone = where_;
            send_at = SendAt::from_minutes((inside.hour() * 60 + inside.minute()) as i16);
            birthday = AnnualDate::new(None, inside.month(), inside.day()).ok();
        }
        Settings {
            zone,
            send_at,
            leap_day: (rng.u8(..100) < 15).then(|| LeapDay::ALL[rng.usize(..3)]),
            dates: [birthday, (rng.u8(..100) < 25).then(|| self.anniversary(rng)).flatten()],
        }
    }

    fn anniversary(&self, rng: &mut Rng) -> Option<AnnualDate> {
        some_date(rng, self.from.year() - 20, self.from.year() + 1)
    }

    /// Mostly around a day of the person's own: the hard cases are there.
    fn late_start(&self, rng: &mut Rng, settings: &Settings) -> DateTime<Utc> {
        let year = rng.i32(self.from.year()..self.until.year());
        let half = TimeDelta::seconds(30);
        let Some(due) = due(settings, year).filter(|_| rng.u8(..100) < 70) else {
            return self.some_moment(rng, year);
        };
        let over = oracle::day_over(settings.zone, due.local_date);
        match rng.u8(..6) {
            0 => due.at - half,
            1 => due.at + half,
            2 => over - half,
            3 => over + half,
            4 => due.at + TimeDelta::minutes(rng.i64(1..900)) + half,
            _ => due.at - TimeDelta::minutes(rng.i64(1..4000)) + half,
        }
    }

    fn some_moment(&self, rng: &mut Rng, year: i32) -> DateTime<Utc> {
        let start =
            NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default().and_time(NaiveTime::MIN).and_utc();
        let at = start + TimeDelta::minutes(rng.i64(0..365 * 24 * 60)) + TimeDelta::seconds(30);
        at.max(self.from + TimeDelta::seconds(30))
    }

    /// When a turn happens: half a minute past a tick; every other time on the person's own day.
    fn moment(&self, rng: &mut Rng, settings: &Settings, year: i32) -> DateTime<Utc> {
        match due(settings, year).filter(|_| rng.bool()) {
            Some(due) => due.at + TimeDelta::minutes(rng.i64(-1560..1560)) + TimeDelta::seconds(30),
            None => self.some_moment(rng, year),
        }
    }

    fn turn(&self, rng: &mut Rng, now: &mut Settings, at: DateTime<Utc>) -> Turn {
        match rng.u8(..100) {
            0..40 => {
                now.zone = match rng.u8(..4) {
                    0 => named(rng, &WEST_OF_IT),
                    1 => named(rng, &EAST_OF_IT),
                    2 => named(rng, &CROWDED),
                    _ => self.zones[rng.usize(..self.zones.len())],
                };
                return Turn::Move(now.clone());
            }
            40..65 => now.dates[0] = another_date(rng, now, at).or(now.dates[0]),
            65..75 => now.send_at = rng.bool().then(|| parsed(rng, &ODD_SEND_TIMES)),
            75..80 => now.leap_day = rng.bool().then(|| LeapDay::ALL[rng.usize(..3)]),
            80..90 => now.dates[1] = rng.bool().then(|| self.anniversary(rng)).flatten(),
            _ => return Turn::Delete,
        }
        Turn::Change(now.clone())
    }

    /// Somebody who was deleted comes back, often as before.
    fn again(&self, rng: &mut Rng, now: &Settings) -> Settings {
        let mut now = now.clone();
        if rng.bool() {
            now.zone = self.zones[rng.usize(..self.zones.len())];
        }
        now
    }
}

fn due(settings: &Settings, year: i32) -> Option<oracle::Due> {
    let send_at = settings.send_at.unwrap_or_default();
    let leap_day = settings.leap_day.unwrap_or_default();
    oracle::due(settings.dates[0]?, year, send_at, settings.zone, leap_day)
}

fn named(rng: &mut Rng, names: &[&str]) -> Zone {
    Zone::parse(names[rng.usize(..names.len())]).unwrap_or(Zone::UTC)
}

fn parsed(rng: &mut Rng, send_times: &[&str]) -> SendAt {
    send_times[rng.usize(..send_times.len())].parse().unwrap_or_default()
}

fn some_day() -> AnnualDate {
    "2000-01-01".parse().unwrap_or_else(|_| unreachable!("it is a date"))
}

/// A date with a year between two, mostly; one in twenty is 29 February, as many are at New Year.
fn some_date(rng: &mut Rng, first_year: i32, last_year: i32) -> Option<AnnualDate> {
    let year = rng.i32(first_year..=last_year);
    let known = rng.u8(..100) < 80;
    let (month, day) = match rng.u8(..100) {
        0..5 => (2, 29),
        5..8 => (1, 1),
        8..10 => (12, 31),
        _ => {
            let day = NaiveDate::from_yo_opt(2001, rng.u32(1..=365))?;
            (day.month(), day.day())
        }
    };
    let leap = NaiveDate::from_ymd_opt(year, month, day).is_none();
    AnnualDate::new((known && !leap).then_some(year), month, day).ok()
}

/// A corrected date: now and then around today, where it matters most.
fn another_date(rng: &mut Rng, now: &Settings, at: DateTime<Utc>) -> Option<AnnualDate> {
    if rng.u8(..100) < 60 {
        return some_date(rng, 1930, at.year() - 1);
    }
    let today = now.zone.local_date(at);
    let day = today.checked_add_days(Days::new(rng.u64(..7)))?.checked_sub_days(Days::new(2))?;
    AnnualDate::new(None, day.month(), day.day()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(seed: u64) -> Cast {
        let at = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_time(NaiveTime::MIN).and_utc();
        Cast::new(seed, at(2026), at(2028))
    }

    #[test]
    fn a_seed_makes_the_same_lives_again_and_another_makes_others() {
        let lives = |seed| {
            let cast = cast(seed);
            (0..50).map(|n| cast.life(n).turns).collect::<Vec<_>>()
        };
        assert_eq!(lives(1), lives(1));
        assert_ne!(lives(1), lives(2));
    }

    #[test]
    fn lives_are_in_order_and_begin_with_the_joining() {
        let cast = cast(7);
        for number in 0..500 {
            let turns = cast.life(number).turns;
            assert!(matches!(turns[0].1, Turn::Join(_)));
            assert!(turns.is_sorted_by_key(|(at, _)| *at));
        }
    }
}
