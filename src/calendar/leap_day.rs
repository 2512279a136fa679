//! What 29 February means in a common year.

use std::fmt;
use std::str::FromStr;

use super::text::{Given, serde_as_text};

/// On which day somebody born on 29 February is greeted in a year that has none.
///
/// Laws differ: New Zealand and Taiwan say the 28th, the United Kingdom and Hong Kong 1 March. So it is a setting, global and per person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LeapDay {
    /// On 28 February, the last day of the same month.
    #[default]
    Feb28,
    /// On 1 March, the day after 28 February.
    Mar1,
    /// Only in leap years: no greeting in the others.
    LeapYearsOnly,
}

/// A text that names no [`LeapDay`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown leap day rule {given}: expected feb28, mar1 or leap_years_only")]
pub struct UnknownLeapDay {
    given: Given,
}

impl LeapDay {
    /// Every rule, in the order in which help texts list them.
    pub const ALL: [Self; 3] = [Self::Feb28, Self::Mar1, Self::LeapYearsOnly];

    /// The name used in configuration, CSV, JSON and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Feb28 => "feb28",
            Self::Mar1 => "mar1",
            Self::LeapYearsOnly => "leap_years_only",
        }
    }
}

impl fmt::Display for LeapDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LeapDay {
    type Err = UnknownLeapDay;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.as_str() == text)
            .ok_or_else(|| UnknownLeapDay { given: Given::new(text) })
    }
}

serde_as_text!(LeapDay, "feb28, mar1 or leap_years_only");
