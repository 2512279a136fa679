//! The events of a date by the hour in which they are due.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, NaiveDate, TimeDelta, Utc};

use crate::calendar::SendAt;
use crate::model::EventState;
use crate::store::EventGroup;

/// What became of events: the parts of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The class of its colour.
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    /// Those of its events, in the filter of a list.
    pub(super) states: &'static str,
}

const fn outcome(class: &'static str, name: &'static str, states: &'static str) -> Outcome {
    Outcome { class, name, states }
}

pub(super) const OUTCOMES: [Outcome; 5] = [
    outcome("sent", "sent", "state=delivered"),
    outcome("late", "sent late", "state=delivered"),
    outcome("failed", "failed", "state=dead"),
    outcome("skipped", "skipped or cancelled", "state=skipped&state=cancelled"),
    outcome("due", "to come", "state=pending&state=queued&state=delivering"),
];

/// The number of events with each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts(pub(super) [i64; OUTCOMES.len()]);

impl Counts {
    pub(super) fn total(&self) -> i64 {
        self.0.iter().sum()
    }

    fn add(&mut self, group: &EventGroup) {
        let at = match group.state {
            EventState::Delivered if !group.late => 0,
            EventState::Delivered => 1,
            EventState::Dead => 2,
            EventState::Skipped | EventState::Cancelled => 3,
            EventState::Pending | EventState::Queued | EventState::Delivering => 4,
        };
        self.0[at] += group.count;
    }
}

impl<'a> FromIterator<&'a EventGroup> for Counts {
    fn from_iter<T: IntoIterator<Item = &'a EventGroup>>(groups: T) -> Self {
        let mut counts = Self::default();
        groups.into_iter().for_each(|group| counts.add(group));
        counts
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HourRow {
    pub(super) at: DateTime<Utc>,
    /// Where the default send time is at the instants of this hour's events.
    pub(super) offsets: String,
    pub(super) counts: Counts,
}

impl HourRow {
    pub(super) fn hour(&self) -> String {
        self.at.format("%Y-%m-%d %H:00").to_string()
    }
}

/// Returns the hours from the first to the last with events.
pub(super) fn hours(date: NaiveDate, send_at: SendAt, groups: &[EventGroup]) -> Vec<HourRow> {
    let mut by_hour: BTreeMap<DateTime<Utc>, Vec<&EventGroup>> = BTreeMap::new();
    for group in groups {
        let hour = group.due_at.duration_trunc(TimeDelta::hours(1)).unwrap_or(group.due_at);
        by_hour.entry(hour).or_default().push(group);
    }
    let ends = by_hour.first_key_value().zip(by_hour.last_key_value());
    let Some((first, last)) = ends.map(|((first, _), (last, _))| (*first, *last)) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    let mut at = first;
    while at <= last {
        let groups = by_hour.remove(&at).unwrap_or_default();
        let counts = groups.iter().copied().collect();
        rows.push(HourRow { at, offsets: offsets(date, send_at, &groups), counts });
        at += TimeDelta::hours(1);
    }
    rows
}

/// Returns the offsets from UTC at which it is `send_at` of `date` when the groups are due.
fn offsets(date: NaiveDate, send_at: SendAt, groups: &[&EventGroup]) -> String {
    let local = date.and_time(send_at.time());
    let mut offsets: Vec<i64> =
        groups.iter().map(|group| (local - group.due_at.naive_utc()).num_minutes()).collect();
    offsets.dedup();
    // No zone is outside of these: there, people have their own send times.
    offsets.retain(|offset| (-12 * 60..=14 * 60).contains(offset));
    let texts: Vec<String> = offsets.into_iter().map(offset_text).collect();
    texts.join(", ")
}

fn offset_text(minutes: i64) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_the_hour_with_the_offsets_of_the_send_time() {
        let group = |due_at: &str, state, late, count| EventGroup {
            due_at: DateTime::parse_from_rfc3339(due_at).expect("an instant").to_utc(),
            state,
            reason: None,
            channel: None,
            late,
            count,
        };
        let groups = [
            group("2026-05-02T03:15:00Z", EventState::Delivered, false, 3),
            group("2026-05-02T03:30:00Z", EventState::Delivered, true, 2),
            group("2026-05-02T03:30:00Z", EventState::Dead, false, 1),
            group("2026-05-02T05:00:00Z", EventState::Pending, false, 4),
        ];
        let date = "2026-05-02".parse().expect("a date");
        let rows = hours(date, SendAt::default(), &groups);
        let shown: Vec<_> = rows.iter().map(|row| (row.hour(), row.offsets.as_str(), row.counts.0)).collect();
        assert_eq!(
            shown,
            [
                ("2026-05-02 03:00".to_owned(), "+05:45, +05:30", [3, 2, 1, 0, 0]),
                ("2026-05-02 04:00".to_owned(), "", [0; 5]),
                ("2026-05-02 05:00".to_owned(), "+04:00", [0, 0, 0, 0, 4]),
            ]
        );
        assert_eq!(groups.iter().collect::<Counts>().total(), 10);
    }
}
