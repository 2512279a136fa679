//! A date that comes back every year.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate};

use super::text::{Given, serde_as_text};

/// A birth date: a month and a day, and the year where it is known.
///
/// Written `YYYY-MM-DD`, or `--MM-DD` without the year (the truncated form that ISO 8601:2000 had and vCard,
/// RFC 6350 section 4.3.1, kept). The calendar is the proleptic Gregorian one, years 0001 to 9999.
/// A value of this type always exists: 29 February needs a leap year or no year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnualDate {
    year: Option<i32>,
    month: u32,
    day: u32,
}

/// A text that is no date, or a date that never was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid date {given}: {reason}")]
pub struct InvalidDate {
    given: Given,
    reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Shape,
    Year,
    Month,
    Day { year: Option<i32>, month: u32, days: u32 },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Shape => f.write_str("expected YYYY-MM-DD, or --MM-DD when the year is not known"),
            Self::Year => f.write_str("expected a year from 0001 to 9999"),
            Self::Month => f.write_str("expected a month from 01 to 12"),
            Self::Day { year: Some(year), month, days } => {
                write!(f, "{year:04}-{month:02} has the days 01 to {days:02}")
            }
            Self::Day { year: None, month, days } => {
                write!(f, "month {month:02} has the days 01 to {days:02}")
            }
        }
    }
}

/// Any leap year: a date without a year may be 29 February.
const SOME_LEAP_YEAR: i32 = 2000;

impl AnnualDate {
    /// The years that four digits can write.
    pub const YEARS: RangeInclusive<i32> = 1..=9999;

    /// A date from its parts.
    ///
    /// # Errors
    /// [`InvalidDate`] when there is no such day (in that year, or in any).
    pub fn new(year: Option<i32>, month: u32, day: u32) -> Result<Self, InvalidDate> {
        Self::checked(year, month, day).map_err(|reason| InvalidDate {
            given: Given::new(&Parts { year, month, day }.to_string()),
            reason,
        })
    }

    fn checked(year: Option<i32>, month: u32, day: u32) -> Result<Self, Reason> {
        if year.is_some_and(|year| !Self::YEARS.contains(&year)) {
            return Err(Reason::Year);
        }
        let first = NaiveDate::from_ymd_opt(year.unwrap_or(SOME_LEAP_YEAR), month, 1).ok_or(Reason::Month)?;
        let days = u32::from(first.num_days_in_month());
        if !(1..=days).contains(&day) {
            return Err(Reason::Day { year, month, days });
        }
        Ok(Self { year, month, day })
    }

    /// The year of the first occasion, if known: 1 to 9999.
    #[must_use]
    pub fn year(self) -> Option<i32> {
        self.year
    }

    /// The month, 1 to 12.
    #[must_use]
    pub fn month(self) -> u32 {
        self.month
    }

    /// The day of the month, 1 to 31.
    #[must_use]
    pub fn day(self) -> u32 {
        self.day
    }

    /// The date itself, where the year is known.
    #[must_use]
    pub fn first(self) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(self.year?, self.month, self.day)
    }

    /// Whether this is 29 February, which three years in four lack.
    #[must_use]
    pub fn is_leap_day(self) -> bool {
        (self.month, self.day) == (2, 29)
    }

    /// The years completed in `local_year` (the age turned on that birthday); `None` when the year is not
    /// known or `local_year` lies before it.
    #[must_use]
    pub fn years_by(self, local_year: i32) -> Option<u32> {
        u32::try_from(local_year.checked_sub(self.year?)?).ok()
    }
}

/// The written form, also of parts that are no date.
struct Parts {
    year: Option<i32>,
    month: u32,
    day: u32,
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day } = *self;
        match year {
            Some(year) => write!(f, "{year:04}-{month:02}-{day:02}"),
            None => write!(f, "--{month:02}-{day:02}"),
        }
    }
}

impl fmt::Display for AnnualDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day } = *self;
        Parts { year, month, day }.fmt(f)
    }
}

impl FromStr for AnnualDate {
    type Err = InvalidDate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parts(text.as_bytes())
            .ok_or(Reason::Shape)
            .and_then(|Parts { year, month, day }| Self::checked(year, month, day))
            .map_err(|reason| InvalidDate { given: Given::new(text), reason })
    }
}

fn parts(text: &[u8]) -> Option<Parts> {
    let (year, rest) = match text {
        [b'-', b'-', rest @ ..] => (None, rest),
        [y @ .., b'-', m1, m2, b'-', d1, d2] if y.len() == 4 => {
            (Some(digits(y)?), &[*m1, *m2, b'-', *d1, *d2][..])
        }
        _ => return None,
    };
    match rest {
        [m1, m2, b'-', d1, d2] => Some(Parts {
            year: year.map(|y| y as i32),
            month: digits(&[*m1, *m2])?,
            day: digits(&[*d1, *d2])?,
        }),
        _ => None,
    }
}

/// ASCII digits only: neither a sign nor a space, which `str::parse` and chrono would let through.
pub(super) fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
}

serde_as_text!(AnnualDate, "a date YYYY-MM-DD, or --MM-DD without its year");
