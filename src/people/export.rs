//! Export: users as lines of text that the import accepts.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::calendar::LeapDay;
use crate::model::{Schedule, User};

pub const PAGE_SIZE: u32 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// A header with column names, then a line for each user
    Csv,
    /// A JSON object on each line, as the API has it
    Ndjson,
}

#[derive(Debug, Clone)]
pub struct ExportWriter {
    format: ExportFormat,
    kinds: Vec<String>,
}

const COLUMNS: [&str; 12] = [
    "id",
    "first_name",
    "last_name",
    "birth_date",
    "time_zone",
    "send_at",
    "leap_day",
    "external_id",
    "email",
    "phone",
    "slack_user_id",
    "locale",
];

impl ExportWriter {
    #[must_use]
    pub fn new(format: ExportFormat, schedule: &Schedule) -> Self {
        Self { format, kinds: schedule.other_kinds().map(str::to_owned).collect() }
    }

    #[must_use]
    pub fn header(&self) -> String {
        match self.format {
            ExportFormat::Ndjson => String::new(),
            ExportFormat::Csv => record(COLUMNS.into_iter().chain(self.kinds.iter().map(String::as_str))),
        }
    }

    #[must_use]
    pub fn line(&self, user: &User) -> String {
        match self.format {
            ExportFormat::Ndjson => self.json_line(user),
            ExportFormat::Csv => self.csv_line(user),
        }
    }

    fn json_line(&self, user: &User) -> String {
        let mut user = user.clone();
        user.occasions.retain(|kind, _| self.kinds.contains(kind));
        let mut line = serde_json::to_string(&user).unwrap_or_default();
        line.push('\n');
        line
    }

    fn csv_line(&self, user: &User) -> String {
        let id = user.id.to_string();
        let birth_date = user.birth_date.to_string();
        let send_at = user.send_at.map(|at| at.to_string()).unwrap_or_default();
        let date = |kind: &String| user.occasions.get(kind).map(ToString::to_string).unwrap_or_default();
        let dates: Vec<String> = self.kinds.iter().map(date).collect();
        let fields = [
            id.as_str(),
            &user.first_name,
            &user.last_name,
            &birth_date,
            user.time_zone.name(),
            &send_at,
            user.leap_day.map(LeapDay::as_str).unwrap_or_default(),
            user.external_id.as_deref().unwrap_or_default(),
            user.email.as_deref().unwrap_or_default(),
            user.phone.as_deref().unwrap_or_default(),
            user.slack_user_id.as_deref().unwrap_or_default(),
            user.locale.as_deref().unwrap_or_default(),
        ];
        record(fields.into_iter().chain(dates.iter().map(String::as_str)))
    }
}

fn record<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    let mut writer = csv::WriterBuilder::new().buffer_capacity(256).from_writer(Vec::with_capacity(256));
    // Writing to memory does not fail.
    let _ = writer.write_record(fields);
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
