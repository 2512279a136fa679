//! NDJSON: on each line a user as in the API and in an export.

use chrono::NaiveDate;

use super::user::{ImportedUser, format_errors};
use crate::model::{JsonObject, Schedule, UserInput};

pub(super) fn parse(line: &str, schedule: &Schedule, today: NaiveDate) -> Result<ImportedUser, String> {
    let object: JsonObject =
        serde_json::from_str(line).map_err(|error| format!("not a JSON object: {}", with_column(&error)))?;
    let user = UserInput::complete(schedule, today).patch(&object).validate();
    ImportedUser::new(object.user_id(), user).map_err(|errors| format_errors(&errors))
}

/// Replaces the position of `serde_json`, whose line is always 1, by the column.
fn with_column(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((problem, _)) => format!("{problem} (column {})", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<ImportedUser, String> {
        let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date");
        parse(line, &Schedule::of_kinds(&[]), today)
    }

    #[test]
    fn each_error_of_a_line_is_reported() {
        let error = |line: &str| read(line).expect_err("an error");
        assert!(error("[]").contains("object"));
        assert!(error("{\"firstName\"").contains("column 12"));
        let all =
            error(r#"{"id":7,"firstName":"A\u0000","birthDate":"1815-13-10","timeZone":"London","x":1}"#);
        for part in ["id: invalid type", "firstName", "U+0000", "birthDate", "Europe/London", "x: unknown"] {
            assert!(all.contains(part), "{all}");
        }
    }

    #[test]
    fn at_most_twenty_errors_of_a_line_are_reported() {
        let fields: Vec<String> = (0..120).map(|n| format!("\"x{n}\":1")).collect();
        let all = read(&format!("{{{}}}", fields.join(","))).expect_err("an error");
        assert_eq!(all.matches("unknown field").count(), 20, "{all}");
        // Including the three missing fields.
        assert!(all.ends_with("; and 103 more"), "{all}");
    }

    #[test]
    fn a_duplicate_date_is_an_error() {
        let twice = r#"{"occasions":{"work_anniversary":"2019-05-02","work_anniversary":"2019-05-03"}}"#;
        let error = read(twice).expect_err("an error");
        assert!(error.contains("duplicate field \"work_anniversary\""), "{error}");
    }

    #[test]
    fn a_line_of_the_export_is_read() {
        let line = r#"{"id":"0198f0c0-0000-7000-8000-000000000000","firstName":"Ada","lastName":"Lovelace",
            "birthDate":"--12-10","timeZone":"Europe/London","sendAt":null,"occasions":{}}"#;
        let person = read(&line.replace('\n', "")).expect("a valid line");
        assert_eq!(person.user.last_name, "Lovelace");
        assert_eq!(
            person.id.map(|id| id.to_string()).as_deref(),
            Some("0198f0c0-0000-7000-8000-000000000000")
        );
    }

    proptest! {
        #[test]
        fn no_line_panics_the_parser(line in r#"[\[\]{}:,"a-zA-Z0-9\\.-]{0,120}"#) {
            let _ = read(&line);
        }
    }
}
