//! The timeline of a simulation: when users change, and when no daemon runs.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use fastrand::Rng;

use super::SimulationOptions;
use super::users::{UserChange, UserGenerator};

#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    pub(super) from: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
}

pub(super) struct PlannedChange {
    pub(super) at: DateTime<Utc>,
    pub(super) user: u32,
    pub(super) change: UserChange,
}

pub(super) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// Returns the changes of all users, the first of them last. No user is written in an outage: the API is unavailable, too.
pub(super) fn planned_changes(
    options: &SimulationOptions,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    outages: &[Outage],
) -> Vec<PlannedChange> {
    let generator = UserGenerator::new(options.seed, from, until);
    let changes = (0..options.users).flat_map(|user| {
        let changes = generator.changes(user).into_iter();
        changes.map(move |(at, change)| PlannedChange { at: after_outages(outages, at), user, change })
    });
    let mut changes: Vec<_> = changes.collect();
    // Stable, so that changes of one user at one instant stay in order.
    changes.sort_by_key(|change| (change.at, change.user));
    changes.reverse();
    changes
}

/// Returns two or three outages of some hours in a year, and one longer than `late.max_secs` in every other year.
pub(super) fn outages(seed: u64, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Outage> {
    let mut rng = Rng::with_seed(seed);
    let mut outages = Vec::new();
    let mut at = from + TimeDelta::minutes(rng.i64(0..90 * 24 * 60));
    while at < until - TimeDelta::days(10) {
        let hours = match rng.u8(..10) {
            0..5 => rng.i64(1..12),
            5..8 => rng.i64(12..47),
            _ => rng.i64(50..100),
        };
        let end = at + TimeDelta::hours(hours);
        outages.push(Outage { from: at, until: end });
        at = end + TimeDelta::minutes(rng.i64(30..240) * 24 * 60 + rng.i64(0..1440));
    }
    outages
}

fn after_outages(outages: &[Outage], at: DateTime<Utc>) -> DateTime<Utc> {
    let during = outages.iter().find(|outage| outage.from <= at && at <= outage.until);
    during.map_or(at, |outage| outage.until + TimeDelta::seconds(30))
}
