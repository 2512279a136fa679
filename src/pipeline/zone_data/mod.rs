//! Zone data and planning rules: pending events are due by the zone data of this binary and the rules of its configuration.
//!
//! The rules of zones change several times a year, with weeks or days of notice. Events are planned two days ahead, so pending events
//! must move when a binary with new zone data starts. A scheduling process calls [`recompute`] once, before its first tick.
//!
//! The same holds for a configuration with other kinds, send times or another `plan.leap_day` than that of the scheduler that planned
//! last: pending events move, and planned days are planned again for users who had no event by the old rules.
//!
//! Guaranteed: after [`RecomputeOutcome::Done`] or [`RecomputeOutcome::Current`], every event that was pending at the start is due by
//! the data of this binary. Any number of processes may start at once: one does the work. Not guaranteed: what a process with an older
//! binary or another configuration plans afterwards. While both run, restart the new process last.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::counter;
use tokio_util::sync::CancellationToken;

use crate::calendar::Zone;
use crate::clock::heartbeat::Heartbeat;
use crate::clock::{Clock, SharedClock};
use crate::model::Schedule;
use crate::store::{self, MovedEvent, PlanningBasis, RecomputeStep, Store};

/// Events per transaction: few enough that an edit does not wait long for it.
const PAGE: u32 = 500;
const MAX_LOGGED_EVENTS: u64 = 20;
/// While another process recomputes, or the database is unavailable.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecomputeOutcome {
    /// Pending events were already computed with this data and these rules.
    Current,
    /// Another process recomputes them.
    RunningElsewhere,
    Done(RecomputeReport),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecomputeReport {
    /// Pending events computed again. An event that moved ahead may be counted twice.
    pub recomputed: u64,
    /// Events that are due at another instant, or no longer at all.
    pub moved: u64,
    pub moved_by_zone: BTreeMap<String, u64>,
}

/// Returns the version of this binary's zone data, as it is stored in the database.
#[must_use]
pub fn version() -> String {
    format!("{}, before 2020 {}", Zone::tzdb_version(), Zone::tzdb_history_version())
}

/// Computes all pending events again if they were computed with other data than `version` or by other rules than those of `schedule`,
/// page by page, and logs what moved. Calls `progress` after each page. After a crash the next process continues.
///
/// The events of users that this version cannot read do not change; the log names one of these users.
pub async fn recompute(
    store: &Store,
    schedule: &Schedule,
    clock: &dyn Clock,
    version: &str,
    progress: impl Fn(),
) -> store::Result<RecomputeOutcome> {
    let basis = PlanningBasis { zone_data: version.to_owned(), rules: schedule.rules() };
    let before = store.planning_basis().await?;
    let new_data = before.as_ref().is_none_or(|before| before.zone_data != version);
    let mut report = RecomputeReport::default();
    loop {
        match store.recompute_page(schedule, clock.now(), &basis, PAGE).await? {
            RecomputeStep::Current => return Ok(RecomputeOutcome::Current),
            RecomputeStep::OtherProcess => return Ok(RecomputeOutcome::RunningElsewhere),
            RecomputeStep::Page { events, moved, unreadable, last } => {
                progress();
                report.recomputed += events;
                if let Some((user_id, error)) = unreadable.first() {
                    let users = unreadable.len();
                    tracing::error!(users, %user_id, error, "pending events of unreadable users are not recomputed");
                }
                if new_data {
                    counter!("bday_events_moved_by_zone_data_total").increment(moved.len() as u64);
                }
                add_moved(&mut report, moved);
                if last {
                    break;
                }
            }
        }
    }
    log(before.as_ref(), &basis, &report);
    Ok(RecomputeOutcome::Done(report))
}

fn log(before: Option<&PlanningBasis>, after: &PlanningBasis, report: &RecomputeReport) {
    let previous = |field: fn(&PlanningBasis) -> &String| {
        before.map(field).filter(|text| !text.is_empty()).map_or("none", String::as_str)
    };
    let (zone_data, rules) = (previous(|basis| &basis.zone_data), previous(|basis| &basis.rules));
    if zone_data != after.zone_data {
        tracing::info!(from = zone_data, to = after.zone_data, "zone data changed");
    }
    if rules != after.rules {
        tracing::info!(from = rules, to = after.rules, "planning rules changed");
    }
    tracing::info!(
        recomputed = report.recomputed,
        moved = report.moved,
        moved_by_zone = ?report.moved_by_zone,
        "pending events recomputed"
    );
}

fn add_moved(report: &mut RecomputeReport, moved: Vec<MovedEvent>) {
    for MovedEvent { event_id, time_zone, from, to } in moved {
        report.moved += 1;
        if report.moved <= MAX_LOGGED_EVENTS {
            let to = to.map(|to| to.to_rfc3339());
            tracing::info!(%event_id, time_zone, from = %from.to_rfc3339(), to, "event moved");
        }
        *report.moved_by_zone.entry(time_zone).or_default() += 1;
    }
}

/// Runs [`recompute`] for this binary until it is done, here or elsewhere, or `token` is cancelled. Ticks must wait for it, or they
/// would send by the old data. `heartbeats` are those of the stages that wait.
pub async fn ensure_current(
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
            Some(Ok(RecomputeOutcome::RunningElsewhere)) => {
                tracing::info!("waiting for another process that recomputes pending events");
            }
            Some(Err(error)) => {
                tracing::warn!(error = crate::store::chain(&error), "recomputing pending events failed");
            }
        }
        heartbeats.iter().for_each(Heartbeat::alive);
        if token.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL)).await.is_none() {
            return;
        }
    }
}
