//! Properties of the calendar for random dates, times and zones. Half of the days are close to a change of the clock.

use bday::calendar::{AnnualDate, LeapDay, Occurrence, Rule, SendAt, Zone, occurrence, occurrences_from};
use chrono::{Datelike, NaiveDate, NaiveTime, TimeDelta};
use jiff::ToSpan;
use jiff::civil::{Date, Time, date};
use proptest::prelude::*;

use super::calendar_oracle::answer;
use super::oracle;

/// A zone, a local day, and two times of that day in minutes.
type Case = (Zone, Date, i16, i16);

fn cases() -> impl Strategy<Value = Case> {
    let zones: Vec<Zone> = Zone::all().collect();
    let minutes = || 0..24 * 60_i16;
    (
        proptest::sample::select(zones),
        2020..=2110_i16,
        1..=365_i16,
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_flat_map(move |(zone, year, ordinal, change, near)| {
            let any_day = date(year, 1, 1) + (i64::from(ordinal) - 1).days();
            let day = if near { near_a_change(zone, change).unwrap_or(any_day) } else { any_day };
            (Just(zone), Just(day), minutes(), minutes())
        })
}

/// Returns the day before, of or after one of the changes from 2020 to 2110.
fn near_a_change(zone: Zone, pick: prop::sample::Index) -> Option<Date> {
    let theirs = oracle::zone(zone.name())?;
    let changes: Vec<Date> = theirs
        .following("2020-01-01T00:00:00Z".parse().ok()?)
        .map(|change| theirs.to_datetime(change.timestamp()).date())
        .take_while(|day| day.year() <= 2110)
        .collect();
    let at = pick.index(changes.len().checked_mul(3).filter(|n| *n > 0)?);
    Some(changes[at / 3] + (at as i64 % 3 - 1).days())
}

fn annual(day: Date) -> AnnualDate {
    AnnualDate::new(None, day.month().cast_unsigned().into(), day.day().cast_unsigned().into()).unwrap()
}

fn civil(day: Date) -> NaiveDate {
    NaiveDate::from_ymd_opt(
        day.year().into(),
        day.month().cast_unsigned().into(),
        day.day().cast_unsigned().into(),
    )
    .unwrap()
}

fn due(zone: Zone, day: Date, minutes: i16) -> Occurrence {
    let send_at = SendAt::from_minutes(minutes).unwrap();
    occurrence(annual(day), day.year().into(), send_at, zone, LeapDay::Feb28).unwrap()
}

fn at(minutes: i16) -> NaiveTime {
    SendAt::from_minutes(minutes).unwrap().time()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_minute_agrees_with_the_oracle((zone, day, minutes, _) in cases()) {
        let theirs = oracle::zone(zone.name()).unwrap();
        let time = Time::midnight() + i64::from(minutes).minutes();
        prop_assert_eq!(answer(zone, day, minutes), oracle::expected(&theirs, day, time));
    }

    #[test]
    fn without_a_rule_the_local_time_is_the_send_time((zone, day, minutes, _) in cases()) {
        let found = due(zone, day, minutes);
        prop_assert_eq!(zone.local_date(found.due_at), found.local_date);
        if matches!(found.rule, None | Some(Rule::Overlap)) {
            prop_assert_eq!(found.local_date, civil(day));
            prop_assert_eq!(found.local_time(), at(minutes));
        }
    }

    #[test]
    fn in_a_gap_the_greeting_is_delayed_by_the_length_of_the_gap((zone, day, minutes, _) in cases()) {
        let found = due(zone, day, minutes);
        if found.rule == Some(Rule::Gap) {
            let shown = found.local_date.and_time(found.local_time());
            let late = shown - civil(day).and_time(at(minutes));
            let before = due(zone, day.yesterday().unwrap(), minutes).offset.local_minus_utc();
            prop_assert_eq!(late, TimeDelta::seconds((found.offset.local_minus_utc() - before).into()));
            prop_assert!(late > TimeDelta::zero());
        }
    }

    #[test]
    fn a_later_send_time_has_a_later_due_instant_outside_gaps((zone, day, one, other) in cases()) {
        let (early, late) = (due(zone, day, one.min(other)), due(zone, day, one.max(other)));
        if early.rule != Some(Rule::Gap) && one != other {
            prop_assert!(early.due_at < late.due_at, "{:?} {:?}", early, late);
        }
    }

    #[test]
    fn a_greeting_is_due_before_its_local_day_ends((zone, day, minutes, _) in cases()) {
        let found = due(zone, day, minutes);
        let end = zone.local_day_ends_at(found.local_date);
        prop_assert!(found.due_at < end);
        prop_assert!(zone.local_date(end) > found.local_date);
        prop_assert!(zone.local_date(end - TimeDelta::seconds(1)) <= found.local_date);
    }

    #[test]
    fn each_local_year_has_one_greeting_in_order(
        (zone, day, minutes, _) in cases(),
        leap_day in proptest::sample::select(vec![LeapDay::Feb28, LeapDay::Mar1]),
    ) {
        let send_at = SendAt::from_minutes(minutes).unwrap();
        let found: Vec<Occurrence> =
            occurrences_from(annual(day), civil(day), send_at, zone, leap_day).take(30).collect();
        prop_assert!(found[0].local_date >= civil(day));
        for pair in found.windows(2) {
            prop_assert_eq!(pair[0].local_year + 1, pair[1].local_year);
            prop_assert!(pair[0].due_at < pair[1].due_at);
        }
    }

    #[test]
    fn every_formatted_date_parses_to_the_same_date(year in proptest::option::of(1..=9999_i32), ordinal in 1..=366_u32) {
        let day = NaiveDate::from_yo_opt(year.unwrap_or(2000), ordinal);
        prop_assume!(day.is_some());
        let day = day.unwrap();
        let date = AnnualDate::new(year, day.month(), day.day()).unwrap();
        prop_assert_eq!(date.to_string().parse::<AnnualDate>(), Ok(date));
    }

    #[test]
    fn the_parsers_do_not_panic_on_any_text(text in ".{0,80}") {
        let _ = text.parse::<AnnualDate>().map_err(|error| error.to_string());
        let _ = text.parse::<SendAt>().map_err(|error| error.to_string());
        let _ = Zone::parse(&text).map_err(|error| error.to_string());
    }
}
