//! An uploaded file, read from its chunks in the database.

use std::io::{self, BufRead, BufReader};

use futures_util::stream;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::calendar::Zone;
use crate::people::import::{ImportFormat, ImportOptions};
use crate::store::{Store, Upload};
use uuid::Uuid;

const BUFFER_BYTES: usize = 64 * 1024;

/// Returns the file. Reading fails if it was deleted meanwhile: its end must not look like the end of the file. Reads block, in a thread
/// that may block.
pub(super) fn open(store: &Store, upload: Uuid, chunks: i32) -> impl BufRead + Send + use<> {
    let store = store.clone();
    let chunks = stream::try_unfold(0, move |number| {
        let store = store.clone();
        async move {
            if number >= chunks {
                return Ok(None);
            }
            let chunk = store.upload_chunk(upload, number).await.map_err(io::Error::other)?;
            let chunk = chunk.ok_or_else(|| io::Error::other("the upload was deleted"))?;
            Ok::<_, io::Error>(Some((io::Cursor::new(chunk), number + 1)))
        }
    });
    BufReader::with_capacity(BUFFER_BYTES, SyncIoBridge::new(StreamReader::new(Box::pin(chunks))))
}

/// Returns how the file is imported.
pub(super) fn options(upload: &Upload) -> ImportOptions {
    ImportOptions { time_zone: time_zone(upload), ..ImportOptions::new(format(upload)) }
}

pub(super) fn format(upload: &Upload) -> ImportFormat {
    ImportFormat::of_media_type(&upload.media_type).unwrap_or(ImportFormat::Csv)
}

pub(super) fn time_zone(upload: &Upload) -> Option<Zone> {
    Zone::parse(upload.time_zone.as_deref()?).ok()
}
