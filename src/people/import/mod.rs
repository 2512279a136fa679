//! Import: saves users from a CSV or NDJSON file of any length, in batches. Invalid lines are reported, and the others imported.
//!
//! A line is the complete user: blank and absent fields are cleared. Only a CSV file without a column for a kind keeps the dates of
//! that kind, and one without a column for a type of address keeps these addresses.
//!
//! An import can be repeated. A user with an `id`, as in an export, is updated, or created under that id; otherwise a user with an
//! `external_id` is updated. A user without both is identified by its line: the same line in a later import is the same user, while
//! two equal lines in one file are two users.

mod csv;
mod importer;
mod lines;
mod ndjson;
mod reader;
mod report;
mod user;

use std::io::BufRead;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::file_format::FileFormat;
use crate::clock::SharedClock;
use crate::model::Schedule;
use crate::store::Store;
use importer::{BATCH, Importer};
use reader::Reader;

pub use csv::HeaderError;
pub use report::{ImportError, ImportReport, InvalidLine};

/// Imports `input`; calls `progress` with the bytes read. Reads `clock` for each batch, since an import can take hours.
pub async fn run(
    store: &Store,
    schedule: &Schedule,
    clock: &SharedClock,
    format: FileFormat,
    input: impl BufRead + Send + 'static,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<ImportReport, ImportError> {
    let key = store.installation_key().await.map_err(|source| ImportError::Store {
        line: 1,
        attempts: 1,
        done: Box::default(),
        source,
    })?;
    let (parsed, mut lines) = mpsc::channel(BATCH);
    let reader = Reader { schedule: schedule.clone(), clock: Arc::clone(clock), parsed };
    let reading = tokio::task::spawn_blocking(move || reader.read(format, input, progress));
    let mut importer = Importer::new(store, key, schedule, clock);
    while let Some((line, user)) = lines.recv().await {
        importer.add(line, user).await?;
    }
    let report = importer.finish().await?;
    match reading.await {
        Ok(read) => read.map(|()| report),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
