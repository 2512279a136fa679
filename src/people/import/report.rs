use serde::Serialize;
use utoipa::ToSchema;

use super::csv::HeaderError;
use crate::calendar::format_count;
use crate::store::{StoreError, UserChange};

const MAX_LISTED: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvalidLine {
    /// From 1; the header of a CSV file is line 1.
    pub line: u64,
    /// The errors, by field, with the value and what to do.
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportReport {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub failed: u64,
    /// The first 1000 failed lines.
    pub errors: Vec<InvalidLine>,
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
