//! The command line of `bday when`, with a fixed clock.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use bday::cli::when::When;
use bday::clock::SettableClock;
use clap::Parser;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    when: When,
}

/// Returns a clock at which it is already 2027 in Kiritimati.
fn clock() -> SettableClock {
    SettableClock::new("2026-12-31T10:30:00Z".parse().unwrap())
}

/// Returns the output, and whether the command succeeded.
fn run(arguments: &[&str]) -> (String, bool) {
    let command = Command::try_parse_from([&["when"], arguments].concat()).unwrap();
    let mut out = Vec::new();
    let code = command.when.run(&clock(), &mut out, false).unwrap();
    (String::from_utf8(out).unwrap(), code == ExitCode::SUCCESS)
}

fn refusal(arguments: &[&str]) -> String {
    Command::try_parse_from([&["when"], arguments].concat()).err().unwrap().to_string()
}

/// A file that is deleted on drop.
struct Input(PathBuf);

impl Input {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("bday-when-{}-{name}.ndjson", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns one line of output for each of `lines`, and whether the command succeeded.
fn batch(name: &str, lines: &[u8], options: &[&str]) -> (Vec<String>, bool) {
    let input = Input::new(name, lines);
    let (out, success) = run(&[&["--input", input.0.to_str().unwrap()], options].concat());
    (out.lines().map(str::to_owned).collect(), success)
}

#[test]
fn the_json_output_is_an_array_with_one_object_per_year() {
    let new_york = ["--birth-date", "2000-02-29", "--time-zone", "America/New_York", "--json"];
    let (out, success) = run(&[&new_york[..], &["--from", "2026-01-01", "--years", "3"]].concat());
    assert!(success);
    assert_eq!(
        out,
        concat!(
            r#"[{"localDate":"2026-02-28","dueAt":"2026-02-28T14:00:00Z","offset":"-05:00","rule":"leap_day"},"#,
            r#"{"localDate":"2027-02-28","dueAt":"2027-02-28T14:00:00Z","offset":"-05:00","rule":"leap_day"},"#,
            r#"{"localDate":"2028-02-29","dueAt":"2028-02-29T14:00:00Z","offset":"-05:00","rule":null}]"#,
            "\n"
        )
    );
}

#[test]
fn the_table_has_aligned_columns_and_explains_the_rule() {
    let (out, _) = run(&[
        "--birth-date",
        "1990-03-29",
        "--time-zone",
        "Europe/Berlin",
        "--send-at",
        "02:30",
        "--from",
        "2026-01-01",
        "--years",
        "2",
    ]);
    let expected = "\
DATE        DAY  LOCAL  OFFSET  DUE (UTC)             TURNS
2026-03-29  Sun  03:30  +02:00  2026-03-29T01:30:00Z  36     the clock skips 02:30: moved forward by the length of the gap
2027-03-29  Mon  02:30  +02:00  2027-03-29T00:30:00Z  37
";
    assert_eq!(out, expected);
}

#[test]
fn the_table_of_a_date_without_a_year_has_no_age() {
    let (out, _) = run(&["--birth-date", "--03-29", "--time-zone", "UTC", "--years", "1"]);
    assert_eq!(
        out,
        "DATE        DAY  LOCAL  OFFSET  DUE (UTC)\n2027-03-29  Mon  09:00  +00:00  2027-03-29T09:00:00Z\n"
    );
}

#[test]
fn the_default_is_five_years_from_the_local_date() {
    let dates = |zone| {
        let (out, _) = run(&["--birth-date", "--12-31", "--time-zone", zone]);
        let dates: Vec<String> = out.lines().skip(1).map(|line| line[..10].to_owned()).collect();
        (dates.len(), dates[0].clone())
    };
    assert_eq!(dates("UTC"), (5, "2026-12-31".to_owned()), "today counts, even after 09:00");
    assert_eq!(dates("Pacific/Kiritimati"), (5, "2027-12-31".to_owned()), "the day has passed there");
}

#[test]
fn years_without_29_february_count_as_years() {
    let leap = ["--birth-date", "2000-02-29", "--time-zone", "UTC", "--leap-day", "leap_years_only"];
    let from = ["--from", "2025-01-01", "--years"];
    assert_eq!(run(&[&leap[..], &from, &["3", "--json"]].concat()).0, "[]\n");
    assert!(run(&[&leap[..], &from, &["3"]].concat()).0.starts_with("No 29 February in these years"));
    assert_eq!(run(&[&leap[..], &from, &["4"]].concat()).0.lines().count(), 2);
}

#[test]
fn an_invalid_option_is_named_with_the_valid_values() {
    let unknown_zone = refusal(&["--birth-date", "2000-01-01", "--time-zone", "Europe/Berln"]);
    assert!(
        unknown_zone.contains("'--time-zone <ZONE>'") && unknown_zone.contains("did you mean Europe/Berlin?")
    );
    let no_such_day = refusal(&["--birth-date", "2001-02-29", "--time-zone", "UTC"]);
    assert!(
        no_such_day.contains("'--birth-date <DATE>'")
            && no_such_day.contains("2001-02 has the days 01 to 28")
    );
    for (option, value) in
        [("--send-at", "9:00"), ("--leap-day", "x"), ("--from", "2026-2-1"), ("--years", "401")]
    {
        let error = refusal(&["--birth-date", "2000-01-01", "--time-zone", "UTC", option, value]);
        assert!(error.contains(option) && error.contains(value), "{error}");
    }
    let both = refusal(&["--input", "-", "--birth-date", "2000-01-01"]);
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn every_input_line_has_an_output_line_in_order() {
    let lines = br#"{"birthDate":"2000-02-29","timeZone":"Asia/Tokyo","sendAt":"23:59","leapDay":"mar1","from":"2026-01-01","years":1}
{"birthDate":"2000-02-30","timeZone":"Asia/Tokyo"}
{"birthDate":"--01-01","timeZone":"Asia/Tokio"}
{"timeZone":"UTC"}
{"birthDate":null,"timeZone":"UTC"}

[1]
nonsense
{"birthDate":"--01-01","timeZone":"UTC","sendAt":540}
{"birthDate":"--01-01","timeZone":"UTC","leapDay":"feb29"}
{"birthDate":"--01-01","timeZone":"UTC","from":"--01-01"}
{"birthDate":"--01-01","timeZone":"UTC","years":0}
{"birthDate":"--01-01","timeZone":"UTC","birth_date":""}
{"birthDate":"--01-01","timeZone":"UTC","timeZone":"UTC"}
{"birthDate":"--01-01","timeZone":"UTC","sendAt":null,"years":1}"#;
    let (answers, success) = batch("each", lines, &[]);
    let expected = [
        r#"[{"localDate":"2026-03-01","dueAt":"2026-03-01T14:59:00Z","offset":"+09:00","rule":"leap_day"}]"#,
        r#"{"error":"invalid date \"2000-02-30\": 2000-02 has the days 01 to 29","field":"birthDate","line":2}"#,
        r#"{"error":"unknown time zone \"Asia/Tokio\": did you mean Asia/Tokyo?","field":"timeZone","line":3}"#,
        r#"{"error":"missing: expected YYYY-MM-DD or --MM-DD","field":"birthDate","line":4}"#,
        r#"{"error":"missing: expected YYYY-MM-DD or --MM-DD","field":"birthDate","line":5}"#,
        r#"{"error":"the line is empty: expected a JSON object","field":null,"line":6}"#,
        r#"{"error":"not a JSON object: invalid type: sequence, expected an object (column 0)","field":null,"line":7}"#,
        r#"{"error":"not a JSON object: expected ident (column 2)","field":null,"line":8}"#,
        r#"{"error":"invalid type: integer `540`, expected a string","field":"sendAt","line":9}"#,
        r#"{"error":"unknown leap day rule \"feb29\": expected feb28, mar1 or leap_years_only","field":"leapDay","line":10}"#,
        r#"{"error":"expected a valid date as YYYY-MM-DD","field":"from","line":11}"#,
        r#"{"error":"expected a whole number from 1 to 400","field":"years","line":12}"#,
        r#"{"error":"unknown field: expected birthDate, timeZone, sendAt, leapDay, from or years","field":"birth_date","line":13}"#,
        r#"{"error":"duplicate field","field":"timeZone","line":14}"#,
        r#"[{"localDate":"2027-01-01","dueAt":"2027-01-01T09:00:00Z","offset":"+00:00","rule":null}]"#,
    ];
    assert_eq!(answers, expected);
    assert!(!success, "the exit code is 1 after an invalid line");
}

#[test]
fn options_are_defaults_for_fields_that_a_line_lacks() {
    let lines = b"{\"birthDate\":\"--07-01\",\"timeZone\":\"UTC\"}\n{\"birthDate\":\"--07-01\",\"timeZone\":\"UTC\",\"years\":2}\n";
    let options = ["--send-at", "12:00", "--from", "2030-01-01", "--years", "1"];
    let (answers, success) = batch("options", lines, &options);
    assert!(success);
    assert_eq!(
        answers[0],
        r#"[{"localDate":"2030-07-01","dueAt":"2030-07-01T12:00:00Z","offset":"+00:00","rule":null}]"#
    );
    assert_eq!(answers[1].matches("localDate").count(), 2);
}

#[test]
fn an_unreadable_line_is_reported_and_the_next_is_processed() {
    let mut lines = vec![b'x'; 1_000_000];
    lines.extend_from_slice(b"\n{\"birthDate\":\"\xff\",\"timeZone\":\"UTC\"}\n");
    lines.extend_from_slice(b"{\"birthDate\":\"--07-01\",\"timeZone\":\"UTC\",\"years\":1}\r\n");
    let (answers, success) = batch("long", &lines, &[]);
    assert!(!success);
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0], r#"{"error":"the line is longer than 65536 bytes","field":null,"line":1}"#);
    assert!(answers[1].contains("invalid unicode"), "{}", answers[1]);
    assert!(answers[2].starts_with(r#"[{"localDate":"2027-07-01""#), "{}", answers[2]);
}

#[test]
fn the_error_names_a_missing_file() {
    let command = Command::try_parse_from(["when", "--input", "/no/such/file"]).ok().unwrap();
    let error = command.when.run(&clock(), &mut Vec::new(), false).unwrap_err();
    assert_eq!(error.to_string(), "cannot open /no/such/file");
}

#[test]
fn an_empty_result_is_explained() {
    let why = |arguments: &[&str]| run(&[arguments, &["--time-zone", "UTC"]].concat()).0;
    let late = why(&["--birth-date", "2000-01-01", "--from", "9999-06-01"]);
    assert!(late.contains("ends with the year 9999"), "{late}");
    let rule = ["--leap-day", "leap_years_only"];
    let late = why(&[&["--birth-date", "2000-01-01", "--from", "9999-06-01"], &rule[..]].concat());
    assert!(late.contains("ends with the year 9999"), "{late}");
    let common = ["--birth-date", "2000-02-29", "--from", "2026-01-01", "--years", "1"];
    let never = why(&[&common[..], &rule].concat());
    assert!(never.contains("leap_years_only"), "{never}");
}
