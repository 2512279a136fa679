//! Compares the zone data of PostgreSQL, which bday does not use, with that of this binary: if they differ, one is old.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

use crate::calendar::Zone;
use crate::store::{Result, Store};

const DAYS: usize = 366;
/// Zones per statement.
const PAGE: usize = 100;

/// Returns those of `names` whose local time differs at noon UTC of a day of the next year, or that PostgreSQL or this binary
/// does not have.
pub(super) async fn differing(store: &Store, now: DateTime<Utc>, names: &[String]) -> Result<Vec<String>> {
    let noon = now.date_naive().and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(12);
    let mut differing = Vec::new();
    for names in names.chunks(PAGE) {
        let zones = names.iter().filter_map(|name| Some((name.as_str(), Zone::parse(name).ok()?)));
        let zones: BTreeMap<&str, Zone> = zones.collect();
        let samples = zones
            .keys()
            .flat_map(|name| (0..DAYS).map(move |day| (*name, noon + TimeDelta::days(day as i64))));
        let (time_zones, instants): (Vec<&str>, Vec<DateTime<Utc>>) = samples.unzip();
        let mut equal: HashMap<String, usize> = HashMap::new();
        for reading in store.local_times(&time_zones, &instants).await? {
            if zones.get(&*reading.time_zone).is_some_and(|zone| zone.local(reading.at) == reading.local) {
                *equal.entry(reading.time_zone).or_default() += 1;
            }
        }
        differing.extend(names.iter().filter(|name| equal.get(*name) != Some(&DAYS)).cloned());
    }
    Ok(differing)
}
