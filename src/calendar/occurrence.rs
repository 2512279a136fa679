//! The occurrence of a yearly date in a given year: its instant, and the rule that moved it.

use chrono::{DateTime, Datelike, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, Utc};
use serde::{Deserialize, Serialize, Serializer};

use super::text::named_enum;
use super::wall_clock::{self, Gap, Local};
use super::{AnnualDate, LeapDay, SendAt, Zone};

named_enum! {
    /// Why an occurrence is not at the plain date and time. Of two rules, the one that moved the local time.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Rule ("rule") {
        /// 29 February was moved by [`LeapDay`].
        LeapDay = "leap_day",
        /// The clock was set forward over the send time.
        Gap = "gap",
        /// The clock was set back: the send time occurred twice.
        Overlap = "overlap",
        /// The zone skipped the date by crossing the date line.
        MissingDate = "missing_date",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Occurrence {
    /// Can differ from the year of `local_date`, if that moved over New Year (Asia/Manila, 1844-12-31).
    #[serde(skip)]
    pub local_year: i32,
    pub local_date: NaiveDate,
    pub due_at: DateTime<Utc>,
    /// Local time minus UTC at `due_at`, such as `-05:00`; with seconds in local mean time.
    #[serde(serialize_with = "as_text")]
    pub offset: FixedOffset,
    pub rule: Option<Rule>,
}

impl Occurrence {
    #[must_use]
    pub fn local_time(&self) -> NaiveTime {
        (self.due_at.naive_utc() + self.offset).time()
    }

    /// Describes the rule that moved this occurrence of `date`.
    #[must_use]
    pub fn describe_rule(&self, date: AnnualDate, send_at: SendAt, leap_day: LeapDay) -> Option<String> {
        let year = self.local_year;
        Some(match self.rule? {
            Rule::LeapDay if leap_day == LeapDay::Mar1 => {
                format!("{year} has no 29 February: 1 March (mar1)")
            }
            Rule::LeapDay => format!("{year} has no 29 February: the 28th (feb28)"),
            Rule::Gap => format!("the clock skips {send_at}: moved forward by the length of the gap"),
            Rule::Overlap => format!("the clock shows {send_at} twice: the first applies"),
            Rule::MissingDate => format!(
                "{year:04}-{:02}-{:02} does not exist in the zone: moved to the next existing date",
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

/// Returns local time minus UTC, given both for one instant.
#[must_use]
pub fn utc_offset(local: NaiveDateTime, at: DateTime<Utc>) -> FixedOffset {
    FixedOffset::east_opt((local - at.naive_utc()).num_seconds() as i32).unwrap_or(Utc.fix())
}

/// Returns the occurrence of `date` in `local_year`, in `zone` at `send_at`.
///
/// The rules, in order:
/// 1. `leap_day` decides about 29 February in a common year.
/// 2. A date that the zone skipped moves to the next existing date, at the same local time.
/// 3. A time inside a gap moves forward by the length of the gap (02:30 in a gap from 02:00 to 03:00 becomes 03:30); of a time that
///    occurs twice, the first applies (RFC 5545 section 3.3.5).
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
        None => (leap_day_substitute(local_year, leap_day)?, Some(Rule::LeapDay)),
    };
    let (due_at, local, clock_rule) = due(zone, day, send_at)?;
    Some(Occurrence {
        local_year,
        local_date: local.date(),
        due_at,
        offset: utc_offset(local, due_at),
        rule: clock_rule.or(leap_rule),
    })
}

fn leap_day_substitute(year: i32, leap_day: LeapDay) -> Option<NaiveDate> {
    match leap_day {
        LeapDay::Feb28 => NaiveDate::from_ymd_opt(year, 2, 28),
        LeapDay::Mar1 => NaiveDate::from_ymd_opt(year, 3, 1),
        LeapDay::LeapYearsOnly => None,
    }
}

/// Returns the instant and the local time of `send_at` on `day`, or on the next existing day, and the rule.
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
            Local::Never(gap) if skips(gap, day) => {
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

fn skips(gap: Gap, day: NaiveDate) -> bool {
    gap.first <= day.and_time(NaiveTime::MIN) && gap.until.date() > day
}

/// Returns the occurrences from `local_date` `from` on, by local year to 9999.
pub fn occurrences_from(
    date: AnnualDate,
    from: NaiveDate,
    send_at: SendAt,
    zone: Zone,
    leap_day: LeapDay,
) -> impl Iterator<Item = Occurrence> {
    // A date that moved over New Year belongs to the year before.
    let first_year = from.year().saturating_sub(1).max(*AnnualDate::YEARS.start());
    (first_year..=*AnnualDate::YEARS.end())
        .filter_map(move |year| occurrence(date, year, send_at, zone, leap_day))
        .skip_while(move |occurrence| occurrence.local_date < from)
}
