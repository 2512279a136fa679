//! Time zones by their IANA names.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::text::{Given, serde_as_text};
use super::wall_clock::{self, Local};
use super::{amendments, nearest};

/// A zone of the IANA time zone database, under the name it was given: an alias stays the alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

/// A name that the IANA time zone database does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct UnknownZone {
    given: Given,
}

impl UnknownZone {
    /// The zones that were probably meant, best first: at most three, perhaps none.
    ///
    /// Looked for when asked, so that refusing a row costs nothing as long as nobody reads why.
    #[must_use]
    pub fn nearest(&self) -> Vec<&'static str> {
        nearest::names(self.given.as_str())
    }
}

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown time zone {}: ", self.given)?;
        match self.nearest().as_slice() {
            [] => f.write_str("expected an IANA name such as Europe/Berlin"),
            names => write!(f, "did you mean {}?", names.join(", ")),
        }
    }
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(Tz::UTC);

    /// The zone of that name, aliases included, spelled exactly as the database does.
    ///
    /// One look-up in a perfect hash: cheap enough for every line of a large import.
    ///
    /// # Errors
    /// [`UnknownZone`], which knows the nearest names.
    pub fn parse(name: &str) -> Result<Self, UnknownZone> {
        name.parse().map(Self).map_err(|_| UnknownZone { given: Given::new(name) })
    }

    /// The IANA name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Every zone and alias there is, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        chrono_tz::TZ_VARIANTS.iter().copied().map(Self)
    }

    /// The release of the IANA database in this binary, such as `2026f`: chrono-tz's own and what `amendments.rs` adds.
    ///
    /// Right from 2020 on; before that, chrono-tz's older release ([`Zone::tzdb_history_version`]) speaks.
    #[must_use]
    pub fn tzdb_version() -> &'static str {
        amendments::TZDB_VERSION
    }

    /// The release inside chrono-tz, such as `2025b`.
    #[must_use]
    pub fn tzdb_history_version() -> &'static str {
        chrono_tz::IANA_TZDB_VERSION
    }

    /// What a wall clock in this zone shows at that instant.
    #[must_use]
    pub fn local(self, at: DateTime<Utc>) -> NaiveDateTime {
        wall_clock::reading(self.0, at)
    }

    /// The date on a calendar in this zone at that instant.
    #[must_use]
    pub fn local_date(self, now: DateTime<Utc>) -> NaiveDate {
        self.local(now).date()
    }

    /// The instant from which it is no longer `date` here: mostly the next local midnight.
    ///
    /// Where a gap takes midnight away it is the gap's start, and where it takes the next date as a whole
    /// (Pacific/Apia, 2011-12-30) the start of the date after it. Where the clock goes back over midnight, and `date` with it, it
    /// is the second midnight. A date that does not exist ends when it would have begun.
    #[must_use]
    pub fn local_day_ends_at(self, date: NaiveDate) -> DateTime<Utc> {
        let Some(midnight) = date.checked_add_days(Days::new(1)).map(|next| next.and_time(NaiveTime::MIN))
        else {
            return DateTime::<Utc>::MAX_UTC;
        };
        match wall_clock::resolve(self.0, midnight) {
            Local::Once(at) => at,
            Local::Twice(first, second) => {
                if self.local_date(second - TimeDelta::seconds(1)) > date {
                    first
                } else {
                    second
                }
            }
            Local::Never(gap) => gap.starts_at,
        }
    }

    pub(super) fn tz(self) -> Tz {
        self.0
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

serde_as_text!(Zone, "an IANA time zone name");
