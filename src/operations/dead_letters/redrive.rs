//! Redrive: dead events become pending again.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::counter;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::scan::Action;
use super::{DeadLetters, MessageStatus, Result, ScannedMessage};
use crate::calendar::Zone;
use crate::model::Reason;
use crate::store::{DeadFilter, RedriveCandidate, RedriveOutcome, chain};

/// Events per transaction.
const BATCH: u32 = 500;
/// Redriven events per claim. A claim after each batch would read the first of many open events again and again.
const CLAIM_SIZE: u64 = 10_000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedriveOptions {
    pub filter: DeadFilter,
    /// Maximum number of events, the earliest due first.
    pub limit: Option<u64>,
    /// Redrives also events whose local day is over, and those that an earlier redrive skipped for that.
    pub force: bool,
    pub dry_run: bool,
    /// 0: no limit.
    pub max_per_second: u32,
    /// No batch starts after this time.
    pub time_limit: Option<Duration>,
    /// Maximum number of messages to scan in the dead-letter queue.
    pub max_messages: Option<u64>,
}

/// What a redrive did; in a dry run, what it would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedriveReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Events that are pending again.
    pub redriven: u64,
    /// Events that were skipped because their local day is over (`day_over`).
    pub skipped: u64,
    /// Events that were cancelled because their user was deleted (`user_deleted`).
    pub cancelled: u64,
    /// Whether there are more events, beyond the limit or the time.
    pub more: bool,
    /// Messages without a dead event that were deleted from the dead-letter queue.
    pub messages_deleted: u64,
    /// Messages that were scanned and kept.
    pub messages_kept: u64,
    /// Whether the whole dead-letter queue was scanned. If not, redrive again. False in a dry run, which scans no messages.
    pub messages_complete: bool,
}

impl RedriveReport {
    /// Returns the number of redriven events.
    fn count(&mut self, outcomes: &[(Uuid, RedriveOutcome)]) -> u64 {
        let before = self.redriven;
        for (_, outcome) in outcomes {
            match outcome {
                RedriveOutcome::Redriven => self.redriven += 1,
                RedriveOutcome::Skipped(_) => self.skipped += 1,
                RedriveOutcome::Cancelled(_) => self.cancelled += 1,
            }
        }
        self.redriven - before
    }

    /// Returns the number of events that were redriven, skipped or cancelled.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.redriven + self.skipped + self.cancelled
    }

    /// Returns the outcome of a redrive of one event, if it was dead.
    pub(super) fn outcome_of_one(&self) -> Option<RedriveOutcome> {
        match (self.redriven, self.skipped, self.cancelled) {
            (1.., _, _) => Some(RedriveOutcome::Redriven),
            (_, 1.., _) => Some(RedriveOutcome::Skipped(Reason::DayOver)),
            (_, _, 1..) => Some(RedriveOutcome::Cancelled(Reason::UserDeleted)),
            _ => None,
        }
    }
}

impl RedriveOptions {
    fn batch_size(&self, room: u64) -> u32 {
        let size = if self.max_per_second == 0 { BATCH } else { BATCH.min(self.max_per_second) };
        u64::from(size).min(room) as u32
    }

    /// Returns how long to wait before the next batch, after `redriven` events in `elapsed`.
    fn wait(&self, redriven: u64, elapsed: Duration) -> Duration {
        if self.dry_run || self.max_per_second == 0 {
            return Duration::ZERO;
        }
        let due = redriven as f64 / f64::from(self.max_per_second);
        Duration::from_secs_f64(due).saturating_sub(elapsed)
    }
}

impl DeadLetters {
    /// Redrives dead events in batches, then deletes the messages without a dead event, including those that an earlier
    /// redrive left behind. `progress` is called with the number of events of each batch. After an error, the report has
    /// what was done before.
    pub async fn redrive(
        &self,
        options: &RedriveOptions,
        progress: impl Fn(u64) + Send,
    ) -> (RedriveReport, Result<()>) {
        let mut report = RedriveReport { dry_run: options.dry_run, ..RedriveReport::default() };
        let mut unclaimed = 0;
        let mut result = self.redrive_events(options, &mut report, &mut unclaimed, progress).await;
        if unclaimed > 0 {
            self.claim().await;
        }
        if !options.dry_run {
            if result.is_ok() {
                result = self.delete_messages(options, &mut report).await;
            }
            let RedriveReport { redriven, skipped, cancelled, messages_deleted, messages_kept, .. } = report;
            let complete = result.is_ok();
            tracing::info!(
                redriven,
                skipped,
                cancelled,
                messages_deleted,
                messages_kept,
                complete,
                "dead events redriven"
            );
        }
        (report, result)
    }

