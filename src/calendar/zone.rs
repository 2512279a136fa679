//! Time zones by their IANA names.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::text::{InvalidText, serde_as_text};
use super::wall_clock::{self, Local};
use super::{amendments, suggestions};

/// A zone of the IANA time zone database. An alias keeps its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

impl Zone {
    pub const UTC: Self = Self(Tz::UTC);

    /// Returns the zone or alias of exactly this name. The error suggests similar names.
    pub fn parse(name: &str) -> Result<Self, InvalidText> {
        name.parse().map(Self).map_err(|_| {
            let problem = match suggestions::similar_names(name).as_slice() {
                [] => "expected an IANA name such as Europe/Berlin".to_owned(),
                names => format!("did you mean {}?", names.join(", ")),
            };
            InvalidText::new("unknown time zone", name, problem)
        })
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    pub fn all() -> impl Iterator<Item = Self> {
        chrono_tz::TZ_VARIANTS.iter().copied().map(Self)
    }

    /// Returns the release of the IANA database in this binary from 2020 on, such as `2026f`: chrono-tz with the amendments.
    #[must_use]
    pub fn tzdb_version() -> &'static str {
        amendments::TZDB_VERSION
    }

    /// Returns the release before 2020, such as `2025b`: that of chrono-tz.
    #[must_use]
    pub fn tzdb_history_version() -> &'static str {
        chrono_tz::IANA_TZDB_VERSION
    }

    #[must_use]
    pub fn local(self, at: DateTime<Utc>) -> NaiveDateTime {
        wall_clock::local_time(self.0, at)
    }

    #[must_use]
    pub fn local_date(self, now: DateTime<Utc>) -> NaiveDate {
        self.local(now).date()
    }

    /// Returns the instant at which the local `date` ends: the next local midnight.
    ///
    /// If a gap skips midnight, or the whole next date (Pacific/Apia, 2011-12-30), it is the start of the gap. If the clock is set
    /// back over midnight, it is the second midnight. A date that does not exist ends when it would have begun.
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
    type Err = InvalidText;

    fn from_str(name: &str) -> Result<Self, InvalidText> {
        Self::parse(name)
    }
}

serde_as_text!(Zone);
/// Returns the latest date that any zone has at `now`: in some it is tomorrow already.
#[must_use]
pub fn latest_today(now: DateTime<Utc>) -> NaiveDate {
    now.date_naive() + Days::new(1)
}
