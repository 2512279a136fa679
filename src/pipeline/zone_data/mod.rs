//! The guard over zone data and planning rules: greetings are due by the data of *this* binary and the rules of its
//! configuration, and nothing computed by others stays.
//!
//! A zone's rules change several times a year, with weeks or with days of notice. Events are planned two days ahead, so
//! those of the old rules must move when a binary with new rules takes over: [`recompute`], once at the start of a
//! scheduling process, before its first tick. What each move was goes to the log and to a metric.
//!
//! So it is with a configuration that has other kinds, send times or another `plan.leap_day` than the scheduler that planned
//! last: pending events move, and the days that were planned already are gone through again for those who had no event by the
//! old rules.
//!
//! Guaranteed: when [`recompute`] returns [`RecomputeOutcome::Done`] or [`RecomputeOutcome::Current`], every event that was pending when
//! it began is due where this binary's data put it. Any number of processes may start at once: one does the work. Not
//! guaranteed: what a process of an *older* binary, or with another configuration, plans afterwards. While both run, the new one
//! should be started (again) last.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::counter;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::calendar::Zone;
use crate::clock::heartbeat::Heartbeat;
use crate::clock::{Clock, SharedClock};
use crate::model::Schedule;
use crate::store::{self, Basis, Moved, Recomputed, Store};

/// Events a transaction: few enough that an edit which waits for it does not notice.
const PAGE: u32 = 500;
/// As many moved events are named in the log.
const NAMED: usize = 20;
/// Between two looks while another process is at it, or the database away.
const PAUSE: Duration = Duration::from_secs(1);

/// What a recomputation found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum RecomputeOutcome {
    /// Pending events already were computed with this binary's data and these rules.
    Current,
    /// Another process is at it.
    Elsewhere,
    /// Every pending event was computed again.
    Done(RecomputeReport),
}

/// What moved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RecomputeReport {
    /// How many pending events were looked at. One that moved ahead may have been met again there.
    pub looked_at: u64,
    /// How many of them are due at another instant, or no longer at all.
    pub moved: u64,
    /// The same by zone.
    pub by_zone: BTreeMap<String, u64>,
}

/// The zone data of this binary, as it is noted in the database.
#[must_use]
pub fn version() -> String {
    format!("{}, before 2020 {}", Zone::tzdb_version(), Zone::tzdb_history_version())
}

/// Computes all pending events again if they were computed with other data than `version` or by other rules than those of
/// `schedule`, page after page, and logs what moved. `progress` is called after each page. A process that dies on the way is
/// continued by the next one.
///
/// Users whom this version cannot read are named in the log, and their events stay.
pub async fn recompute(
    store: &Store,
    schedule: &Schedule,
    clock: &dyn Clock,
    version: &str,
    progress: impl Fn(),
) -> store::Result<RecomputeOutcome> {
    let basis = Basis { zone_data: version.to_owned(), rules: schedule.rules() };
    let before = store.planning_basis().await?;
    let new_data = before.as_ref().is_none_or(|before| before.zone_data != version);
    let (mut report, mut named) = (RecomputeReport::default(), 0);
    loop {
        match store.recompute_page(schedule, clock.now(), &basis, PAGE).await? {
            Recomputed::Current => return Ok(RecomputeOutcome::Current),
            Recomputed::Elsewhere => return Ok(RecomputeOutcome::Elsewhere),
            Recomputed::Page { looked_at, moved, unreadable, last } => {
                progress();
                report.looked_at += looked_at;
                if let Some((user_id, error)) = unreadable.first() {
                    let users = unreadable.len();
                    tracing::error!(users, %user_id, error, "pending events of unreadable users stay as they are");
                }
                if new_data {
                    counter!("bday_events_moved_by_zone_data_total").increment(moved.len() as u64);
                }
                note(&mut report, &mut named, moved);
                if last {
                    break;
                }
            }
        }
    }
    log(before.as_ref(), &basis, &report);
    Ok(RecomputeOutcome::Done(report))
}

fn log(before: Option<&Basis>, after: &Basis, report: &RecomputeReport) {
    let was = |of: fn(&Basis) -> &String| {
        before.map(of).filter(|text| !text.is_empty()).map_or("none", String::as_str)
    };
    let (zone_data, rules) = (was(|basis| &basis.zone_data), was(|basis| &basis.rules));
    if zone_data != after.zone_data {
        tracing::info!(from = zone_data, to = after.zone_data, "zone data changed");
    }
    if rules != after.rules {
        tracing::info!(from = rules, to = after.rules, "planning rules changed");
    }
    tracing::info!(
        looked_at = report.looked_at,
        moved = report.moved,
        by_zone = ?report.by_zone,
        "pending events recomputed"
    );
}

fn note(report: &mut RecomputeReport, named: &mut usize, moved: Vec<Moved>) {
    for Moved { event_id, time_zone, from, to } in moved {
        report.moved += 1;
        if *named < NAMED {
            *named += 1;
            let to = to.map(|to| to.to_rfc3339());
            tracing::info!(%event_id, time_zone, from = %from.to_rfc3339(), to, "an event was moved");
        }
        *report.by_zone.entry(time_zone).or_default() += 1;
    }
}

/// Runs [`recompute`] for this binary until it is done, here or elsewhere, or `token` is cancelled. `heartbeats` are those of the stages
/// that wait for it.
///
/// Passes must wait for this: one that does not would send by the old data.
pub async fn until_current(
    store: &Store,
    schedule: &Schedule,
    clock: &SharedClock,
    heartbeats: &[Heartbeat],
    token: &CancellationToken,
) {
    let version = version();
    let progress = || heartbeats.iter().for_each(Heartbeat::progress);
    loop {
        let recomputed = recompute(store, schedule, &**clock, &version, progress);
        match token.run_until_cancelled(recomputed).await {
            None | Some(Ok(RecomputeOutcome::Current | RecomputeOutcome::Done(_))) => return,
            Some(Ok(RecomputeOutcome::Elsewhere)) => {
                tracing::info!("waiting for another process that recomputes pending events");
            }
            Some(Err(error)) => {
                tracing::warn!(error = crate::store::chain(&error), "recomputing pending events failed");
            }
        }
        heartbeats.iter().for_each(Heartbeat::alive);
        if token.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}
