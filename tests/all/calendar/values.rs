//! Parsing and formatting of the calendar's values, and the errors for invalid text.

use bday::calendar::{AnnualDate, LeapDay, SendAt, Zone};

fn date_error(text: &str) -> String {
    text.parse::<AnnualDate>().unwrap_err().to_string()
}

fn zone_error(text: &str) -> String {
    Zone::parse(text).unwrap_err().to_string()
}

#[test]
fn the_year_of_a_birth_date_is_optional() {
    let full: AnnualDate = "2000-02-29".parse().unwrap();
    assert_eq!((full.year(), full.month(), full.day()), (Some(2000), 2, 29));
    assert!(full.is_leap_day());
    let yearless: AnnualDate = "--02-29".parse().unwrap();
    assert_eq!((yearless.year(), yearless.month(), yearless.day()), (None, 2, 29));
    assert_eq!(yearless.to_string(), "--02-29");
}

#[test]
fn a_nonexistent_date_is_rejected_with_the_days_of_the_month() {
    assert_eq!(date_error("2001-02-29"), r#"invalid date "2001-02-29": 2001-02 has the days 01 to 28"#);
    assert_eq!(date_error("1900-02-29"), r#"invalid date "1900-02-29": 1900-02 has the days 01 to 28"#);
    assert_eq!(date_error("--02-30"), r#"invalid date "--02-30": month 02 has the days 01 to 29"#);
    assert_eq!(date_error("2000-00-01"), r#"invalid date "2000-00-01": expected a month from 01 to 12"#);
    assert_eq!(date_error("0000-01-01"), r#"invalid date "0000-01-01": expected a year from 0001 to 9999"#);
}

#[test]
fn a_date_in_another_format_is_rejected() {
    let shapes = [
        "",
        "-",
        "--",
        "2000",
        "2000-1-1",
        "00-01-01",
        "2000/01/01",
        "01.02.2000",
        "+2000-01-01",
        "12000-01-01",
        " 2000-01-01",
        "2000-01-01 ",
        "2000-01-01T00:00:00Z",
        "-2000-01-01",
        "---01-01",
        "२०००-01-01",
        "2000-0१-01",
    ];
    for text in shapes {
        let error = date_error(text);
        assert!(error.ends_with("expected YYYY-MM-DD, or --MM-DD when the year is not known"), "{error}");
    }
}

#[test]
fn errors_shorten_long_values_and_escape_control_characters() {
    let huge = "9".repeat(1_000_000);
    assert!(date_error(&huge).len() < 200);
    assert!(zone_error(&huge).len() < 200);
    assert!(date_error("2000-01\0").starts_with(r#"invalid date "2000-01\0":"#));
}

#[test]
fn a_send_time_has_hours_and_minutes() {
    assert_eq!(SendAt::default().to_string(), "09:00");
    for (text, minutes) in [("00:00", 0), ("09:00", 540), ("23:59", 1439)] {
        let send_at: SendAt = text.parse().unwrap();
        assert_eq!(SendAt::from_minutes(minutes), Some(send_at));
        assert_eq!(send_at.to_string(), text);
    }
    assert_eq!(SendAt::from_minutes(-1), None);
    assert_eq!(SendAt::from_minutes(1440), None);
}

#[test]
fn an_invalid_send_time_is_rejected() {
    for text in ["", "9:00", "09:00:00", "24:00", "23:60", "09.00", "+9:00", "09:0a", "9am", " 09:00"] {
        let error = text.parse::<SendAt>().unwrap_err().to_string();
        let expected =
            format!("invalid send time {text:?}: expected HH:MM, from 00:00 to 23:59, without seconds");
        assert_eq!(error, expected);
    }
}

#[test]
fn a_leap_day_rule_is_parsed_by_its_name() {
    for rule in LeapDay::ALL {
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
    let error = "Feb28".parse::<LeapDay>().unwrap_err().to_string();
    assert_eq!(error, r#"unknown leap day rule "Feb28": expected feb28, mar1 or leap_years_only"#);
}

#[test]
fn all_values_are_strings_in_json() {
    let json = r#"["--12-31","09:30","mar1","US/Pacific"]"#;
    let values: (AnnualDate, SendAt, LeapDay, Zone) = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&values).unwrap(), json);
    assert!(serde_json::from_str::<SendAt>("540").is_err());
}

#[test]
fn an_alias_of_a_zone_keeps_its_name() {
    for name in
        ["America/Argentina/Buenos_Aires", "Asia/Calcutta", "US/Pacific", "UTC", "Etc/GMT+5", "EST5EDT"]
    {
        assert_eq!(Zone::parse(name).unwrap().name(), name);
    }
}

#[test]
fn an_unknown_zone_suggests_similar_names() {
    let suggestions = [
        ("Europe/Berln", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("Asia/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("America/New York", "America/New_York"),
        ("new york", "America/New_York"),
        ("Torotno", "America/Toronto"),
        ("Indianapolis", "America/Indiana/Indianapolis, America/Indianapolis"),
        ("etc/gmt+5", "Etc/GMT+5"),
    ];
    for (given, names) in suggestions {
        assert_eq!(zone_error(given), format!("unknown time zone {given:?}: did you mean {names}?"));
    }
}

#[test]
fn an_unknown_zone_without_similar_names_shows_an_example() {
    for given in ["", "PST", "IST", "UTC+2", "GMT+5", "somewhere else"] {
        let expected = format!("unknown time zone {given:?}: expected an IANA name such as Europe/Berlin");
        assert_eq!(zone_error(given), expected);
    }
}
