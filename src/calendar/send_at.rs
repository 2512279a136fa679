//! The local time of day at which a greeting is due.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveTime, TimeDelta, Timelike as _};

use super::annual_date::number;
use super::text::{InvalidText, serde_as_text};

/// A local time, to the minute: `00:00` to `23:59`. The default is 09:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendAt(NaiveTime);

impl SendAt {
    /// Returns the time so many minutes after midnight, from 0 to 1439.
    #[must_use]
    pub fn from_minutes(minutes: i16) -> Option<Self> {
        let secs = u32::try_from(minutes).ok()? * 60;
        NaiveTime::from_num_seconds_from_midnight_opt(secs, 0).map(Self)
    }

    #[must_use]
    pub fn time(self) -> NaiveTime {
        self.0
    }
}

impl Default for SendAt {
    fn default() -> Self {
        Self(NaiveTime::MIN + TimeDelta::hours(9))
    }
}

impl fmt::Display for SendAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

impl FromStr for SendAt {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let parts = text.split_once(':');
        let time =
            parts.and_then(|(hour, minute)| NaiveTime::from_hms_opt(number(hour, 2)?, number(minute, 2)?, 0));
        time.map(Self).ok_or_else(|| {
            InvalidText::new(
                "invalid send time",
                text,
                "expected HH:MM, from 00:00 to 23:59, without seconds",
            )
        })
    }
}

serde_as_text!(SendAt);
