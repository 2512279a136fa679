//! Changes of time zones since the IANA release in chrono-tz.
//!
//! chrono-tz 0.10.4, its newest release, has 2025b. The releases up to 2026f changed rules that are in force today: without
//! this table greetings in Vancouver or Casablanca would be an hour off. In each change, the clock follows another zone.
//!
//! Corrections of history before 2020 are left out. A test compares every zone and alias with 2026f. The tests below fail when
//! chrono-tz has a newer release.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

/// The IANA release of chrono-tz with this table.
pub(super) const TZDB_VERSION: &str = "2026f";

/// Between two instants, a zone's clock follows another zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amendment {
    /// Unix time in seconds, inclusive.
    from: i64,
    until: i64,
    pub(super) follows: Tz,
}

impl Amendment {
    pub(super) fn applies(self, at: DateTime<Utc>) -> bool {
        (self.from..self.until).contains(&at.timestamp())
    }
}

/// Returns the amendment of `tz`.
///
/// Most begin and end at an instant at which both clocks agree; Morocco's begins with the clock set back. `wall_clock` relies on
/// none that begins or ends with the clock set forward.
pub(super) fn amendment(tz: Tz) -> Option<Amendment> {
    const NO_END: i64 = i64::MAX;
    let (from, until, follows) = match tz {
        // 2026b: Moldova changes at the same hour as the EU since 2022.
        Tz::Europe__Chisinau | Tz::Europe__Tiraspol => {
            (const { utc(2022, 1, 1, 0) }, NO_END, Tz::Europe__Bucharest)
        }
        // 2026b: British Columbia stays on -07 after March 2026.
        Tz::America__Vancouver | Tz::Canada__Pacific => {
            (const { utc(2026, 3, 9, 7) }, NO_END, Tz::Etc__GMTPlus7)
        }
        // 2026c: Alberta stays on -06; 2026d: so do the Northwest Territories.
        Tz::America__Edmonton | Tz::America__Yellowknife | Tz::Canada__Mountain => {
            (const { utc(2026, 6, 18, 6) }, NO_END, Tz::Etc__GMTPlus6)
        }
        Tz::America__Inuvik => (const { utc(2026, 8, 21, 6) }, NO_END, Tz::Etc__GMTPlus6),
        // 2026e: Manitoba stays on -05.
        Tz::America__Winnipeg | Tz::America__Rainy_River | Tz::Canada__Central => {
            (const { utc(2026, 10, 31, 5) }, NO_END, Tz::Etc__GMTPlus5)
        }
        // 2026c: Morocco went back to +00 on 2026-09-20 at 02:00, and Ramadan no longer moves the clock.
        Tz::Africa__Casablanca | Tz::Africa__El_Aaiun => (const { utc(2026, 9, 20, 1) }, NO_END, Tz::UTC),
        // 2026f: Cuba skips one winter, that of 2026; in July both clocks show -04.
        Tz::America__Havana | Tz::Cuba => {
            (const { utc(2026, 7, 1, 4) }, const { utc(2027, 7, 1, 4) }, Tz::Etc__GMTPlus4)
        }
        _ => return None,
    };
    Some(Amendment { from, until, follows })
}

/// Returns an hour (UTC) as Unix time; at compile time, where an invalid date is an error.
const fn utc(year: i32, month: u32, day: u32, hour: u32) -> i64 {
    let Some(date) = NaiveDate::from_ymd_opt(year, month, day) else { panic!("no such date") };
    let Some(time) = date.and_hms_opt(hour, 0, 0) else { panic!("no such hour") };
    time.and_utc().timestamp()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::wall_clock;
    use super::*;

    fn amended() -> impl Iterator<Item = (Tz, Amendment)> {
        chrono_tz::TZ_VARIANTS.into_iter().filter_map(|tz| Some((tz, amendment(tz)?)))
    }

    #[test]
    fn no_amendment_begins_or_ends_with_the_clock_set_forward() {
        for (tz, Amendment { from, until, .. }) in amended() {
            for at in [from, until].into_iter().filter_map(|secs| DateTime::from_timestamp(secs, 0)) {
                let before = wall_clock::offset(tz, at - TimeDelta::seconds(1)).local_minus_utc();
                assert!(wall_clock::offset(tz, at).local_minus_utc() <= before, "{tz} at {at}");
            }
        }
    }

    #[test]
    fn the_amendments_are_still_needed() {
        assert_eq!(chrono_tz::IANA_TZDB_VERSION, "2025b", "remove the amendments that chrono-tz has now");
        assert_eq!(amended().count(), 15);
    }
}
