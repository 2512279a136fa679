//! Charts as SVG, made on the server. Each has a table with the same figures beside it.

pub(super) mod heat_map;
pub(super) mod strip;

use std::fmt;

use askama::filters::HtmlSafe;

use crate::model::EventState;
use crate::store::EventGroup;

/// SVG that a chart has written: numbers, dates and fixed words only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Svg(String);

impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Svg {}

/// Greetings of an hour or a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Delivered in time.
    pub(super) sent: u64,
    /// Delivered late.
    pub(super) late: u64,
    /// Dead.
    pub(super) failed: u64,
    /// Skipped or cancelled.
    pub(super) skipped: u64,
    /// Not finished.
    pub(super) due: u64,
}

impl Counts {
    pub(super) fn total(&self) -> u64 {
        self.sent + self.late + self.failed + self.skipped + self.due
    }

    /// Returns the parts with their class and name.
    pub(super) fn parts(&self) -> [(&'static str, &'static str, u64); 5] {
        [
            ("sent", "sent", self.sent),
            ("late", "sent late", self.late),
            ("failed", "failed", self.failed),
            ("skipped", "skipped or cancelled", self.skipped),
            ("due", "to come", self.due),
        ]
    }

    /// Returns the parts that are not zero, as text.
    pub(super) fn describe(&self) -> String {
        let parts = self.parts().into_iter().filter(|(.., count)| *count > 0);
        let parts: Vec<String> = parts.map(|(_, name, count)| format!("{count} {name}")).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.late += other.late;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.due += other.due;
    }
}

impl From<&EventGroup> for Counts {
    fn from(group: &EventGroup) -> Self {
        let mut counts = Self::default();
        *match group.state {
            EventState::Delivered if group.late => &mut counts.late,
            EventState::Delivered => &mut counts.sent,
            EventState::Dead => &mut counts.failed,
            EventState::Skipped | EventState::Cancelled => &mut counts.skipped,
            EventState::Pending | EventState::Queued | EventState::Delivering => &mut counts.due,
        } = group.count.unsigned_abs();
        counts
    }
}

impl<'a> FromIterator<&'a EventGroup> for Counts {
    fn from_iter<T: IntoIterator<Item = &'a EventGroup>>(groups: T) -> Self {
        let mut total = Self::default();
        groups.into_iter().for_each(|group| total += Self::from(group));
        total
    }
}
