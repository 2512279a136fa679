//! Purge: messages that nobody wants any more leave the dead-letter queue. The events stay dead on record, and can still
//! be redriven.

use metrics::counter;
use serde::Serialize;

use super::scan::Next;
use super::{DeadLetters, Result, Seen, Standing};
use crate::store::DeadFilter;

/// Which messages to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purge {
    /// Those of these events; an empty filter means all there are, those that are none of ours included.
    pub filter: DeadFilter,
    /// Only those that stand for no dead event.
    pub strays: bool,
    /// Only count them.
    pub dry_run: bool,
}

/// What a purge did, or would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PurgeReport {
    /// Whether it only counted.
    pub dry_run: bool,
    /// Messages deleted.
    pub purged: u64,
    /// Messages looked at and kept.
    pub kept: u64,
    /// Whether it saw the end of the queue; if not, it is to be run again.
    pub complete: bool,
}

impl DeadLetters {
    /// Deletes messages from the dead-letter queue. `progress` hears of each that was looked at.
    ///
    /// # Errors
    /// The database or the queue refuses or is unavailable; what was deleted until then is gone.
    pub async fn purge(&self, order: &Purge, progress: impl Fn(u64) + Send + Sync) -> Result<PurgeReport> {
        let decide = |seen: &Seen| {
            progress(1);
            if order.wants(seen) { Next::Delete } else { Next::Keep }
        };
        let passed = self.pass(u64::MAX, order.dry_run, decide).await?;
        if !order.dry_run {
            counter!("bday_dead_letters_deleted_total", "by" => "purge").increment(passed.deleted);
            tracing::info!(
                purged = passed.deleted,
                kept = passed.kept,
                complete = passed.complete,
                "dead letters purged"
            );
        }
        Ok(PurgeReport {
            dry_run: order.dry_run,
            purged: passed.deleted,
            kept: passed.kept,
            complete: passed.complete,
        })
    }
}

impl Purge {
    fn wants(&self, seen: &Seen) -> bool {
        if self.strays {
            return seen.standing != Standing::Dead;
        }
        match &seen.event {
            Some(event) => self.filter.matches(event),
            None => self.filter.is_empty(),
        }
    }
}
