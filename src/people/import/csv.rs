//! CSV, a record a line. (A record over several lines would let one forgotten quote swallow the rest of the file.)

use chrono::NaiveDate;
use csv::{ReaderBuilder, StringRecord};

use super::Person;
use crate::calendar::text::shortened;
use crate::model::{FieldError, Schedule, UserInput, user_id};

/// The columns beside the id, and the fields that they hold. The first four are required.
const COLUMNS: [(&str, &str); 7] = [
    ("first_name", "firstName"),
    ("last_name", "lastName"),
    ("birth_date", "birthDate"),
    ("time_zone", "timeZone"),
    ("send_at", "sendAt"),
    ("leap_day", "leapDay"),
    ("external_id", "externalId"),
];
const REQUIRED: usize = 4;
const ID: &str = "id";

/// A reader of CSV takes CR alone for the end of a record, so what comes behind it would be lost.
const BARE_CR: &str = "line ends are CR alone: save the file with LF or CRLF line ends";

/// Why the first line does not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There is no line.
    #[error(
        "the file is empty: its first line must name the columns first_name,last_name,birth_date,time_zone"
    )]
    Empty,
    /// It is not UTF-8, or a quote stays open.
    #[error(
        "line 1 is not a line of text in UTF-8: save the file as UTF-8; its first line must name the columns \
         first_name,last_name,birth_date,time_zone"
    )]
    Unreadable,
    /// It has no end where one is looked for, as in a long file whose line ends are CR alone.
    #[error("line 1 is too long: {}", .0)]
    TooLong(String),
    /// Further records follow a CR that has no LF behind it.
    #[error("line 1: the {BARE_CR}")]
    LineEnds,
    /// A column is missing.
    #[error("line 1: the column {0} is missing; needed are first_name,last_name,birth_date,time_zone")]
    Missing(&'static str),
    /// A column is there that nobody knows.
    #[error("line 1: the column {column:?} is not known{meant}; known are {known}")]
    Unknown {
        /// As it is called.
        column: String,
        /// The one that was meant, as a question.
        meant: String,
        /// Those that would do.
        known: String,
    },
    /// Other programs separate columns by something else.
    #[error("line 1: the columns are separated by {0}: save the file with commas")]
    Separator(&'static str),
    /// A column is there twice.
    #[error("line 1: the column {0} is there twice")]
    Twice(String),
}

/// Reads lines by the columns of the header.
#[derive(Debug)]
pub struct Parser {
    columns: usize,
    id: Option<usize>,
    /// Fields, each with its column.
    fields: Vec<(&'static str, usize)>,
    /// Further kinds, each with its column.
    kinds: Vec<(String, usize)>,
    record: StringRecord,
}

impl Parser {
    /// Takes the columns from the first line, in any order. A kind that `schedule` knows is a column of dates.
    pub fn new(header: &str, schedule: &Schedule) -> Result<Self, HeaderError> {
        let mut record = StringRecord::new();
        match parse(header.trim_start_matches('\u{feff}'), &mut record) {
            Ok(()) => {}
            Err(NoRecord::OpenQuote) => return Err(HeaderError::Unreadable),
            Err(NoRecord::Several) => return Err(HeaderError::LineEnds),
        }
        let names: Vec<&str> = record.iter().map(str::trim).collect();
        if let [only] = names[..] {
            for (separator, called) in [(';', "semicolons"), ('\t', "tabs")] {
                if only.contains(separator) {
                    return Err(HeaderError::Separator(called));
                }
            }
        }
        let columns = COLUMNS.iter().map(|(column, _)| *column);
        let known: Vec<&str> = columns.chain([ID]).chain(schedule.other_kinds()).collect();
        for (at, name) in names.iter().enumerate() {
            if !known.contains(name) {
                return Err(HeaderError::Unknown {
                    column: shortened(name),
                    meant: meant(name, &known),
                    known: known.join(","),
                });
            }
            if names[..at].contains(name) {
                return Err(HeaderError::Twice((*name).to_owned()));
            }
        }
        let find = |wanted: &str| names.iter().position(|name| *name == wanted);
        if let Some((missing, _)) = COLUMNS[..REQUIRED].iter().find(|(column, _)| find(column).is_none()) {
            return Err(HeaderError::Missing(missing));
        }
        Ok(Self {
            columns: names.len(),
            id: find(ID),
            fields: COLUMNS.iter().filter_map(|(column, field)| Some((*field, find(column)?))).collect(),
            kinds: schedule.other_kinds().filter_map(|kind| Some((kind.to_owned(), find(kind)?))).collect(),
            record,
        })
    }

    /// Reads one line.
    pub fn person(&mut self, line: &str, schedule: &Schedule, today: NaiveDate) -> Result<Person, String> {
        parse(line, &mut self.record).map_err(|error| error.to_string())?;
        if self.record.len() != self.columns {
            return Err(format!("has {} fields, the header names {}", self.record.len(), self.columns));
        }
        let mut input = UserInput::new(schedule, today);
        for (field, at) in &self.fields {
            input.set(field, &self.record[*at]);
        }
        for (kind, at) in &self.kinds {
            input.set_occasion(kind, &self.record[*at]);
        }
        let id = self.id.map_or(Ok(None), |at| user_id(&self.record[at]));
        Person::checked(id, input.validate()).map_err(|errors| {
            let of_columns = |error: FieldError| FieldError::new(column(&error.field), error.problem);
            super::in_words(&errors.into_iter().map(of_columns).collect::<Vec<_>>())
        })
    }
}

/// The column of a field.
fn column(field: &str) -> &str {
    let name = field.strip_prefix("occasions.").unwrap_or(field);
    COLUMNS.iter().find(|(_, field)| *field == name).map_or(name, |(column, _)| column)
}

/// The known column that is nearly `name`, as a question.
fn meant(name: &str, known: &[&str]) -> String {
    let name = name.to_lowercase().replace([' ', '-'], "_");
    known
        .iter()
        .find(|known| strsim::damerau_levenshtein(known, &name) <= 2)
        .map_or_else(String::new, |known| format!(": did you mean {known}?"))
}

/// Why a line is not one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NoRecord {
    #[error("a quote is opened and not closed: a field cannot go on in the next line")]
    OpenQuote,
    #[error("more than one record: the {BARE_CR}")]
    Several,
}

/// Reads `line`, which must be one record.
fn parse(line: &str, record: &mut StringRecord) -> Result<(), NoRecord> {
    if line.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
        return Err(NoRecord::OpenQuote);
    }
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(line.len() + 1)
        .from_reader(line.as_bytes());
    record.clear();
    // Neither can fail: this is text, and in memory.
    let _ = reader.read_record(record);
    // A CR that is not in quotes ends a record. Most lines have none.
    if line.contains('\r') && reader.read_record(&mut StringRecord::new()).unwrap_or(true) {
        return Err(NoRecord::Several);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule() -> Schedule {
        Schedule::of_kinds(&["birthday", "work_anniversary"])
    }

    fn parser(header: &str) -> Result<Parser, HeaderError> {
        Parser::new(header, &schedule())
    }

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date")
    }

    #[test]
    fn columns_may_come_in_any_order() {
        let mut parser = parser("\u{feff}time_zone,birth_date,last_name,first_name").expect("it has all");
        let person = parser
            .person("Asia/Tokyo,--02-29,\"O\"\"Hara, Jr\",Scarlett", &schedule(), today())
            .expect("it is right");
        assert_eq!(
            (person.user.first_name.as_str(), person.user.last_name.as_str()),
            ("Scarlett", "O\"Hara, Jr")
        );
    }

    #[test]
    fn a_header_without_a_column_names_it() {
        assert_eq!(parser("first_name,last_name,birth_date").err(), Some(HeaderError::Missing("time_zone")));
        let error = parser("name").expect_err("it is not known").to_string();
        assert!(error.contains("time_zone") && error.contains("work_anniversary"), "{error}");
        let error = parser("First Name").expect_err("it is not known").to_string();
        assert!(error.contains("did you mean first_name?"), "{error}");
        assert_eq!(
            parser("first_name;last_name;birth_date;time_zone").err(),
            Some(HeaderError::Separator("semicolons"))
        );
        assert!(matches!(parser("first_name,first_name"), Err(HeaderError::Twice(_))));
    }

    #[test]
    fn each_fault_of_a_line_is_told() {
        let mut parser = parser("first_name,last_name,birth_date,time_zone").expect("it has all");
        let mut error = |line: &str| parser.person(line, &schedule(), today()).expect_err("it is wrong");
        assert!(error("Ada,Lovelace,1815-12-10").contains("3 fields"));
        assert!(error("\"Ada,Lovelace,1815-12-10,UTC").contains("quote"));
        assert!(error("A\0da,Lovelace,1815-12-10,UTC").contains("U+0000"));
        assert!(error("Ada,Lovelace,1815-13-10,UTC").contains("birth_date"));
        assert!(error("Ada,Lovelace,1815-12-10,London").contains("Europe/London"));
    }

    #[test]
    fn an_id_may_be_blank_and_one_that_is_none_is_named_with_all_else() {
        let mut parser = parser("id,first_name,last_name,birth_date,time_zone").expect("it has all");
        let mut person = |line: &str| parser.person(line, &schedule(), today());
        let id = "0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f";
        let ada = person(&format!("{id},Ada,,1815-12-10,UTC")).expect("it is right");
        assert_eq!(ada.id.map(|id| id.to_string()).as_deref(), Some(id));
        assert_eq!(person(" ,Ada,,1815-12-10,UTC").expect("it is right").id, None);
        for wrong in ["17", "00000000-0000-0000-0000-000000000000"] {
            let error = person(&format!("{wrong},Ada,,1815-13-10,UTC")).expect_err("it is wrong");
            let begins = format!("id: invalid id \"{wrong}\": give the UUID");
            assert!(error.starts_with(&begins) && error.contains("birth_date"), "{error}");
        }
    }

    #[test]
    fn a_kind_of_the_configuration_is_a_column() {
        let mut parser =
            parser("first_name,last_name,birth_date,time_zone,work_anniversary").expect("it has all");
        let mut person = |line: &str| parser.person(line, &schedule(), today());
        let ada = person("Ada,Lovelace,1815-12-10,UTC,1833-06-05").expect("it is right");
        assert_eq!(ada.user.occasions["work_anniversary"], Some("1833-06-05".parse().expect("a date")));
        let nobody = person("Ada,Lovelace,1815-12-10,UTC,").expect("it is right");
        assert_eq!(nobody.user.occasions["work_anniversary"], None);
        let error = person("Ada,Lovelace,1815-12-10,UTC,1833-06-31").expect_err("June has 30 days");
        assert!(error.starts_with("work_anniversary: "), "{error}");
    }

    #[test]
    fn nobody_vanishes_behind_a_cr_that_ends_no_line() {
        const HEADER: &str = "first_name,last_name,birth_date,time_zone";
        const ADA: &str = "Ada,Lovelace,1815-12-10,UTC";
        let error = parser(&format!("{HEADER}\r{ADA}\r{ADA}")).expect_err("it has three records");
        assert_eq!(error, HeaderError::LineEnds);
        assert!(error.to_string().contains("LF or CRLF"), "{error}");
        let mut parser = parser(HEADER).expect("it has all");
        let mut person = |line: &str| parser.person(line, &schedule(), today());
        for line in [format!("{ADA}\r{ADA}"), format!("{ADA}\r,"), format!("\"Ada\"{ADA}\r\r\"\"")] {
            let error = person(&line).expect_err("it has two records");
            assert!(error.contains("LF or CRLF"), "{error}");
        }
        // In quotes it is a part of the name, and no name has it.
        let error = person("\"A\rda\",Lovelace,1815-12-10,UTC").expect_err("it is no name");
        assert!(error.contains("U+000D"), "{error}");
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in ".{0,200}") {
            let mut parser = parser("first_name,last_name,birth_date,time_zone").expect("it has all");
            let _ = parser.person(&line, &schedule(), today());
        }
    }
}
