//! CSV with a record on each line: with records over several lines, an unclosed quote would consume the rest of the file.

use chrono::NaiveDate;
use csv::{ReaderBuilder, StringRecord};

use super::user::{ImportedUser, format_errors};
use crate::calendar::format_count;
use crate::calendar::text::shortened;
use crate::model::{FieldError, Schedule, UserInput, parse_user_id};

/// The columns except the id, with their fields. The first four are required.
const COLUMNS: [(&str, &str); 11] = [
    ("first_name", "firstName"),
    ("last_name", "lastName"),
    ("birth_date", "birthDate"),
    ("time_zone", "timeZone"),
    ("send_at", "sendAt"),
    ("leap_day", "leapDay"),
    ("external_id", "externalId"),
    ("email", "email"),
    ("phone", "phone"),
    ("slack_user_id", "slackUserId"),
    ("locale", "locale"),
];
const REQUIRED: usize = 4;
const ID: &str = "id";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the file is empty: line 1 must name the columns first_name,last_name,birth_date,time_zone")]
    Empty,
    #[error("line 1: {0}")]
    Line(String),
    #[error(
        "line 1: the column {0} is missing: the required columns are first_name,last_name,birth_date,time_zone"
    )]
    Missing(&'static str),
    #[error("line 1: unknown column {column:?}: {suggestion}the columns are {known}")]
    Unknown { column: String, suggestion: String, known: String },
    #[error("line 1: the columns are separated by {0}: save the file with commas")]
    Separator(&'static str),
    #[error("line 1: duplicate column {0:?}")]
    Duplicate(String),
}

#[derive(Debug)]
pub(super) struct CsvParser {
    names: Vec<String>,
    id: Option<usize>,
    fields: Vec<(&'static str, usize)>,
    kinds: Vec<(String, usize)>,
    record: StringRecord,
}

impl CsvParser {
    /// Parses the header. Columns are in any order; each kind of `schedule` is a column of dates.
    pub(super) fn new(header: &str, schedule: &Schedule) -> Result<Self, HeaderError> {
        let mut record = StringRecord::new();
        parse_record(header.trim_start_matches('\u{feff}'), &mut record)
            .map_err(|error| HeaderError::Line(error.to_string()))?;
        let names: Vec<&str> = record.iter().map(str::trim).collect();
        check_columns(&names, schedule)?;
        let find = |wanted: &str| names.iter().position(|name| *name == wanted);
        Ok(Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            id: find(ID),
            fields: COLUMNS.iter().filter_map(|(column, field)| Some((*field, find(column)?))).collect(),
            kinds: schedule.other_kinds().filter_map(|kind| Some((kind.to_owned(), find(kind)?))).collect(),
            record,
        })
    }

    /// Returns the names of the columns, in their order.
    pub(super) fn names(self) -> Vec<String> {
        self.names
    }

    pub(super) fn parse(
        &mut self,
        line: &str,
        schedule: &Schedule,
        today: NaiveDate,
    ) -> Result<ImportedUser, String> {
        parse_record(line, &mut self.record).map_err(|error| error.to_string())?;
        if self.record.len() != self.names.len() {
            let fields = format_count(self.record.len(), "field", "fields");
            return Err(format!("has {fields}, but the header has {}", self.names.len()));
        }
        let mut input = UserInput::new(schedule, today);
        for (field, at) in &self.fields {
            input.set(field, &self.record[*at]);
        }
        for (kind, at) in &self.kinds {
            input.set_occasion(kind, &self.record[*at]);
        }
        let id = self.id.map_or(Ok(None), |at| parse_user_id(&self.record[at]));
        ImportedUser::new(id, input.validate()).map_err(|errors| {
            let by_column = |error: FieldError| FieldError::new(column_of(&error.field), error.problem);
            format_errors(&errors.into_iter().map(by_column).collect::<Vec<_>>())
        })
    }
}

fn check_columns(names: &[&str], schedule: &Schedule) -> Result<(), HeaderError> {
    if let [only] = names {
        for (separator, name) in [(';', "semicolons"), ('\t', "tabs")] {
            if only.contains(separator) {
                return Err(HeaderError::Separator(name));
            }
        }
    }
    let columns = COLUMNS.iter().map(|(column, _)| *column);
    let known: Vec<&str> = columns.chain([ID]).chain(schedule.other_kinds()).collect();
    for (at, name) in names.iter().enumerate() {
        if !known.contains(name) {
            return Err(HeaderError::Unknown {
                column: shortened(name),
                suggestion: suggestion(name, &known),
                known: known.join(","),
            });
        }
        if names[..at].contains(name) {
            return Err(HeaderError::Duplicate((*name).to_owned()));
        }
    }
    match COLUMNS[..REQUIRED].iter().find(|(column, _)| !names.contains(column)) {
        Some((missing, _)) => Err(HeaderError::Missing(missing)),
        None => Ok(()),
    }
}

fn column_of(field: &str) -> &str {
    let name = field.strip_prefix("occasions.").unwrap_or(field);
    COLUMNS.iter().find(|(_, field)| *field == name).map_or(name, |(column, _)| column)
}

fn suggestion(name: &str, known: &[&str]) -> String {
    let name = name.to_lowercase().replace([' ', '-'], "_");
    known
        .iter()
        .find(|known| strsim::damerau_levenshtein(known, &name) <= 2)
        .map_or_else(String::new, |known| format!("did you mean {known}? "))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum RecordError {
    #[error("unclosed quote: a field cannot continue on the next line")]
    UnclosedQuote,
    #[error("several records, whose line ends are CR alone: save the file with LF or CRLF line ends")]
    SeveralRecords,
}

fn parse_record(line: &str, record: &mut StringRecord) -> Result<(), RecordError> {
    if line.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
        return Err(RecordError::UnclosedQuote);
    }
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(line.len() + 1)
        .from_reader(line.as_bytes());
    record.clear();
    // Reading UTF-8 from memory does not fail.
    let _ = reader.read_record(record);
    // The csv crate ends a record at a CR outside quotes, so later records would be lost.
    if line.contains('\r') && reader.read_record(&mut StringRecord::new()).unwrap_or(true) {
        return Err(RecordError::SeveralRecords);
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

    fn parser(header: &str) -> Result<CsvParser, HeaderError> {
        CsvParser::new(header, &schedule())
    }

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date")
    }

    #[test]
    fn columns_may_come_in_any_order() {
        let mut parser = parser("\u{feff}time_zone,birth_date,last_name,first_name").expect("a valid header");
        let imported = parser
            .parse("Asia/Tokyo,--02-29,\"O\"\"Hara, Jr\",Scarlett", &schedule(), today())
            .expect("a valid line");
        assert_eq!(
            (imported.user.first_name.as_str(), imported.user.last_name.as_str()),
            ("Scarlett", "O\"Hara, Jr")
        );
    }

    #[test]
    fn a_header_without_a_column_names_it() {
        assert_eq!(parser("first_name,last_name,birth_date").err(), Some(HeaderError::Missing("time_zone")));
        let error = parser("name").expect_err("an error").to_string();
        assert!(error.contains("time_zone") && error.contains("work_anniversary"), "{error}");
        let error = parser("First Name").expect_err("an error").to_string();
        assert!(error.contains("did you mean first_name?"), "{error}");
        assert_eq!(
            parser("first_name;last_name;birth_date;time_zone").err(),
            Some(HeaderError::Separator("semicolons"))
        );
        assert!(matches!(parser("first_name,first_name"), Err(HeaderError::Duplicate(_))));
    }

    #[test]
    fn each_error_of_a_line_is_reported() {
        let mut parser = parser("first_name,last_name,birth_date,time_zone").expect("a valid header");
        let mut error = |line: &str| parser.parse(line, &schedule(), today()).expect_err("an error");
        assert!(error("Ada,Lovelace,1815-12-10").contains("3 fields"));
        assert!(error("\"Ada,Lovelace,1815-12-10,UTC").contains("quote"));
        assert!(error("A\0da,Lovelace,1815-12-10,UTC").contains("U+0000"));
        assert!(error("Ada,Lovelace,1815-13-10,UTC").contains("birth_date"));
        assert!(error("Ada,Lovelace,1815-12-10,London").contains("Europe/London"));
    }

    #[test]
    fn an_id_may_be_blank_and_an_invalid_id_is_reported() {
        let mut parser = parser("id,first_name,last_name,birth_date,time_zone").expect("a valid header");
        let mut person = |line: &str| parser.parse(line, &schedule(), today());
        let id = "0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f";
        let ada = person(&format!("{id},Ada,,1815-12-10,UTC")).expect("a valid line");
        assert_eq!(ada.id.map(|id| id.to_string()).as_deref(), Some(id));
        assert_eq!(person(" ,Ada,,1815-12-10,UTC").expect("a valid line").id, None);
        for wrong in ["17", "00000000-0000-0000-0000-000000000000"] {
            let error = person(&format!("{wrong},Ada,,1815-13-10,UTC")).expect_err("an error");
            let begins = format!("id: invalid id \"{wrong}\": use the UUID");
            assert!(error.starts_with(&begins) && error.contains("birth_date"), "{error}");
        }
    }

    #[test]
    fn each_configured_kind_is_a_column() {
        let mut parser =
            parser("first_name,last_name,birth_date,time_zone,work_anniversary").expect("a valid header");
        let mut person = |line: &str| parser.parse(line, &schedule(), today());
        let ada = person("Ada,Lovelace,1815-12-10,UTC,1833-06-05").expect("a valid line");
        assert_eq!(ada.user.occasions["work_anniversary"], Some("1833-06-05".parse().expect("a date")));
        let without = person("Ada,Lovelace,1815-12-10,UTC,").expect("a valid line");
        assert_eq!(without.user.occasions["work_anniversary"], None);
        let error = person("Ada,Lovelace,1815-12-10,UTC,1833-06-31").expect_err("June has 30 days");
        assert!(error.starts_with("work_anniversary: "), "{error}");
    }

    #[test]
    fn a_line_with_several_records_is_an_error() {
        const HEADER: &str = "first_name,last_name,birth_date,time_zone";
        const ADA: &str = "Ada,Lovelace,1815-12-10,UTC";
        let error = parser(&format!("{HEADER}\r{ADA}\r{ADA}")).expect_err("an error");
        assert!(error.to_string().contains("LF or CRLF"), "{error}");
        let mut parser = parser(HEADER).expect("a valid header");
        let mut person = |line: &str| parser.parse(line, &schedule(), today());
        for line in [format!("{ADA}\r{ADA}"), format!("{ADA}\r,"), format!("\"Ada\"{ADA}\r\r\"\"")] {
            let error = person(&line).expect_err("an error");
            assert!(error.contains("LF or CRLF"), "{error}");
        }
        // In quotes it is a part of the name, where control characters are invalid.
        let error = person("\"A\rda\",Lovelace,1815-12-10,UTC").expect_err("an error");
        assert!(error.contains("U+000D"), "{error}");
    }

    proptest! {
        #[test]
        fn no_line_panics_the_parser(line in ".{0,200}") {
            let mut parser = parser("first_name,last_name,birth_date,time_zone").expect("a valid header");
            let _ = parser.parse(&line, &schedule(), today());
        }
    }
}
