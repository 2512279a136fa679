//! Tracks which of the expected greetings have arrived.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::people::{SamplePeople, SamplePerson};
use crate::calendar::Occurrence;
use crate::dev::inbox::{Content, ReceivedRequest};
use crate::model::ChannelName;

#[derive(Debug)]
pub struct ExpectedGreeting {
    user_id: String,
    pub person: SamplePerson,
    pub due: Occurrence,
    /// Whether it is due after the start.
    pub on_time: bool,
    accepted: u32,
}

impl ExpectedGreeting {
    #[must_use]
    pub fn lateness_ms(&self, request: &ReceivedRequest) -> i64 {
        (request.arrived_at - self.due.due_at).num_milliseconds()
    }
}

#[derive(Debug)]
pub struct GreetingTracker {
    /// By user id.
    expected: HashMap<String, ExpectedGreeting>,
    /// User ids by the mail address or the Slack id.
    users: HashMap<String, String>,
    /// Of greetings due after the start.
    lateness_ms: Vec<i64>,
    unexpected: u32,
}

#[derive(Debug)]
pub struct DemoSummary {
    pub expected: usize,
    pub accepted: usize,
    /// The greetings accepted by each channel.
    pub channels: BTreeMap<ChannelName, usize>,
    /// Accepted requests beyond the first of each greeting.
    pub repeated: u32,
    /// Accepted requests for an unknown user, by another channel, or with another due instant.
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
        let (mut expected, mut users) = (HashMap::new(), HashMap::new());
        for (person, due) in people.celebrating() {
            let Some(id) = ids.get(&person.external_id) else { continue };
            let address = person.email().or(person.slack_user_id());
            users.extend(address.map(|address| (address, id.to_string())));
            let on_time = due.due_at > started_at;
            let (user_id, person) = (id.to_string(), person.clone());
            let greeting = ExpectedGreeting { user_id: user_id.clone(), person, due, on_time, accepted: 0 };
            expected.insert(user_id, greeting);
        }
        Self { expected, users, lateness_ms: Vec::new(), unexpected: 0 }
    }

    /// Returns the greeting that arrived; `None` if it is not expected.
    #[must_use]
    pub fn expected(&self, request: &ReceivedRequest) -> Option<&ExpectedGreeting> {
        let (user, due_at) = match &request.content {
            Content::Greeting(greeting) => (&greeting.user_id, Some(greeting.timestamp)),
            Content::Message(message) => (self.users.get(message.to.first()?)?, None),
            Content::Unreadable(_) => return None,
        };
        let expected = self.expected.get(user)?;
        let as_due = due_at.is_none_or(|due_at| due_at == expected.due.due_at);
        (as_due && request.channel == expected.person.channel).then_some(expected)
    }

    pub fn record(&mut self, request: &ReceivedRequest) {
        if !request.accepted() {
            return;
        }
        let user = self.expected(request).map(|expected| expected.user_id.clone());
        let Some(expected) = user.and_then(|user| self.expected.get_mut(&user)) else {
            self.unexpected += 1;
            return;
        };
        expected.accepted += 1;
        if expected.accepted == 1 && expected.on_time {
            self.lateness_ms.push(expected.lateness_ms(request));
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
        let mut channels = BTreeMap::new();
        for expected in self.expected.values() {
            *channels.entry(expected.person.channel).or_default() += usize::from(expected.accepted > 0);
        }
        let mut lateness = self.lateness_ms.clone();
        lateness.sort_unstable();
        let nearest_rank =
            |percent: usize| lateness.get((lateness.len() * percent).div_ceil(100).saturating_sub(1));
        DemoSummary {
            expected: self.expected.len(),
            accepted: self.expected.len() - self.missing().len(),
            channels,
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
    use crate::dev::inbox::{GreetingBody, MessageBody};
    use crate::model::{BIRTHDAY, Schedule};

    const NOW: &str = "2026-11-24T08:12:30Z";

    fn now() -> DateTime<Utc> {
        NOW.parse().expect("a valid instant")
    }

    /// Expects four greetings that were due, and four that are due in 30 s.
    fn tracker() -> GreetingTracker {
        let channels = [ChannelName::Mail, ChannelName::Slack, ChannelName::Webhook];
        let sample = SamplePeople::new(now(), 9, 1, &Schedule::of_kinds(&[BIRTHDAY]), &channels);
        let ids = sample.people.iter().map(|person| (person.external_id.clone(), Uuid::now_v7())).collect();
        GreetingTracker::new(&sample, &ids, now())
    }

    fn received(channel: ChannelName, arrived_at: DateTime<Utc>, content: Content) -> ReceivedRequest {
        ReceivedRequest {
            id: 1,
            arrived_at,
            channel,
            path: "/".to_owned(),
            webhook_id: None,
            attempt: 1,
            duplicate: false,
            sample: false,
            status: Some(200),
            lateness_ms: None,
            content,
        }
    }

    fn webhook(user_id: &str, due_at: DateTime<Utc>) -> Content {
        Content::Greeting(GreetingBody {
            message: String::new(),
            user_id: user_id.to_owned(),
            event_id: String::new(),
            timestamp: due_at,
        })
    }

    fn message(to: Option<String>) -> Content {
        Content::Message(MessageBody { to: Vec::from_iter(to), ..MessageBody::default() })
    }

    /// The requests with all greetings, `after_ms` after their due instants and after the start.
    fn requests(tracker: &GreetingTracker, after_ms: i64) -> Vec<ReceivedRequest> {
        let after = chrono::TimeDelta::milliseconds(after_ms);
        let request = |expected: &ExpectedGreeting| {
            let (person, due_at) = (&expected.person, expected.due.due_at);
            let content = match person.channel {
                ChannelName::Webhook => webhook(&expected.user_id, due_at),
                _ => message(person.email().or(person.slack_user_id())),
            };
            received(person.channel, due_at.max(now()) + after, content)
        };
        tracker.expected.values().map(request).collect()
    }

    #[test]
    fn the_summary_is_complete_once_every_greeting_was_accepted_once() {
        let mut tracker = tracker();
        for (n, request) in requests(&tracker, 40).into_iter().enumerate() {
            assert_eq!(tracker.missing().len(), 8 - n);
            assert!(!tracker.summary().is_complete());
            tracker.record(&ReceivedRequest { status: Some(503), ..request.clone() });
            tracker.record(&request);
        }
        let summary = tracker.summary();
        assert!(summary.is_complete(), "{summary:?}");
        assert_eq!((summary.on_time, summary.lateness_ms), (4, Some((40, 40))));
        let counts: Vec<_> = summary.channels.into_iter().collect();
        let (mail, slack, webhook) = (ChannelName::Mail, ChannelName::Slack, ChannelName::Webhook);
        assert_eq!(counts, [(webhook, 2), (mail, 3), (slack, 3)]);
    }

    #[test]
    fn repeated_or_unexpected_greetings_make_the_summary_incomplete() {
        let mut tracker = tracker();
        let requests = requests(&tracker, 0);
        for request in &requests {
            tracker.record(request);
        }
        let by_webhook = requests.iter().find(|request| request.channel == ChannelName::Webhook);
        let by_webhook = by_webhook.expect("a webhook");
        let user_id = &by_webhook.content.greeting().expect("a greeting").user_id;
        tracker.record(by_webhook);
        tracker.record(&received(ChannelName::Webhook, now(), webhook(user_id, now())));
        tracker.record(&received(ChannelName::Webhook, now(), webhook("unknown", now())));
        tracker.record(&received(ChannelName::Mail, now(), message(Some("unknown@example.org".to_owned()))));
        tracker.record(&received(ChannelName::Slack, now(), message(None)));
        let by_mail = requests.iter().find(|request| request.channel == ChannelName::Mail).expect("a mail");
        tracker.record(&ReceivedRequest { channel: ChannelName::Slack, ..by_mail.clone() });
        let summary = tracker.summary();
        assert_eq!((summary.accepted, summary.repeated, summary.unexpected), (8, 1, 5));
        assert!(!summary.is_complete());
    }
}
