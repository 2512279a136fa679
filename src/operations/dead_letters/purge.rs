//! Purge: deletes messages from the dead-scanned queue. The events stay dead, and can still be redriven.

use metrics::counter;
use serde::Serialize;

use super::scan::Action;
use super::{DeadLetters, MessageStatus, Result, ScannedMessage};
use crate::store::DeadFilter;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeOptions {
    /// Only messages of these events. An empty filter selects all messages, unreadable ones included.
    pub filter: DeadFilter,
    /// Only messages without a dead event.
    pub strays: bool,
    /// Count without deleting.
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PurgeReport {
    pub dry_run: bool,
    /// Messages deleted, or to be deleted in a dry run.
    pub purged: u64,
    pub kept: u64,
    /// Whether the whole queue was scanned. If not, purge again.
    pub complete: bool,
}

impl DeadLetters {
    /// Deletes messages. `progress` is called with 1 for each message.
    pub async fn purge(
        &self,
        options: &PurgeOptions,
        progress: impl Fn(u64) + Send + Sync,
    ) -> Result<PurgeReport> {
        let decide = |scanned: &ScannedMessage| {
            progress(1);
            if options.selects(scanned) { Action::Delete } else { Action::Keep }
        };
        let dry_run = options.dry_run;
        let scan = self.scan(u64::MAX, dry_run, decide).await?;
        if !dry_run {
            counter!("bday_dead_letters_deleted_total", "by" => "purge").increment(scan.deleted);
            tracing::info!(
                purged = scan.deleted,
                kept = scan.kept,
                complete = scan.complete,
                "dead letters purged"
            );
        }
        Ok(PurgeReport { dry_run, purged: scan.deleted, kept: scan.kept, complete: scan.complete })
    }
}

impl PurgeOptions {
    fn selects(&self, scanned: &ScannedMessage) -> bool {
        if self.strays {
            return scanned.status != MessageStatus::Dead;
        }
        match &scanned.event {
            Some(event) => self.filter.matches(event),
            None => self.filter.is_empty(),
        }
    }
}
