//! Rejected rows, as a file of the same format: to correct them and import them again.

use std::io::BufRead;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::mpsc;

use super::report::ImportError;
use super::{ImportOptions, run};
use crate::clock::SharedClock;
use crate::model::Schedule;
use crate::store::Store;

/// Rows that wait for a slow reader.
const WAITING: usize = 16;

/// Where the rejected rows go.
#[derive(Debug)]
pub(super) struct Rejects {
    sender: mpsc::Sender<Vec<u8>>,
    /// Of a CSV file, until the first row.
    header: Vec<u8>,
}

impl Rejects {
    pub(super) fn new(sender: mpsc::Sender<Vec<u8>>) -> Self {
        Self { sender, header: Vec::new() }
    }

    pub(super) fn set_header(&mut self, mut line: Vec<u8>) {
        line.push(b'\n');
        self.header = line;
    }

    /// Sends a row; without effect if it is empty, or if the receiver is gone.
    pub(super) async fn send(&mut self, text: Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let mut row = std::mem::take(&mut self.header);
        row.extend(text);
        row.push(b'\n');
        let _ = self.sender.send(row).await;
    }
}

/// Streams the rows of `input` that an import would reject, by a dry run. Ends early if the stream is dropped.
pub fn rejected_rows(
    store: Store,
    schedule: Arc<Schedule>,
    clock: SharedClock,
    options: ImportOptions,
    input: impl BufRead + Send + 'static,
) -> impl Stream<Item = Result<Vec<u8>, ImportError>> + Send {
    let (sender, receiver) = mpsc::channel(WAITING);
    let options = ImportOptions { dry_run: true, rejects: Some(sender), ..options };
    let dry_run = async move { run(&store, &schedule, &clock, options, input, |_| {}).await };
    let rows = stream::unfold(receiver, |mut receiver| async move {
        let row = receiver.recv().await?;
        Some((Ok(row), receiver))
    });
    let failure = stream::once(dry_run).filter_map(async |result| result.err().map(Err));
    stream::select(rows, failure)
}
