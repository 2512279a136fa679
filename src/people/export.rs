//! Export: people as text, a line each, in a form that the import takes back.

use crate::calendar::LeapDay;
use crate::model::{Schedule, User};

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The columns of the import, and one for each further kind.
    Csv,
    /// A JSON object a line, with id and times.
    Ndjson,
}

/// Users per page.
pub const PAGE: u32 = 1000;

/// Writes lines.
#[derive(Debug, Clone)]
pub struct Writer {
    format: Format,
    kinds: Vec<String>,
}

const COLUMNS: [&str; 8] =
    ["id", "first_name", "last_name", "birth_date", "time_zone", "send_at", "leap_day", "external_id"];

impl Writer {
    /// With the kinds that `schedule` knows.
    #[must_use]
    pub fn new(format: Format, schedule: &Schedule) -> Self {
        Self { format, kinds: schedule.other_kinds().map(str::to_owned).collect() }
    }

    /// What comes before the first user.
    #[must_use]
    pub fn head(&self) -> String {
        match self.format {
            Format::Ndjson => String::new(),
            Format::Csv => {
                let columns = COLUMNS.into_iter().chain(self.kinds.iter().map(String::as_str));
                record(columns)
            }
        }
    }

    /// One user, with the end of the line.
    #[must_use]
    pub fn line(&self, user: &User) -> String {
        let occasions = &user.occasions;
        match self.format {
            Format::Ndjson => {
                let mut user = user.clone();
                user.occasions.retain(|kind, _| self.kinds.contains(kind));
                let mut line = serde_json::to_string(&user).unwrap_or_default();
                line.push('\n');
                line
            }
            Format::Csv => {
                let birth_date = user.birth_date.to_string();
                let send_at = user.send_at.map(|at| at.to_string()).unwrap_or_default();
                let dates: Vec<String> = self
                    .kinds
                    .iter()
                    .map(|kind| occasions.get(kind).map(ToString::to_string).unwrap_or_default())
                    .collect();
                let id = user.id.to_string();
                let fields = [
                    id.as_str(),
                    &user.first_name,
                    &user.last_name,
                    &birth_date,
                    user.time_zone.name(),
                    &send_at,
                    user.leap_day.map(LeapDay::as_str).unwrap_or_default(),
                    user.external_id.as_deref().unwrap_or_default(),
                ];
                record(fields.into_iter().chain(dates.iter().map(String::as_str)))
            }
        }
    }
}

/// RFC 4180, but for the line end.
fn record<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::with_capacity(120);
    for (at, field) in fields.enumerate() {
        if at > 0 {
            line.push(',');
        }
        if field.contains([',', '"', '\n', '\r']) {
            line.push('"');
            line.push_str(&field.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(field);
        }
    }
    line.push('\n');
    line
}
