//! Tracks which of the expected greetings have arrived.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::people::{SamplePeople, SamplePerson};
use crate::calendar::Occurrence;
use crate::dev::inbox::{GreetingBody, ReceivedRequest};

#[derive(Debug)]
pub struct ExpectedGreeting {
    pub person: SamplePerson,
    pub due: Occurrence,
    /// Whether it is due after the start.
    pub on_time: bool,
    accepted: u32,
}

#[derive(Debug)]
pub struct GreetingTracker {
    /// By user id.
    expected: HashMap<String, ExpectedGreeting>,
    /// Of greetings due after the start.
    lateness_ms: Vec<i64>,
    unexpected: u32,
}

#[derive(Debug)]
pub struct DemoSummary {
    pub expected: usize,
    pub accepted: usize,
    /// Accepted requests beyond the first of each greeting.
    pub repeated: u32,
    /// Accepted requests for an unknown user or with another due instant.
    pub unexpected: u32,
    /// Accepted greetings that were due after the start.
    pub on_time: usize,
    pub lateness_ms: Option<(i64, i64)>,
}

impl DemoSummary {
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.accepted == self.expected && self.repeated == 0 && self.unexpected == 0
    }
}

impl GreetingTracker {
    /// Expects a greeting for each birthday. `ids` are user ids by external id.
    #[must_use]
    pub fn new(people: &SamplePeople, ids: &HashMap<String, Uuid>, started_at: DateTime<Utc>) -> Self {
        let expected = people.celebrating().filter_map(|(person, due)| {
            let id = ids.get(&person.external_id)?;
            let on_time = due.due_at > started_at;
            let expected = ExpectedGreeting { person: person.clone(), due, on_time, accepted: 0 };
            Some((id.to_string(), expected))
        });
        Self { expected: expected.collect(), lateness_ms: Vec::new(), unexpected: 0 }
    }

    #[must_use]
    pub fn expected(&self, greeting: &GreetingBody) -> Option<&ExpectedGreeting> {
        self.expected.get(&greeting.user_id)
    }

    pub fn record(&mut self, request: &ReceivedRequest) {
        if !request.accepted() {
            return;
        }
        let greeting = request.content.greeting();
        let expected = greeting.and_then(|greeting| {
            let expected = self.expected.get_mut(&greeting.user_id)?;
            (expected.due.due_at == greeting.timestamp).then_some(expected)
        });
        let Some(expected) = expected else {
            self.unexpected += 1;
            return;
        };
        expected.accepted += 1;
        if expected.accepted == 1 && expected.on_time {
            self.lateness_ms.push((request.arrived_at - expected.due.due_at).num_milliseconds());
        }
    }

    /// Returns the greetings that have not been accepted, in the order in which they are due.
    #[must_use]
    pub fn missing(&self) -> Vec<&ExpectedGreeting> {
        let mut missing: Vec<_> = self.expected.values().filter(|expected| expected.accepted == 0).collect();
        missing.sort_by_key(|expected| (expected.due.due_at, &expected.person.external_id));
        missing
    }

    #[must_use]
    pub fn last_due_at(&self) -> Option<DateTime<Utc>> {
        self.expected.values().map(|expected| expected.due.due_at).max()
    }

    #[must_use]
    pub fn summary(&self) -> DemoSummary {
        let mut lateness = self.lateness_ms.clone();
        lateness.sort_unstable();
        let nearest_rank =
            |percent: usize| lateness.get((lateness.len() * percent).div_ceil(100).saturating_sub(1));
        DemoSummary {
            expected: self.expected.len(),
            accepted: self.expected.len() - self.missing().len(),
            repeated: self.expected.values().map(|expected| expected.accepted.saturating_sub(1)).sum(),
            unexpected: self.unexpected,
            on_time: lateness.len(),
            lateness_ms: nearest_rank(50).copied().zip(nearest_rank(99).copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::inbox::Content;
    use crate::model::{BIRTHDAY, ChannelName, Schedule};

    const NOW: &str = "2026-11-24T08:12:30Z";

    fn now() -> DateTime<Utc> {
        NOW.parse().expect("a valid instant")
    }

    /// Expects four greetings that were due, and four that are due in 30 s.
    fn tracker() -> GreetingTracker {
        let sample = SamplePeople::new(now(), 9, 1, &Schedule::of_kinds(&[BIRTHDAY]));
        let ids = sample.people.iter().map(|person| (person.external_id.clone(), Uuid::now_v7())).collect();
        GreetingTracker::new(&sample, &ids, now())
    }

    /// A request `after_ms` after its due instant and after the start.
    fn request(user_id: &str, due_at: DateTime<Utc>, status: u16, after_ms: i64) -> ReceivedRequest {
        ReceivedRequest {
            id: 1,
            arrived_at: due_at.max(now()) + chrono::TimeDelta::milliseconds(after_ms),
            channel: ChannelName::Webhook,
            path: "/".to_owned(),
            webhook_id: None,
            attempt: 1,
            duplicate: false,
            sample: false,
            status: Some(status),
            lateness_ms: None,
            content: Content::Greeting(GreetingBody {
                message: String::new(),
                user_id: user_id.to_owned(),
                event_id: String::new(),
                timestamp: due_at,
            }),
        }
    }

    fn users_and_due_instants(tracker: &GreetingTracker) -> Vec<(String, DateTime<Utc>)> {
        tracker.expected.iter().map(|(id, expected)| (id.clone(), expected.due.due_at)).collect()
    }

    #[test]
    fn the_summary_is_complete_once_every_greeting_was_accepted_once() {
        let mut tracker = tracker();
        for (n, (id, due_at)) in users_and_due_instants(&tracker).into_iter().enumerate() {
            assert_eq!(tracker.missing().len(), 8 - n);
            assert!(!tracker.summary().is_complete());
            tracker.record(&request(&id, due_at, 503, 0));
            tracker.record(&request(&id, due_at, 200, 40));
        }
        let summary = tracker.summary();
        assert!(summary.is_complete(), "{summary:?}");
        assert_eq!((summary.on_time, summary.lateness_ms), (4, Some((40, 40))));
    }

    #[test]
    fn repeated_or_unexpected_greetings_make_the_summary_incomplete() {
        let mut tracker = tracker();
        for (id, due_at) in users_and_due_instants(&tracker) {
            tracker.record(&request(&id, due_at, 200, 0));
        }
        let (id, due_at) = users_and_due_instants(&tracker).remove(0);
        tracker.record(&request(&id, due_at, 200, 9));
        tracker.record(&request(&id, now(), 200, 9));
        tracker.record(&request("unknown", due_at, 200, 9));
        let summary = tracker.summary();
        assert_eq!((summary.accepted, summary.repeated, summary.unexpected), (8, 1, 2));
        assert!(!summary.is_complete());
    }
}
