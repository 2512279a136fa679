//! Redrive: dead events go on their way again, each the same event as before.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::counter;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::scan::Next;
use super::{DeadLetters, Result, Seen, Standing};
use crate::calendar::Zone;
use crate::model::Reason;
use crate::store::chain;
use crate::store::{DeadFilter, RedriveCandidate, RedriveOutcome};

/// Events per transaction.
const BATCH: u32 = 500;
/// So many gather before they are put on the queue: the claim reads what is open, so to call it for each batch would read
/// the first of many again and again.
const ENQUEUE: u64 = 10_000;

/// What to send again, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redrive {
    /// Which dead events.
    pub filter: DeadFilter,
    /// How many of them at the most, those due first; none: all.
    pub limit: Option<u64>,
    /// Also to those whose local day is over, and those whom an earlier redrive has skipped for that.
    pub force: bool,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Events that go on their way per second at the most; 0 is no limit.
    pub max_per_second: u32,
    /// No new batch is begun after this much time; none: it goes on to the end.
    pub patience: Option<Duration>,
    /// So many messages of the dead-letter queue are looked at, at the most; none: all.
    pub messages: Option<u64>,
}

/// What a redrive did; in a dry run, what it would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedriveReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Events that are on their way again.
    pub redriven: u64,
    /// Events that are skipped from now on: their local day is over (`day_over`).
    pub skipped: u64,
    /// Events that are cancelled from now on: their user is gone (`user_deleted`).
    pub cancelled: u64,
    /// Whether there are more, beyond the limit or the time.
    pub more: bool,
    /// Messages deleted from the dead-letter queue: those that stand for no dead event any more.
    pub messages_deleted: u64,
    /// Messages looked at and left there.
    pub messages_kept: u64,
    /// Whether the dead-letter queue was looked at to its end. If not, run it again.
    pub messages_complete: bool,
}

impl RedriveReport {
    fn count(&mut self, fates: &[(Uuid, RedriveOutcome)]) -> u64 {
        let of = |wanted: fn(&RedriveOutcome) -> bool| {
            fates.iter().filter(|(_, fate)| wanted(fate)).count() as u64
        };
        let redriven = of(|fate| matches!(fate, RedriveOutcome::Redriven));
        self.redriven += redriven;
        self.skipped += of(|fate| matches!(fate, RedriveOutcome::Skipped(_)));
        self.cancelled += of(|fate| matches!(fate, RedriveOutcome::Cancelled(_)));
        redriven
    }

    /// Events that were dealt with in one way or another.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.redriven + self.skipped + self.cancelled
    }

    /// What became of the one event that was asked for.
    pub(super) fn fate(&self) -> Option<RedriveOutcome> {
        match (self.redriven, self.skipped, self.cancelled) {
            (1.., _, _) => Some(RedriveOutcome::Redriven),
            (_, 1.., _) => Some(RedriveOutcome::Skipped(Reason::DayOver)),
            (_, _, 1..) => Some(RedriveOutcome::Cancelled(Reason::UserDeleted)),
            _ => None,
        }
    }
}

impl DeadLetters {
    /// Sends dead events on their way again, in batches, and then deletes the messages that stand for no dead event any
    /// more, those that an earlier redrive left behind included. `progress` hears of the events as they are dealt with.
    ///
    /// # Errors
    /// The database or the queue refuses or is unavailable. The report has what was done until then, and that stays done.
    pub async fn redrive(
        &self,
        order: &Redrive,
        progress: impl Fn(u64) + Send,
    ) -> (RedriveReport, Result<()>) {
        let mut report = RedriveReport { dry_run: order.dry_run, ..RedriveReport::default() };
        let mut waiting = 0;
        let mut result = self.redrive_events(order, &mut report, &mut waiting, progress).await;
        if waiting > 0 {
            self.enqueue().await;
        }
        if !order.dry_run {
            if result.is_ok() {
                result = self.delete_overtaken(order, &mut report).await;
            }
            let RedriveReport { redriven, skipped, cancelled, messages_deleted, messages_kept, .. } = report;
            let done = result.is_ok();
            tracing::info!(redriven, skipped, cancelled, messages_deleted, messages_kept, done, "redrive");
        }
        (report, result)
    }

