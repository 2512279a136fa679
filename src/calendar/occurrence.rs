//! When a yearly date is due in a given year, and by which rule.

use std::fmt;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize, Serializer};

use super::wall_clock::{self, Gap, Local};
use super::{AnnualDate, LeapDay, SendAt, Zone};

/// Why an occurrence is not simply "that date, that time". Where two apply, the one that moved the clock reading is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// 29 February in a common year, moved by [`LeapDay`].
    LeapDay,
    /// The send time was skipped that day: as far after the gap's start as the clock says, so 02:30 in a
    /// gap from 02:00 to 03:00 is 03:30 (RFC 5545 section 3.3.5: the offset before the gap applies).
    Gap,
    /// The send time came twice that day: the first (RFC 5545 section 3.3.5).
    Overlap,
    /// The date itself was skipped when the zone changed sides of the date line: the next that exists.
    MissingDate,
}

impl Rule {
    /// The name used in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeapDay => "leap_day",
            Self::Gap => "gap",
            Self::Overlap => "overlap",
            Self::MissingDate => "missing_date",
        }
    }
}

/// One year's occasion.
///
/// As JSON: `{"localDate":"2026-02-28","dueAt":"2026-02-28T14:00:00Z","offset":"-05:00","rule":"leap_day"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Occurrence {
    /// The year it counts for: one greeting a person, kind and local year. It stays the year asked for, even if a
    /// missing date pushes the day over New Year (Asia/Manila, 1844-12-31).
    #[serde(skip)]
    pub local_year: i32,
    /// The date on a calendar there at `due_at`.
    pub local_date: NaiveDate,
    /// The instant at which the greeting is due, UTC.
    pub due_at: DateTime<Utc>,
    /// Local time minus UTC at `due_at`, in seconds: east is positive.
    #[serde(rename = "offset", serialize_with = "as_utc_offset")]
    pub offset_secs: i32,
    /// The rule that decided, if one had to.
    pub rule: Option<Rule>,
}

impl Occurrence {
    /// `offset_secs` as ISO 8601 writes it: `-05:00`, and with seconds where local mean time has them.
    #[must_use]
    pub fn offset(&self) -> UtcOffset {
        UtcOffset(self.offset_secs)
    }

    /// The reading of a wall clock there at `due_at`.
    #[must_use]
    pub fn local_time(&self) -> NaiveTime {
        self.due_at.time() + TimeDelta::seconds(i64::from(self.offset_secs))
    }
}

/// Local time minus UTC, in seconds, shown as `+05:45`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcOffset(pub i32);

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.unsigned_abs();
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", secs / 3600, secs / 60 % 60)?;
        if secs.is_multiple_of(60) { Ok(()) } else { write!(f, ":{:02}", secs % 60) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_utc_offset<S: Serializer>(secs: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&UtcOffset(*secs))
}

/// The occasion of `date` in `local_year`, in `zone` at `send_at`.
///
/// The rules, in the order in which they apply:
/// 1. 29 February in a common year is what `leap_day` says.
/// 2. A date that the zone skipped becomes the next that exists, at the same wall time.
/// 3. A time inside a gap is as far after the gap's start as the clock says; one that comes twice is the first.
///
/// `None` only for 29 February in a common year under [`LeapDay::LeapYearsOnly`], and for years that a date
/// cannot be written with: those before 1 and after 9999.
#[must_use]
pub fn occurrence(
    date: AnnualDate,
    local_year: i32,
    send_at: SendAt,
    zone: Zone,
    leap_day: LeapDay,
) -> Option<Occurrence> {
    if !AnnualDate::YEARS.contains(&local_year) {
        return None;
    }
    let (day, leap_rule) = match NaiveDate::from_ymd_opt(local_year, date.month(), date.day()) {
        Some(day) => (day, None),
        None => (stand_in(local_year, leap_day)?, Some(Rule::LeapDay)),
    };
    let (due_at, reading, clock_rule) = due(zone, day, send_at)?;
    Some(Occurrence {
        local_year,
        local_date: reading.date(),
        due_at,
        offset_secs: (reading - due_at.naive_utc()).num_seconds() as i32,
        rule: clock_rule.or(leap_rule),
    })
}

/// The day that stands in for 29 February in a common year.
fn stand_in(year: i32, leap_day: LeapDay) -> Option<NaiveDate> {
    match leap_day {
        LeapDay::Feb28 => NaiveDate::from_ymd_opt(year, 2, 28),
        LeapDay::Mar1 => NaiveDate::from_ymd_opt(year, 3, 1),
        LeapDay::LeapYearsOnly => None,
    }
}

/// The instant of `send_at` on `day`, or on the first day after it that exists; what the clock there shows then; and
/// the rule that was needed.
fn due(
    zone: Zone,
    mut day: NaiveDate,
    send_at: SendAt,
) -> Option<(DateTime<Utc>, NaiveDateTime, Option<Rule>)> {
    let mut moved = None;
    loop {
        let local = day.and_time(send_at.time());
        match wall_clock::resolve(zone.tz(), local) {
            Local::Once(at) => return Some((at, local, moved)),
            Local::Twice(first, _) => return Some((first, local, moved.or(Some(Rule::Overlap)))),
            Local::Never(gap) if swallows(gap, day) => {
                moved = Some(Rule::MissingDate);
                day = day.checked_add_days(Days::new(1))?;
            }
            Local::Never(gap) => {
                let since = local - gap.first;
                return Some((gap.starts_at + since, gap.until + since, moved.or(Some(Rule::Gap))));
            }
        }
    }
}

/// Whether the gap takes the whole of that date.
fn swallows(gap: Gap, day: NaiveDate) -> bool {
    gap.first <= day.and_time(NaiveTime::MIN) && gap.until.date() > day
}

/// The occasions in successive local years, beginning with the first whose `local_date` is `from` or later.
/// Ends with the year 9999.
pub fn occurrences_from(
    date: AnnualDate,
    from: NaiveDate,
    send_at: SendAt,
    zone: Zone,
    leap_day: LeapDay,
) -> impl Iterator<Item = Occurrence> {
    // A date pushed over New Year belongs to the year before it.
    let first_year = from.year().saturating_sub(1).max(*AnnualDate::YEARS.start());
    (first_year..=*AnnualDate::YEARS.end())
        .filter_map(move |year| occurrence(date, year, send_at, zone, leap_day))
        .skip_while(move |occurrence| occurrence.local_date < from)
}
