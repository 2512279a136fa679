//! When a yearly date is due in a given year, and by which rule.

use chrono::{DateTime, Datelike, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, Utc};
use serde::{Deserialize, Serialize, Serializer};

use super::text::named_enum;
use super::wall_clock::{self, Gap, Local};
use super::{AnnualDate, LeapDay, SendAt, Zone};

named_enum! {
    /// Why an occurrence is not simply "that date, that time". Where two apply, the one that moved the clock reading is named.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Rule ("rule") {
        /// 29 February in a common year, moved by [`LeapDay`].
        LeapDay = "leap_day",
        /// The send time was skipped that day.
        Gap = "gap",
        /// The send time came twice that day.
        Overlap = "overlap",
        /// The date was skipped when the zone changed sides of the date line.
        MissingDate = "missing_date",
    }
}

/// The occasion of one year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Occurrence {
    /// The year that was asked for, even if a missing date moves the day over New Year (Asia/Manila, 1844-12-31).
    #[serde(skip)]
    pub local_year: i32,
    pub local_date: NaiveDate,
    pub due_at: DateTime<Utc>,
    /// Local time minus UTC at `due_at`: `-05:00`, and with seconds where local mean time has them.
    #[serde(serialize_with = "as_text")]
    pub offset: FixedOffset,
    pub rule: Option<Rule>,
}

impl Occurrence {
    /// The reading of a wall clock there at `due_at`.
    #[must_use]
    pub fn local_time(&self) -> NaiveTime {
        (self.due_at.naive_utc() + self.offset).time()
    }

    /// Why this occurrence of `date` is not simply "that date, at `send_at`"; none where it is.
    #[must_use]
    pub fn in_words(&self, date: AnnualDate, send_at: SendAt, leap_day: LeapDay) -> Option<String> {
        let year = self.local_year;
        Some(match self.rule? {
            Rule::LeapDay if leap_day == LeapDay::Mar1 => {
                format!("{year} has no 29 February: 1 March (mar1)")
            }
            Rule::LeapDay => format!("{year} has no 29 February: the 28th (feb28)"),
            Rule::Gap => format!("the clock skips {send_at}: as far after the gap's start as {send_at} is"),
            Rule::Overlap => format!("the clock shows {send_at} twice: the first time"),
            Rule::MissingDate => format!(
                "{year:04}-{:02}-{:02} does not exist there: the next day that does",
                date.month(),
                date.day()
            ),
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_text<S: Serializer>(offset: &FixedOffset, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(offset)
}

/// Local time minus UTC, given both for one instant.
#[must_use]
pub fn utc_offset(local: NaiveDateTime, at: DateTime<Utc>) -> FixedOffset {
    FixedOffset::east_opt((local - at.naive_utc()).num_seconds() as i32).unwrap_or(Utc.fix())
}

/// The occasion of `date` in `local_year`, in `zone` at `send_at`.
///
/// The rules, in the order in which they apply:
/// 1. 29 February in a common year is what `leap_day` says.
/// 2. A date that the zone skipped becomes the next that exists, at the same wall time.
/// 3. A time inside a gap is as far after the gap's start as the clock says (02:30 in a gap from 02:00 to 03:00 is 03:30);
///    of a time that comes twice the first applies (RFC 5545 section 3.3.5).
///
/// `None` only for 29 February in a common year under [`LeapDay::LeapYearsOnly`], and outside [`AnnualDate::YEARS`].
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
        offset: utc_offset(reading, due_at),
        rule: clock_rule.or(leap_rule),
    })
}

fn stand_in(year: i32, leap_day: LeapDay) -> Option<NaiveDate> {
    match leap_day {
        LeapDay::Feb28 => NaiveDate::from_ymd_opt(year, 2, 28),
        LeapDay::Mar1 => NaiveDate::from_ymd_opt(year, 3, 1),
        LeapDay::LeapYearsOnly => None,
    }
}

/// The instant of `send_at` on `day`, or on the first day after it that exists; the local reading then; the rule.
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

fn swallows(gap: Gap, day: NaiveDate) -> bool {
    gap.first <= day.and_time(NaiveTime::MIN) && gap.until.date() > day
}

/// The occasions in successive local years to 9999, beginning with the first whose `local_date` is `from` or later.
pub fn occurrences_from(
    date: AnnualDate,
    from: NaiveDate,
    send_at: SendAt,
    zone: Zone,
    leap_day: LeapDay,
) -> impl Iterator<Item = Occurrence> {
    // A date that was moved over New Year belongs to the year before it.
    let first_year = from.year().saturating_sub(1).max(*AnnualDate::YEARS.start());
    (first_year..=*AnnualDate::YEARS.end())
        .filter_map(move |year| occurrence(date, year, send_at, zone, leap_day))
        .skip_while(move |occurrence| occurrence.local_date < from)
}
