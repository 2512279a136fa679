//! One request that arrived, and what its body said.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest text that is kept of one field, in bytes, so that no sender can fill the memory.
const KEPT_BYTES: usize = 4096;
/// Of a body that cannot be read, only so much is kept, in bytes.
const KEPT_UNREADABLE_BYTES: usize = 512;

/// One request, with what it was answered. In JSON its keys are in camelCase, those of the content beside the others.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// Counts up from 1, in the order of the answers.
    pub id: u64,
    /// When the request's head had been read, UTC.
    #[serde(serialize_with = "to_the_millisecond")]
    pub arrived_at: DateTime<Utc>,
    /// The path it was posted to.
    pub path: String,
    /// The `webhook-id` header: the same over all attempts of one event.
    pub webhook_id: Option<String>,
    /// How many times this event has been seen, this one included.
    pub attempt: u32,
    /// Whether the event had been accepted before. A repeat after a failure is an attempt and no duplicate.
    pub duplicate: bool,
    /// Whether it is what `bday webhook test` sends, by the name of its event: that comes as often as somebody tests.
    pub sample: bool,
    /// The status answered, or none when the sender hung up before.
    pub status: Option<u16>,
    /// Arrival minus due instant, in milliseconds; negative when it came early, none when unreadable.
    pub lateness_ms: Option<i64>,
    /// What the body said.
    #[serde(flatten)]
    pub content: Content,
}

impl Arrival {
    /// Whether the answer was 2xx, which is what a sender counts as delivered.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// What a body said, if it was a greeting.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Exactly the four keys.
    Greeting(Greeting),
    /// Anything else.
    Unreadable(Unreadable),
}

/// The body of a webhook: these four keys and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Greeting {
    /// The text of the greeting. Cut off after 4 KiB.
    pub message: String,
    /// Whose day it is. Cut off after 4 KiB.
    pub user_id: String,
    /// Which occasion of which year. Cut off after 4 KiB.
    pub event_id: String,
    /// The due instant, UTC.
    #[serde(deserialize_with = "rfc3339_with_z")]
    pub timestamp: DateTime<Utc>,
}

/// A body that is not exactly a greeting.
#[derive(Debug, Clone, Serialize)]
pub struct Unreadable {
    /// What is wrong with it.
    #[serde(rename = "unreadable")]
    pub reason: String,
    /// How it starts, up to 512 bytes.
    pub body: String,
}

impl Content {
    /// Reads a body.
    pub(super) fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Greeting>(body) {
            Ok(mut greeting) => {
                for text in [&mut greeting.message, &mut greeting.user_id, &mut greeting.event_id] {
                    text.truncate(text.floor_char_boundary(KEPT_BYTES));
                }
                Self::Greeting(greeting)
            }
            Err(_) if body.is_empty() => Self::unreadable("the body is empty", body),
            Err(error) => Self::unreadable(error.to_string(), body),
        }
    }

    /// A body that is no greeting, for this reason.
    pub(super) fn unreadable(reason: impl Into<String>, body: &[u8]) -> Self {
        let start = &body[..body.len().min(KEPT_UNREADABLE_BYTES)];
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(KEPT_UNREADABLE_BYTES));
        Self::Unreadable(Unreadable { reason, body: String::from_utf8_lossy(start).into_owned() })
    }

    /// The greeting, if it is one.
    #[must_use]
    pub fn greeting(&self) -> Option<&Greeting> {
        match self {
            Self::Greeting(greeting) => Some(greeting),
            Self::Unreadable(_) => None,
        }
    }
}

/// Milliseconds are what lateness is measured in; more digits would only be noise on the page.
fn to_the_millisecond<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The contract says UTC with a `Z`, so an offset is a fault of the sender even where it means the same instant.
fn rfc3339_with_z<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || {
        let shown = &text[..text.floor_char_boundary(64)];
        serde::de::Error::custom(format!("timestamp {shown:?} is no RFC 3339 instant that ends in Z"))
    };
    if !text.ends_with('Z') {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"message":"Hey, John Doe it's your birthday","userId":"u-1","eventId":"e-1","timestamp":"2026-03-01T07:00:00Z"}"#;

    fn reason(body: &[u8]) -> String {
        match Content::parse(body) {
            Content::Unreadable(unreadable) => unreadable.reason,
            Content::Greeting(greeting) => panic!("read as {greeting:?}"),
        }
    }

    #[test]
    fn exactly_the_four_keys_are_a_greeting() {
        let content = Content::parse(BODY.as_bytes());
        let greeting = content.greeting().expect("a greeting");
        assert_eq!(greeting.message, "Hey, John Doe it's your birthday");
        assert_eq!((greeting.user_id.as_str(), greeting.event_id.as_str()), ("u-1", "e-1"));
        assert_eq!(greeting.timestamp.to_rfc3339(), "2026-03-01T07:00:00+00:00");
    }

    #[test]
    fn anything_else_is_unreadable_and_says_why() {
        assert_eq!(reason(b""), "the body is empty");
        assert!(reason(b"hello").starts_with("expected value at line 1"));
        assert!(reason(b"[1,2]").contains("expected"), "{}", reason(b"[1,2]"));
        assert!(reason(b"\xff\xfe").contains("expected value"));
        assert!(reason(BODY.replace(r#""userId":"u-1","#, "").as_bytes()).contains("missing field `userId`"));
        assert!(
            reason(BODY.replace("u-1\"", "u-1\",\"name\":\"x\"").as_bytes()).contains("unknown field `name`")
        );
        assert!(reason(BODY.replace("\"u-1\"", "7").as_bytes()).contains("expected a string"));
        assert!(reason(format!("{BODY} {BODY}").as_bytes()).contains("trailing characters"));
    }

    #[test]
    fn a_timestamp_must_be_utc_with_a_z() {
        for wrong in [
            "2026-03-01T07:00:00+00:00",
            "2026-03-01T09:00:00+02:00",
            "2026-03-01",
            "Z",
            "2026-02-30T07:00:00Z",
        ] {
            let reason = reason(BODY.replace("2026-03-01T07:00:00Z", wrong).as_bytes());
            assert!(reason.starts_with(&format!("timestamp {wrong:?} is no RFC 3339")), "{reason}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let content = Content::parse(BODY.replace("Hey", &"é".repeat(5000)).as_bytes());
        assert_eq!(content.greeting().expect("a greeting").message, "é".repeat(2048));
        let Content::Unreadable(unreadable) = Content::parse(&[b'x'; 5000]) else { panic!("read") };
        assert_eq!(unreadable.body.len(), 512);
    }
}
