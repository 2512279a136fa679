use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::csv::HeaderError;
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone, format_count};
use crate::model::{ContactType, NewUser};
use crate::store::{StoreError, UserChange};

const MAX_LISTED: usize = 1000;
/// Rows of a preview.
const MAX_ROWS: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvalidLine {
    /// From 1; the header of a CSV file is line 1. Of a vCard: its first line.
    pub line: u64,
    /// The errors, by field, with the value and what to do.
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    /// True: nothing was written, and the counts are what an import would do.
    pub dry_run: bool,
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub failed: u64,
    /// The first 1000 failed lines.
    pub errors: Vec<InvalidLine>,
    pub columns: Columns,
    /// The first 10 valid rows of a dry run; empty otherwise.
    pub rows: Vec<ImportRow>,
}

/// The columns of a CSV file, or the properties of vCards; none for NDJSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ImportColumns)]
pub struct Columns {
    #[schema(example = json!(["first_name", "birth_date"]))]
    pub recognised: Vec<String>,
    /// Only of vCards: an unknown column of a CSV file is an error.
    #[schema(example = json!([]))]
    pub ignored: Vec<String>,
}

/// A row of the file, and what an import would do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportRow {
    pub line: u64,
    pub change: UserChange,
    pub first_name: String,
    pub last_name: String,
    #[schema(value_type = String, example = "1815-12-10")]
    pub birth_date: AnnualDate,
    #[schema(value_type = String, example = "Europe/London")]
    pub time_zone: Zone,
    #[schema(value_type = Option<String>, example = "09:00")]
    pub send_at: Option<SendAt>,
    pub leap_day: Option<LeapDay>,
    pub external_id: Option<String>,
    pub locale: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub slack_user_id: Option<String>,
    #[schema(value_type = BTreeMap<String, String>)]
    pub occasions: BTreeMap<String, AnnualDate>,
}

impl ImportRow {
    fn new(line: u64, change: UserChange, user: NewUser) -> Self {
        let NewUser { mut addresses, occasions, .. } = user;
        let mut address = |contact| addresses.remove(&contact).flatten();
        Self {
            line,
            change,
            first_name: user.first_name,
            last_name: user.last_name,
            birth_date: user.birth_date,
            time_zone: user.time_zone,
            send_at: user.send_at,
            leap_day: user.leap_day,
            external_id: user.external_id,
            locale: user.locale,
            email: address(ContactType::Email),
            phone: address(ContactType::Phone),
            slack_user_id: address(ContactType::SlackUserId),
            occasions: occasions.into_iter().filter_map(|(kind, date)| Some((kind, date?))).collect(),
        }
    }
}

impl ImportReport {
    pub(super) fn add_change(&mut self, change: UserChange) {
        match change {
            UserChange::Created => self.created += 1,
            UserChange::Updated => self.updated += 1,
            UserChange::Unchanged => self.unchanged += 1,
        }
    }

    pub(super) fn add_invalid(&mut self, line: u64, reason: String) {
        self.failed += 1;
        if self.errors.len() < MAX_LISTED {
            self.errors.push(InvalidLine { line, reason });
        }
    }

    /// Adds a row of a dry run to the preview.
    pub(super) fn add_row(&mut self, line: u64, change: UserChange, user: NewUser) {
        if self.rows.len() < MAX_ROWS {
            self.rows.push(ImportRow::new(line, change, user));
        }
    }
}

/// Why an import stopped. Earlier lines stay imported; running the import again completes it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("reading failed after line {line}")]
    Read {
        line: u64,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "line {line} and later lines were not imported after {} (before: created {}, updated {}, \
         unchanged {}, failed {}): run the import again",
        format_count(*attempts, "attempt", "attempts"), done.created, done.updated, done.unchanged, done.failed
    )]
    Store {
        line: u64,
        attempts: u32,
        done: Box<ImportReport>,
        #[source]
        source: StoreError,
    },
}
