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
//! The database has zone data of its own. bday never computes an instant with it, but reports and other programs may:
//! [`differences()`] says where it would show people other local times.
//!
//! Guaranteed: when [`recompute`] returns [`Outcome::Done`] or [`Outcome::Current`], every event that was pending when
//! it began is due where this binary's data put it. Any number of processes may start at once: one does the work. Not
//! guaranteed: what a process of an *older* binary, or with another configuration, plans afterwards. While both run, the new one
//! should be started (again) last.

mod differences;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::counter;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::calendar::Zone;
use crate::clock::SharedClock;
use crate::health::Beat;
use crate::model::Schedule;
use crate::store::{self, Moved, RecomputeCursor, Recomputed, Store};
pub use differences::{Difference, What, differences};

/// Events a transaction: few enough that an edit which waits for it does not notice.
const PAGE: u32 = 500;
/// As many moved events are named in the log.
const NAMED: usize = 20;
/// Between two looks while another process is at it, or the database away.
const PAUSE: Duration = Duration::from_secs(1);

/// What a recomputation found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Pending events already were computed with this binary's data and these rules.
    Current,
    /// Another process is at it.
    Elsewhere,
    /// Every pending event was computed again.
    Done(Report),
}

/// What moved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
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
    format!(
        "{}, before 2020 {}",
        Zone::tzdb_version(),
        Zone::tzdb_history_version()
    )
}

/// Computes all pending events again if they were computed with other data than `version` or by other rules than those of
/// `schedule`, page after page, and logs what moved. A process that dies on the way leaves the old ones noted: the next begins
/// again.
///
/// Users whom this binary cannot read are named in the log, and their events stay.
///
/// # Errors
/// The database refuses or is away.
pub async fn recompute(
    store: &Store,
    schedule: &Schedule,
    now: DateTime<Utc>,
    version: &str,
) -> store::Result<Outcome> {
    let (data, rules) = (store.zone_data_version().await?, store.planning_rules().await?);
    let new_data = data.as_deref() != Some(version);
    let (mut report, mut named) = (Report::default(), 0);
    let mut cursor = RecomputeCursor::default();
    loop {
        match store.recompute_page(schedule, now, version, cursor, PAGE).await? {
            Recomputed::Current => return Ok(Outcome::Current),
            Recomputed::Elsewhere => return Ok(Outcome::Elsewhere),
            Recomputed::Page {
                looked_at,
                moved,
                unreadable,
                next,
            } => {
                report.looked_at += looked_at;
                if let Some(error) = unreadable.first() {
                    let users = unreadable.len();
                    tracing::error!(
                        users,
                        error,
                        "there are users who cannot be read: their pending events stay where they were put before"
                    );
                }
                if new_data {
                    counter!("bday_events_moved_by_zone_data_total").increment(moved.len() as u64);
                }
                note(&mut report, &mut named, moved);
                match next {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
        }
    }
    if new_data {
        let from = data.as_deref().unwrap_or("none");
        tracing::info!(from, to = version, "the zone data changed");
    }
    let new_rules = schedule.rules();
    if rules.as_deref() != Some(&new_rules) {
        let from = rules.as_deref().unwrap_or("none");
        tracing::info!(
            from,
            to = new_rules,
            "the planning rules changed: days that were planned are gone through again"
        );
    }
    tracing::info!(
        looked_at = report.looked_at,
        moved = report.moved,
        by_zone = ?report.by_zone,
        "pending events were computed again"
    );
    Ok(Outcome::Done(report))
}

fn note(report: &mut Report, named: &mut usize, moved: Vec<Moved>) {
    for Moved {
        event_id,
        time_zone,
        from,
        to,
    } in moved
    {
        report.moved += 1;
        if *named < NAMED {
            *named += 1;
            let to = to.map(|to| to.to_rfc3339());
            tracing::info!(%event_id, time_zone, from = %from.to_rfc3339(), to, "an event was moved");
        }
        *report.by_zone.entry(time_zone).or_default() += 1;
    }
}

/// Runs [`recompute`] for this binary until it is done, here or elsewhere, or `token` is cancelled. `beat` is the ticker's,
/// which is not stuck while it waits for this.
///
/// Ticks must wait for this: one that does not would send by the old data.
pub async fn until_current(
    store: &Store,
    schedule: &Schedule,
    clock: &SharedClock,
    beat: &Beat,
    token: &CancellationToken,
) {
    let version = version();
    loop {
        match recompute(store, schedule, clock.now(), &version).await {
            Ok(Outcome::Current | Outcome::Done(_)) => return,
            Ok(Outcome::Elsewhere) => {
                tracing::info!("another process computes pending events again; the first tick waits for it");
            }
            Err(error) => {
                let error = crate::telemetry::chain(&error);
                tracing::warn!(error, "pending events cannot be computed again yet");
            }
        }
        beat.turn();
        if token
            .run_until_cancelled(tokio::time::sleep(PAUSE))
            .await
            .is_none()
        {
            return;
        }
    }
}
