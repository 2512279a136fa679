//! The rules of the calendar, with real zones and dates where each applies.

use bday::calendar::{AnnualDate, LeapDay, Occurrence, Rule, SendAt, Zone, occurrence, occurrences_from};
use chrono::NaiveDate;

/// Returns the occurrence on `day` as `due_at local_date offset rule`.
fn due(zone: &str, day: &str, send_at: &str) -> String {
    let (year, month_day) = day.split_at(4);
    show(&found(zone, &format!("-{month_day}"), year.parse().unwrap(), send_at, LeapDay::Feb28).unwrap())
}

fn found(zone: &str, date: &str, year: i32, send_at: &str, leap_day: LeapDay) -> Option<Occurrence> {
    let date: AnnualDate = date.parse().unwrap();
    occurrence(date, year, send_at.parse().unwrap(), zone.parse().unwrap(), leap_day)
}

fn show(occurrence: &Occurrence) -> String {
    let due_at = occurrence.due_at.format("%Y-%m-%dT%H:%M:%SZ");
    let rule = occurrence.rule.map_or("-", Rule::as_str);
    format!("{due_at} {} {} {rule}", occurrence.local_date, occurrence.offset)
}

fn ends(zone: &str, date: &str) -> String {
    let zone: Zone = zone.parse().unwrap();
    zone.local_day_ends_at(date.parse().unwrap()).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[test]
fn the_send_time_is_local_in_winter_and_summer() {
    assert_eq!(due("Europe/Berlin", "2026-01-15", "09:00"), "2026-01-15T08:00:00Z 2026-01-15 +01:00 -");
    assert_eq!(due("Europe/Berlin", "2026-07-15", "09:00"), "2026-07-15T07:00:00Z 2026-07-15 +02:00 -");
    assert_eq!(due("Asia/Kathmandu", "2026-01-15", "09:00"), "2026-01-15T03:15:00Z 2026-01-15 +05:45 -");
    assert_eq!(due("Pacific/Auckland", "2026-01-15", "09:00"), "2026-01-14T20:00:00Z 2026-01-15 +13:00 -");
}

#[test]
fn a_time_inside_a_gap_moves_forward_by_the_gap() {
    assert_eq!(due("Europe/Berlin", "2026-03-29", "01:59"), "2026-03-29T00:59:00Z 2026-03-29 +01:00 -");
    assert_eq!(due("Europe/Berlin", "2026-03-29", "02:00"), "2026-03-29T01:00:00Z 2026-03-29 +02:00 gap");
    assert_eq!(due("Europe/Berlin", "2026-03-29", "02:30"), "2026-03-29T01:30:00Z 2026-03-29 +02:00 gap");
    assert_eq!(due("Europe/Berlin", "2026-03-29", "03:00"), "2026-03-29T01:00:00Z 2026-03-29 +02:00 -");
}

#[test]
fn a_gap_can_last_half_an_hour_or_two_hours() {
    let lord_howe = "2026-10-03T15:45:00Z 2026-10-04 +11:00 gap";
    assert_eq!(due("Australia/Lord_Howe", "2026-10-04", "02:15"), lord_howe);
    let troll = "2026-03-29T01:30:00Z 2026-03-29 +02:00 gap";
    assert_eq!(due("Antarctica/Troll", "2026-03-29", "01:30"), troll);
}

#[test]
fn a_gap_can_skip_midnight() {
    assert_eq!(due("Africa/Cairo", "2026-04-24", "00:00"), "2026-04-23T22:00:00Z 2026-04-24 +03:00 gap");
    assert_eq!(due("Asia/Beirut", "2026-03-29", "00:30"), "2026-03-28T22:30:00Z 2026-03-29 +03:00 gap");
    assert_eq!(due("America/Sao_Paulo", "2018-11-04", "00:00"), "2018-11-04T03:00:00Z 2018-11-04 -02:00 gap");
}

#[test]
fn a_gap_over_midnight_moves_the_last_minutes_to_the_next_day() {
    assert_eq!(due("America/Toronto", "1919-03-30", "23:45"), "1919-03-31T04:45:00Z 1919-03-31 -04:00 gap");
    assert_eq!(due("America/Toronto", "1919-03-31", "00:15"), "1919-03-31T05:15:00Z 1919-03-31 -04:00 gap");
}

#[test]
fn a_repeated_local_time_applies_the_first_time() {
    let new_york = "2026-11-01T05:30:00Z 2026-11-01 -04:00 overlap";
    assert_eq!(due("America/New_York", "2026-11-01", "01:30"), new_york);
    let lord_howe = "2026-04-04T14:45:00Z 2026-04-05 +11:00 overlap";
    assert_eq!(due("Australia/Lord_Howe", "2026-04-05", "01:45"), lord_howe);
}

#[test]
fn a_skipped_date_moves_to_the_next_date_at_the_same_time() {
    let rows = [
        ("Pacific/Apia", "2011-12-30", "2011-12-30T19:00:00Z 2011-12-31 +14:00 missing_date"),
        ("Pacific/Fakaofo", "2011-12-30", "2011-12-30T20:00:00Z 2011-12-31 +13:00 missing_date"),
        ("Pacific/Kwajalein", "1993-08-21", "1993-08-21T21:00:00Z 1993-08-22 +12:00 missing_date"),
        ("Pacific/Kiritimati", "1994-12-31", "1994-12-31T19:00:00Z 1995-01-01 +14:00 missing_date"),
        ("Pacific/Enderbury", "1994-12-31", "1994-12-31T20:00:00Z 1995-01-01 +13:00 missing_date"),
        ("Asia/Manila", "1844-12-31", "1845-01-01T00:56:08Z 1845-01-01 +08:03:52 missing_date"),
    ];
    for (zone, day, expected) in rows {
        assert_eq!(due(zone, day, "09:00"), expected, "{zone}");
        assert!(due(zone, day, "00:00").ends_with("missing_date"), "{zone}");
        assert!(due(zone, day, "23:59").ends_with("missing_date"), "{zone}");
    }
}

#[test]
fn a_date_moved_past_new_year_keeps_its_year() {
    let date: AnnualDate = "--12-31".parse().unwrap();
    let from = NaiveDate::from_ymd_opt(1844, 1, 1).unwrap();
    let manila = "Asia/Manila".parse().unwrap();
    let years: Vec<(i32, String)> = occurrences_from(date, from, SendAt::default(), manila, LeapDay::Feb28)
        .take(3)
        .map(|found| (found.local_year, found.local_date.to_string()))
        .collect();
    let expected = [(1844, "1845-01-01"), (1845, "1845-12-31"), (1846, "1846-12-31")];
    assert_eq!(years, expected.map(|(year, date)| (year, date.to_owned())));
    let new_year_1845 = NaiveDate::from_ymd_opt(1845, 1, 1).unwrap();
    let first =
        occurrences_from(date, new_year_1845, SendAt::default(), manila, LeapDay::Feb28).next().unwrap();
    assert_eq!(first.local_year, 1844, "it is still to come on the first of January 1845");
}

#[test]
fn the_day_after_a_skipped_date_also_has_its_own_birthdays() {
    assert_eq!(due("Pacific/Apia", "2011-12-31", "09:00"), "2011-12-30T19:00:00Z 2011-12-31 +14:00 -");
    let date: AnnualDate = "--12-30".parse().unwrap();
    let from = NaiveDate::from_ymd_opt(2011, 1, 1).unwrap();
    let apia = "Pacific/Apia".parse().unwrap();
    let dates: Vec<String> = occurrences_from(date, from, SendAt::default(), apia, LeapDay::Feb28)
        .take(2)
        .map(|found| found.local_date.to_string())
        .collect();
    assert_eq!(dates, ["2011-12-31", "2012-12-30"]);
}

#[test]
fn a_repeated_date_applies_the_first_time() {
    // Kwajalein crossed the date line at the end of September 1969 and repeated a date.
    assert_eq!(
        due("Pacific/Kwajalein", "1969-09-30", "12:00"),
        "1969-09-30T01:00:00Z 1969-09-30 +11:00 overlap"
    );
}

#[test]
fn the_leap_day_rule_applies_in_common_years() {
    let on = |year, leap_day| {
        found("America/New_York", "2000-02-29", year, "09:00", leap_day)
            .map(|found| (found.local_date.to_string(), found.rule))
    };
    let leap = Some(Rule::LeapDay);
    for year in [2026, 2100] {
        assert_eq!(on(year, LeapDay::Feb28), Some((format!("{year}-02-28"), leap)));
        assert_eq!(on(year, LeapDay::Mar1), Some((format!("{year}-03-01"), leap)));
        assert_eq!(on(year, LeapDay::LeapYearsOnly), None);
    }
    for leap_day in LeapDay::ALL {
        assert_eq!(on(2028, leap_day), Some(("2028-02-29".to_owned(), None)));
    }
}

#[test]
fn an_overlap_is_named_rather_than_the_leap_day_rule() {
    let sao_paulo = found("America/Sao_Paulo", "--02-29", 1998, "23:30", LeapDay::Feb28).unwrap();
    assert_eq!(show(&sao_paulo), "1998-03-01T01:30:00Z 1998-02-28 -02:00 overlap");
}

#[test]
fn a_year_outside_the_range_has_no_occurrence() {
    for year in [i32::MIN, 0, 10_000, i32::MAX] {
        assert_eq!(found("UTC", "--01-01", year, "09:00", LeapDay::Feb28), None, "{year}");
    }
    let last = found("Pacific/Kiritimati", "--12-31", 9999, "23:59", LeapDay::Feb28).unwrap();
    assert_eq!(show(&last), "9999-12-31T09:59:00Z 9999-12-31 +14:00 -");
}

#[test]
fn time_zone_changes_after_2025_are_included() {
    assert_eq!(due("America/Vancouver", "2026-12-01", "09:00"), "2026-12-01T16:00:00Z 2026-12-01 -07:00 -");
    assert_eq!(due("America/Edmonton", "2027-01-01", "09:00"), "2027-01-01T15:00:00Z 2027-01-01 -06:00 -");
    assert_eq!(due("America/Winnipeg", "2027-01-01", "09:00"), "2027-01-01T14:00:00Z 2027-01-01 -05:00 -");
    assert_eq!(due("America/Havana", "2026-12-01", "09:00"), "2026-12-01T13:00:00Z 2026-12-01 -04:00 -");
    assert_eq!(due("America/Havana", "2027-12-01", "09:00"), "2027-12-01T14:00:00Z 2027-12-01 -05:00 -");
    assert_eq!(
        due("Africa/Casablanca", "2026-09-20", "01:30"),
        "2026-09-20T00:30:00Z 2026-09-20 +01:00 overlap"
    );
    assert_eq!(due("Africa/Casablanca", "2026-12-01", "09:00"), "2026-12-01T09:00:00Z 2026-12-01 +00:00 -");
    assert_eq!(due("Europe/Chisinau", "2027-03-28", "03:30"), "2027-03-28T01:30:00Z 2027-03-28 +03:00 gap");
}

#[test]
fn a_day_ends_at_the_next_midnight() {
    assert_eq!(ends("UTC", "2026-12-31"), "2027-01-01T00:00:00Z");
    assert_eq!(ends("America/New_York", "2026-11-01"), "2026-11-02T05:00:00Z", "a day of 25 hours");
}

#[test]
fn a_day_before_a_skipped_midnight_ends_at_the_gap() {
    assert_eq!(ends("Africa/Cairo", "2026-04-23"), "2026-04-23T22:00:00Z");
    assert_eq!(ends("America/Toronto", "1919-03-30"), "1919-03-31T04:30:00Z");
}

#[test]
fn a_day_before_a_skipped_date_ends_at_the_next_date() {
    assert_eq!(ends("Pacific/Apia", "2011-12-29"), "2011-12-30T10:00:00Z");
    assert_eq!(
        ends("Pacific/Apia", "2011-12-30"),
        "2011-12-30T10:00:00Z",
        "the skipped date is over at once"
    );
}

#[test]
fn a_day_followed_by_two_midnights_ends_at_the_last() {
    assert_eq!(ends("America/St_Johns", "2010-11-06"), "2010-11-07T03:30:00Z", "00:01 went back to 23:01");
    assert_eq!(ends("America/Havana", "2028-11-04"), "2028-11-05T04:00:00Z", "01:00 went back to 00:00");
}

#[test]
fn the_local_date_depends_on_the_zone() {
    let new_year = "2026-12-31T10:30:00Z".parse().unwrap();
    let dates = ["Pacific/Kiritimati", "UTC", "Pacific/Midway"]
        .map(|name| name.parse::<Zone>().unwrap().local_date(new_year).to_string());
    assert_eq!(dates, ["2027-01-01", "2026-12-31", "2026-12-30"]);
}
