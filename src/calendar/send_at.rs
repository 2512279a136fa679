//! The local time of day at which a greeting is due.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveTime, TimeDelta};

use super::annual_date::digits;
use super::text::{Given, serde_as_text};

/// A wall time, to the minute: `00:00` to `23:59`. The default is 09:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendAt {
    minutes: u16,
}

/// A text that is no wall time to the minute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid send time {given}: expected HH:MM, from 00:00 to 23:59, without seconds")]
pub struct InvalidSendAt {
    given: Given,
}

const MINUTES_A_DAY: u16 = 24 * 60;

impl SendAt {
    /// The time that many minutes after midnight, 0 to 1439; anything else is `None`.
    #[must_use]
    pub fn from_minutes(minutes: i16) -> Option<Self> {
        u16::try_from(minutes).ok().filter(|minutes| *minutes < MINUTES_A_DAY).map(|minutes| Self { minutes })
    }

    /// Minutes after midnight, 0 to 1439: the form in which the database keeps it.
    #[must_use]
    pub fn minutes_after_midnight(self) -> i16 {
        self.minutes as i16
    }

    /// The same as a chrono time, seconds zero.
    #[must_use]
    pub fn time(self) -> NaiveTime {
        NaiveTime::MIN + TimeDelta::minutes(i64::from(self.minutes))
    }
}

impl Default for SendAt {
    fn default() -> Self {
        Self { minutes: 9 * 60 }
    }
}

impl fmt::Display for SendAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

impl FromStr for SendAt {
    type Err = InvalidSendAt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.as_bytes()).ok_or_else(|| InvalidSendAt { given: Given::new(text) })
    }
}

fn parse(text: &[u8]) -> Option<SendAt> {
    let [h1, h2, b':', m1, m2] = text else { return None };
    let (hour, minute) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    (hour < 24 && minute < 60).then_some(SendAt { minutes: (hour * 60 + minute) as u16 })
}

serde_as_text!(SendAt, "a time HH:MM");
