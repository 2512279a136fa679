//! A date that recurs every year.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate};

use super::text::{InvalidText, named_enum, serde_as_text};

/// A month and a day, with the year if it is known.
///
/// Written `YYYY-MM-DD`, or `--MM-DD` without the year (the truncated form of ISO 8601:2000, kept by vCard, RFC 6350 section 4.3.1).
/// The calendar is the proleptic Gregorian one. The date exists: 29 February needs a leap year or no year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnualDate {
    year: Option<i32>,
    month: u32,
    day: u32,
}

/// The year of a date without a year, which may be 29 February.
const SOME_LEAP_YEAR: i32 = 2000;
const INVALID: &str = "invalid date";

impl AnnualDate {
    pub const YEARS: RangeInclusive<i32> = 1..=9999;

    /// Fails if the day does not exist in that year, or in any.
    pub fn new(year: Option<i32>, month: u32, day: u32) -> Result<Self, InvalidText> {
        let date = Self { year, month, day };
        match date.problem() {
            None => Ok(date),
            Some(problem) => Err(InvalidText::new(INVALID, &date.to_string(), problem)),
        }
    }

    fn problem(self) -> Option<String> {
        let Self { year, month, day } = self;
        if year.is_some_and(|year| !Self::YEARS.contains(&year)) {
            return Some("expected a year from 0001 to 9999".to_owned());
        }
        let Some(first) = NaiveDate::from_ymd_opt(year.unwrap_or(SOME_LEAP_YEAR), month, 1) else {
            return Some("expected a month from 01 to 12".to_owned());
        };
        let days = u32::from(first.num_days_in_month());
        if (1..=days).contains(&day) {
            return None;
        }
        Some(match year {
            Some(year) => format!("{year:04}-{month:02} has the days 01 to {days:02}"),
            None => format!("month {month:02} has the days 01 to {days:02}"),
        })
    }

    #[must_use]
    pub fn year(self) -> Option<i32> {
        self.year
    }

    #[must_use]
    pub fn month(self) -> u32 {
        self.month
    }

    #[must_use]
    pub fn day(self) -> u32 {
        self.day
    }

    /// Returns the date itself, if the year is known.
    #[must_use]
    pub fn first(self) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(self.year?, self.month, self.day)
    }

    #[must_use]
    pub fn is_leap_day(self) -> bool {
        (self.month, self.day) == (2, 29)
    }

    /// Returns the years completed in `local_year` (the age on that birthday); `None` if the year is unknown or later.
    #[must_use]
    pub fn years_by(self, local_year: i32) -> Option<u32> {
        u32::try_from(local_year.checked_sub(self.year?)?).ok()
    }
}

impl fmt::Display for AnnualDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day } = *self;
        match year {
            Some(year) => write!(f, "{year:04}-{month:02}-{day:02}"),
            None => write!(f, "--{month:02}-{day:02}"),
        }
    }
}

impl FromStr for AnnualDate {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        const EXPECTED: &str = "expected YYYY-MM-DD, or --MM-DD when the year is not known";
        let (year, month, day) = parts(text).ok_or_else(|| InvalidText::new(INVALID, text, EXPECTED))?;
        Self::new(year, month, day)
    }
}

fn parts(text: &str) -> Option<(Option<i32>, u32, u32)> {
    let (year, month_and_day) = if let Some(rest) = text.strip_prefix("--") {
        (None, rest)
    } else {
        let (year, rest) = text.split_once('-')?;
        (Some(number(year, 4)? as i32), rest)
    };
    let (month, day) = month_and_day.split_once('-')?;
    Some((year, number(month, 2)?, number(day, 2)?))
}

/// Parses exactly so many ASCII digits: `str::parse` and chrono would accept a sign or a space.
pub(super) fn number(text: &str, digits: usize) -> Option<u32> {
    let valid = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| valid)
}

serde_as_text!(AnnualDate);

named_enum! {
    /// The day on which a person born on 29 February is greeted in a common year.
    ///
    /// Laws differ: New Zealand and Taiwan say the 28th, the United Kingdom and Hong Kong 1 March. So it is a setting.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, utoipa::ToSchema)]
    #[schema(rename_all = "snake_case")]
    pub enum LeapDay ("leap day rule") {
        #[default]
        Feb28 = "feb28",
        Mar1 = "mar1",
        LeapYearsOnly = "leap_years_only",
    }
}

serde_as_text!(LeapDay);
