//! Import: saves users from a CSV, NDJSON or vCard file of any length, in batches. Invalid rows are reported, and the others imported.
//!
//! A row is the complete user: blank and absent fields are cleared. Only a CSV file without a column for a kind keeps the dates of
//! that kind, and one without a column for a type of address keeps these addresses. A vCard keeps what it does not have.
//!
//! An import can be repeated. A user with an `id`, as in an export, is updated, or created under that id; otherwise a user with an
//! `external_id` is updated. A user without both is identified by its row: the same row in a later import is the same user, while
//! two equal rows in one file are two users.
//!
//! A dry run compares the rows with the stored users, and writes nothing.

mod csv;
mod format;
mod importer;
mod lines;
mod ndjson;
mod reader;
mod rejects;
mod report;
mod user;
mod vcard;

use std::io::BufRead;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::calendar::Zone;
use crate::clock::SharedClock;
use crate::model::Schedule;
use crate::store::Store;
use importer::{BATCH, Importer};
use reader::{Part, Reader};

pub use csv::HeaderError;
pub use format::ImportFormat;
pub use rejects::rejected_rows;
pub use report::{Columns, ImportError, ImportReport, ImportRow, InvalidLine};

/// Rows between the reader and the importer while rejected rows are kept: each can have 64 KB.
const KEPT_ROWS: usize = 32;

/// What to read, and what to do with it.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    pub format: ImportFormat,
    /// The zone of vCards without one.
    pub time_zone: Option<Zone>,
    /// Write nothing, and report what an import would do.
    pub dry_run: bool,
    /// Receives the rejected rows, in the format of the file, with the header of a CSV file before the first. Rows over the limit of
    /// 64 KB are left out, and so are the pictures of vCards.
    pub rejects: Option<mpsc::Sender<Vec<u8>>>,
}

impl ImportOptions {
    #[must_use]
    pub fn new(format: ImportFormat) -> Self {
        Self { format, time_zone: None, dry_run: false, rejects: None }
    }
}

/// Imports `input`; calls `progress` with the bytes read. Reads `clock` for each batch, since an import can take hours.
pub async fn run(
    store: &Store,
    schedule: &Schedule,
    clock: &SharedClock,
    options: ImportOptions,
    input: impl BufRead + Send + 'static,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<ImportReport, ImportError> {
    let key = store.installation_key().await.map_err(|source| ImportError::Store {
        line: 1,
        attempts: 1,
        done: Box::default(),
        source,
    })?;
    let ImportOptions { format, time_zone, dry_run, rejects } = options;
    let keeps_rows = rejects.is_some();
    let (parts, mut read_parts) = mpsc::channel(if keeps_rows { KEPT_ROWS } else { BATCH });
    let reader =
        Reader { schedule: schedule.clone(), clock: Arc::clone(clock), time_zone, keeps_rows, parts };
    let reading = tokio::task::spawn_blocking(move || reader.read(format, input, progress));
    let mut importer = Importer::new(store, key, schedule, clock, dry_run, rejects);
    while let Some(part) = read_parts.recv().await {
        match part {
            Part::Header(line) => importer.set_header(line),
            Part::Row(row) => importer.add(row).await?,
        }
    }
    let report = importer.finish().await?;
    match reading.await {
        Ok(read) => read.map(|columns| ImportReport { columns, ..report }),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
