//! NDJSON, a user a line: the object that the API takes, and that its export gives.

use chrono::NaiveDate;

use super::{Person, in_words};
use crate::model::{JsonObject, Schedule, UserInput};

/// Reads one line.
pub(super) fn person(line: &str, schedule: &Schedule, today: NaiveDate) -> Result<Person, String> {
    let object: JsonObject =
        serde_json::from_str(line).map_err(|error| format!("not a JSON object: {}", without_line(&error)))?;
    let user = UserInput::complete(schedule, today).patch(&object).validate();
    Person::checked(object.user_id(), user).map_err(|errors| in_words(&errors))
}

/// serde's text ends with a place whose line is always 1, beside ours a contradiction.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((what, _)) => format!("{what} (column {})", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<Person, String> {
        let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date");
        person(line, &Schedule::of_kinds(&[]), today)
    }

    #[test]
    fn each_fault_of_a_line_is_told() {
        let error = |line: &str| read(line).expect_err("it is wrong");
        assert!(error("[]").contains("object"));
        assert!(error("{\"firstName\"").contains("column 12"));
        let all =
            error(r#"{"id":7,"firstName":"A\u0000","birthDate":"1815-13-10","timeZone":"London","x":1}"#);
        for part in ["id: is a number", "firstName", "U+0000", "birthDate", "Europe/London", "x: unknown"] {
            assert!(all.contains(part), "{all}");
        }
    }

    #[test]
    fn of_a_line_with_a_hundred_faults_twenty_are_told() {
        let fields: Vec<String> = (0..120).map(|n| format!("\"x{n}\":1")).collect();
        let all = read(&format!("{{{}}}", fields.join(","))).expect_err("it is wrong");
        assert_eq!(all.matches("unknown field").count(), 20, "{all}");
        // Those that are missing are faults, too.
        assert!(all.ends_with("; and 103 more"), "{all}");
    }

    #[test]
    fn a_date_that_is_given_twice_is_refused() {
        let twice = r#"{"occasions":{"work_anniversary":"2019-05-02","work_anniversary":"2019-05-03"}}"#;
        let error = read(twice).expect_err("it comes twice");
        assert!(error.contains("\"work_anniversary\" comes twice"), "{error}");
    }

    #[test]
    fn a_line_of_the_export_is_read() {
        let line = r#"{"id":"0198f0c0-0000-7000-8000-000000000000","firstName":"Ada","lastName":"Lovelace",
            "birthDate":"--12-10","timeZone":"Europe/London","sendAt":null,"occasions":{}}"#;
        let person = read(&line.replace('\n', "")).expect("it is right");
        assert_eq!(person.user.last_name, "Lovelace");
        assert_eq!(
            person.id.map(|id| id.to_string()).as_deref(),
            Some("0198f0c0-0000-7000-8000-000000000000")
        );
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in r#"[\[\]{}:,"a-zA-Z0-9\\.-]{0,120}"#) {
            let _ = read(&line);
        }
    }
}
