//! Where the database's zone data and the binary's disagree about the year ahead.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use serde::Serialize;

use crate::calendar::{Zone, utc_offset};
use crate::store::{self, Store};

/// How far is looked.
const DAYS: u64 = 366;
/// Zones a statement: some 40,000 instants.
const ZONES: usize = 100;

/// A zone in which people live, and about which the database thinks otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The zone's name.
    pub time_zone: String,
    /// How many people live there.
    pub users: u64,
    /// How they differ.
    #[serde(flatten)]
    pub what: What,
}

/// How a zone differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum What {
    /// The database has no zone of that name.
    UnknownToDatabase,
    /// This binary has no zone of that name: a newer one wrote it.
    UnknownToBinary,
    /// Their clocks differ.
    Offset {
        /// The first instant found at which they do, UTC.
        from: DateTime<Utc>,
        /// Local time minus UTC then, by this binary.
        binary: String,
        /// The same by the database.
        database: String,
        /// At how many of the sampled instants they do.
        instants: usize,
    },
}

/// Compares the zones in use from `now` on for a year: each day at noon UTC, and every hour of the days on which this
/// binary's clocks change. So a change on another day, or at another hour, is seen.
pub async fn differences(store: &Store, now: DateTime<Utc>) -> store::Result<Vec<Difference>> {
    let in_use = store.zones_in_use().await?;
    let mut found = Vec::new();
    for zones in in_use.chunks(ZONES) {
        let (mut names, mut instants) = (Vec::new(), Vec::new());
        let mut known = BTreeMap::new();
        for (name, users) in zones {
            let users = *users as u64;
            let Ok(zone) = Zone::parse(name) else {
                found.push(Difference { time_zone: name.clone(), users, what: What::UnknownToBinary });
                continue;
            };
            let samples = samples(zone, now);
            names.extend(std::iter::repeat_n(zone.name(), samples.len()));
            instants.extend(samples);
            known.insert(name.as_str(), (zone, users, Vec::new(), false));
        }
        for reading in store.local_times(&names, &instants).await? {
            if let Some((zone, _, differing, seen)) = known.get_mut(reading.time_zone.as_str()) {
                *seen = true;
                if zone.local(reading.at) != reading.local {
                    differing.push((reading.at, reading.local));
                }
            }
        }
        for (name, (zone, users, differing, seen)) in known {
            let what = if seen { offset(zone, &differing) } else { Some(What::UnknownToDatabase) };
            found.extend(what.map(|what| Difference { time_zone: name.to_owned(), users, what }));
        }
    }
    Ok(found)
}

fn offset(zone: Zone, differing: &[(DateTime<Utc>, NaiveDateTime)]) -> Option<What> {
    let (at, theirs) = differing.iter().min()?;
    Some(What::Offset {
        from: *at,
        binary: utc_offset(zone.local(*at), *at).to_string(),
        database: utc_offset(*theirs, *at).to_string(),
        instants: differing.len(),
    })
}

/// The instants at which a zone is compared.
fn samples(zone: Zone, now: DateTime<Utc>) -> BTreeSet<DateTime<Utc>> {
    let first = now.date_naive();
    let offset = |at: DateTime<Utc>| zone.local(at) - at.naive_utc();
    let mut samples = BTreeSet::new();
    for day in (0..DAYS).filter_map(|n| first.checked_add_days(Days::new(n))) {
        let midnight = day.and_time(NaiveTime::MIN).and_utc();
        samples.insert(midnight + TimeDelta::hours(12));
        if offset(midnight) != offset(midnight + TimeDelta::days(1)) {
            samples.extend((0..=24).map(|hour| midnight + TimeDelta::hours(hour)));
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_with_two_changes_a_year_is_looked_at_hourly_on_those_days() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        let berlin = samples("Europe/Berlin".parse().unwrap(), now);
        assert_eq!(berlin.len(), 366 + 2 * 24);
        assert!(berlin.contains(&DateTime::parse_from_rfc3339("2026-03-29T01:00:00Z").unwrap().to_utc()));
        assert_eq!(samples(Zone::UTC, now).len(), 366);
    }
}