    async fn redrive_events(
        &self,
        options: &RedriveOptions,
        report: &mut RedriveReport,
        unclaimed: &mut u64,
        progress: impl Fn(u64) + Send,
    ) -> Result<()> {
        let filter = DeadFilter { day_over: options.force, ..options.filter.clone() };
        let started = self.clock.monotonic();
        let mut after = None;
        loop {
            let now = self.clock.now();
            let decide = |candidate: &RedriveCandidate| outcome(candidate, now, options.force);
            let room = options.limit.map_or(u64::MAX, |limit| limit - report.handled());
            if room == 0 {
                let rest = self.store.redrive_page(now, &filter, after, 1, true, decide).await?;
                report.more = !rest.outcomes.is_empty();
                return Ok(());
            }
            let (size, dry_run) = (options.batch_size(room), options.dry_run);
            let page = self.store.redrive_page(now, &filter, after, size, dry_run, decide).await?;
            let redriven = report.count(&page.outcomes);
            report.messages_deleted += page.deleted_dead_letters;
            progress(page.outcomes.len() as u64);
            if !dry_run {
                count_metrics(&page.outcomes, redriven);
                *unclaimed += redriven;
                if *unclaimed >= CLAIM_SIZE || options.max_per_second > 0 && redriven > 0 {
                    self.claim().await;
                    *unclaimed = 0;
                }
            }
            if page.next.is_none() {
                return Ok(());
            }
            after = page.next;
            if !self.wait_for_next_batch(options, report.redriven, started).await {
                report.more = true;
                return Ok(());
            }
        }
    }

    /// Waits as long as the rate requires. Returns `false` if that exceeds the time limit.
    async fn wait_for_next_batch(&self, options: &RedriveOptions, redriven: u64, started: Instant) -> bool {
        let elapsed = self.clock.monotonic().duration_since(started);
        let wait = options.wait(redriven, elapsed);
        if options.time_limit.is_some_and(|limit| elapsed + wait > limit) {
            return false;
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }

    async fn claim(&self) {
        if let Err(error) = self.scheduler.send_due(self.clock.now()).await {
            tracing::warn!(error = chain(&error), "claim failed; the next tick retries");
        }
    }

    async fn delete_messages(&self, options: &RedriveOptions, report: &mut RedriveReport) -> Result<()> {
        let only = match options.filter.ids.as_slice() {
            [id] => Some(*id),
            _ => None,
        };
        let decide = |scanned: &ScannedMessage| match scanned.status {
            MessageStatus::Stale if only.is_some() && scanned.event_id == only => Action::DeleteAndStop,
            // The event of a deleted user has another id than its message.
            MessageStatus::Stale | MessageStatus::Unknown => Action::Delete,
            MessageStatus::Dead | MessageStatus::Unreadable => Action::Keep,
        };
        let scan = self.scan(options.max_messages.unwrap_or(u64::MAX), false, decide).await?;
        report.messages_deleted += scan.deleted;
        counter!("bday_dead_letters_deleted_total", "by" => "redrive").increment(report.messages_deleted);
        report.messages_kept = scan.kept;
        report.messages_complete = scan.complete;
        Ok(())
    }
}

fn outcome(candidate: &RedriveCandidate, now: DateTime<Utc>, force: bool) -> RedriveOutcome {
    let Some(zone) = candidate.time_zone.as_deref() else {
        return RedriveOutcome::Cancelled(Reason::UserDeleted);
    };
    // A newer binary may have written a zone that this one does not know.
    let zone = Zone::parse(zone).unwrap_or(Zone::UTC);
    if !force && now >= zone.local_day_ends_at(candidate.local_date) {
        return RedriveOutcome::Skipped(Reason::DayOver);
    }
    RedriveOutcome::Redriven
}

fn count_metrics(outcomes: &[(Uuid, RedriveOutcome)], redriven: u64) {
    counter!("bday_events_redriven_total").increment(redriven);
    for (_, outcome) in outcomes {
        match outcome {
            RedriveOutcome::Redriven => {}
            RedriveOutcome::Skipped(reason) => {
                counter!("bday_events_skipped_total", "reason" => reason.as_str()).increment(1);
            }
            RedriveOutcome::Cancelled(reason) => {
                counter!("bday_events_cancelled_total", "reason" => reason.as_str()).increment(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_ends_in_the_zone_of_the_user() {
        let candidate = |zone: Option<&str>| RedriveCandidate {
            id: Uuid::nil(),
            due_at: DateTime::UNIX_EPOCH,
            local_date: "2026-03-15".parse().expect("a date"),
            time_zone: zone.map(str::to_owned),
        };
        let outcome = |zone, now: &str, force| {
            let now = DateTime::parse_from_rfc3339(now).expect("an instant").to_utc();
            super::outcome(&candidate(zone), now, force)
        };
        let over = RedriveOutcome::Skipped(Reason::DayOver);
        assert_eq!(outcome(Some("America/Phoenix"), "2026-03-16T06:59:59Z", false), RedriveOutcome::Redriven);
        assert_eq!(outcome(Some("America/Phoenix"), "2026-03-16T07:00:00Z", false), over);
        assert_eq!(outcome(Some("Pacific/Auckland"), "2026-03-15T11:00:00Z", false), over);
        assert_eq!(outcome(Some("Pacific/Auckland"), "2026-04-15T11:00:00Z", true), RedriveOutcome::Redriven);
        let deleted = RedriveOutcome::Cancelled(Reason::UserDeleted);
        assert_eq!(outcome(None, "2026-03-15T09:00:00Z", true), deleted);
    }
}