    async fn redrive_events(
        &self,
        order: &Redrive,
        report: &mut RedriveReport,
        waiting: &mut u64,
        progress: impl Fn(u64) + Send,
    ) -> Result<()> {
        let filter = DeadFilter { day_over: order.force, ..order.filter.clone() };
        let began = self.clock.monotonic();
        let mut after = None;
        loop {
            let now = self.clock.now();
            let judge = |candidate: &RedriveCandidate| fate(candidate, now, order.force);
            let room = order.limit.map_or(u64::MAX, |limit| limit - report.handled());
            if room == 0 {
                let rest = self.store.redrive_page(now, &filter, after, 1, true, judge);
                report.more = !rest.await?.outcomes.is_empty();
                return Ok(());
            }
            let size = match order.max_per_second {
                0 => BATCH,
                most => BATCH.min(most),
            };
            let size = u64::from(size).min(room) as u32;
            let page = self.store.redrive_page(now, &filter, after, size, order.dry_run, judge).await?;
            let redriven = report.count(&page.outcomes);
            report.messages_deleted += page.deleted_dead_letters;
            progress(page.outcomes.len() as u64);
            if !order.dry_run {
                note(&page.outcomes, redriven);
                *waiting += redriven;
                if *waiting >= ENQUEUE || order.max_per_second > 0 && redriven > 0 {
                    self.enqueue().await;
                    *waiting = 0;
                }
            }
            if page.next.is_none() {
                return Ok(());
            }
            after = page.next;
            if !self.may_go_on(order, report.redriven, began).await {
                report.more = true;
                return Ok(());
            }
        }
    }

    /// Waits as the rate demands; gives whether there is time left.
    async fn may_go_on(&self, order: &Redrive, redriven: u64, began: Instant) -> bool {
        let passed = self.clock.monotonic().duration_since(began);
        let wait = if order.dry_run || order.max_per_second == 0 {
            Duration::ZERO
        } else {
            let due = redriven as f64 / f64::from(order.max_per_second);
            Duration::from_secs_f64(due).saturating_sub(passed)
        };
        if order.patience.is_some_and(|patience| passed + wait > patience) {
            return false;
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }

    /// Claims what is due. A hint: where it fails, the next pass of a scheduler does it.
    async fn enqueue(&self) {
        if let Err(error) = self.scheduler.send_due(self.clock.now()).await {
            tracing::warn!(error = chain(&error), "claim failed; the next tick retries");
        }
    }

    async fn delete_overtaken(&self, order: &Redrive, report: &mut RedriveReport) -> Result<()> {
        let only = match order.filter.ids.as_slice() {
            [id] => Some(*id),
            _ => None,
        };
        let decide = |seen: &Seen| match seen.standing {
            Standing::Overtaken if only.is_some() && seen.event_id == only => Next::DeleteLast,
            // The event of a deleted user has another id than its message.
            Standing::Overtaken | Standing::Unknown => Next::Delete,
            Standing::Dead | Standing::Unreadable => Next::Keep,
        };
        let passed = self.pass(order.messages.unwrap_or(u64::MAX), false, decide).await?;
        report.messages_deleted += passed.deleted;
        counter!("bday_dead_letters_deleted_total", "by" => "redrive").increment(report.messages_deleted);
        report.messages_kept = passed.kept;
        report.messages_complete = passed.complete;
        Ok(())
    }
}

/// What becomes of a dead event at `now`. Whoever is gone cannot be greeted; a greeting after its day is worse than none,
/// unless somebody wants it `force`.
fn fate(candidate: &RedriveCandidate, now: DateTime<Utc>, force: bool) -> RedriveOutcome {
    let Some(zone) = candidate.time_zone.as_deref() else {
        return RedriveOutcome::Cancelled(Reason::UserDeleted);
    };
    // A zone that this binary does not know was written by a later one.
    let zone = Zone::parse(zone).unwrap_or(Zone::UTC);
    if !force && now >= zone.local_day_ends_at(candidate.local_date) {
        return RedriveOutcome::Skipped(Reason::DayOver);
    }
    RedriveOutcome::Redriven
}

fn note(fates: &[(Uuid, RedriveOutcome)], redriven: u64) {
    counter!("bday_events_redriven_total").increment(redriven);
    for (_, fate) in fates {
        match fate {
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
    fn the_local_day_decides_and_not_that_of_utc() {
        let candidate = |zone: Option<&str>| RedriveCandidate {
            id: Uuid::nil(),
            due_at: DateTime::UNIX_EPOCH,
            local_date: "2026-03-15".parse().expect("a date"),
            time_zone: zone.map(str::to_owned),
        };
        let fate = |zone, now: &str, force| {
            let now = DateTime::parse_from_rfc3339(now).expect("an instant").to_utc();
            super::fate(&candidate(zone), now, force)
        };
        let over = RedriveOutcome::Skipped(Reason::DayOver);
        assert_eq!(fate(Some("America/Phoenix"), "2026-03-16T06:59:59Z", false), RedriveOutcome::Redriven);
        assert_eq!(fate(Some("America/Phoenix"), "2026-03-16T07:00:00Z", false), over);
        assert_eq!(fate(Some("Pacific/Auckland"), "2026-03-15T11:00:00Z", false), over);
        assert_eq!(fate(Some("Pacific/Auckland"), "2026-04-15T11:00:00Z", true), RedriveOutcome::Redriven);
        let gone = RedriveOutcome::Cancelled(Reason::UserDeleted);
        assert_eq!(fate(None, "2026-03-15T09:00:00Z", true), gone);
    }
}
