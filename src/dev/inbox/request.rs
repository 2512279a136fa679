//! A received request or mail, and its content.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::message::{MessageBody, shorten};
use crate::model::ChannelName;

const MAX_UNREADABLE_BYTES: usize = 512;

/// A received request and the response to it. In JSON its keys are in camelCase, with those of the content beside the others.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedRequest {
    /// Counts up from 1, in the order of the responses.
    pub id: u64,
    #[serde(serialize_with = "in_milliseconds")]
    pub arrived_at: DateTime<Utc>,
    pub channel: ChannelName,
    /// Empty for a mail.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The `webhook-id` header, which is the same in all attempts of one event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    pub attempt: u32,
    /// Whether the event had been accepted before. A repeat after a failure is an attempt and not a duplicate.
    pub duplicate: bool,
    /// Whether the event is the sample of `bday webhook test`, which may be sent any number of times.
    pub sample: bool,
    /// The status of the response: of HTTP, or of SMTP; `None` if the sender disconnected before it. 400 for a refusal of Slack,
    /// which has HTTP status 200.
    pub status: Option<u16>,
    /// Arrival minus due instant: negative if early, `None` if unreadable, and for channels that do not tell it.
    pub lateness_ms: Option<i64>,
    #[serde(flatten)]
    pub content: Content,
}

impl ReceivedRequest {
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    pub(super) fn event(&self) -> Option<&str> {
        let event_id = || match &self.content {
            Content::Greeting(greeting) => Some(greeting.event_id.as_str()),
            Content::Message(message) => message.event(),
            Content::Unreadable(_) => None,
        };
        self.webhook_id.as_deref().or_else(event_id).filter(|name| !name.is_empty())
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Content {
    Greeting(GreetingBody),
    Message(MessageBody),
    Unreadable(UnreadableBody),
}

/// The body of a webhook: exactly these four keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GreetingBody {
    pub message: String,
    pub user_id: String,
    pub event_id: String,
    #[serde(deserialize_with = "rfc3339_with_z")]
    pub timestamp: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize)]
pub struct UnreadableBody {
    #[serde(rename = "unreadable")]
    pub reason: String,
    pub body: String,
}

impl Content {
    pub(super) fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<GreetingBody>(body) {
            Ok(mut greeting) => {
                [&mut greeting.message, &mut greeting.user_id, &mut greeting.event_id]
                    .into_iter()
                    .for_each(shorten);
                Self::Greeting(greeting)
            }
            Err(_) if body.is_empty() => Self::unreadable("the body is empty", body),
            Err(error) => Self::unreadable(error.to_string(), body),
        }
    }

    pub(super) fn unreadable(reason: impl Into<String>, body: &[u8]) -> Self {
        let start = &body[..body.len().min(MAX_UNREADABLE_BYTES)];
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(MAX_UNREADABLE_BYTES));
        Self::Unreadable(UnreadableBody { reason, body: String::from_utf8_lossy(start).into_owned() })
    }

    #[must_use]
    pub fn greeting(&self) -> Option<&GreetingBody> {
        match self {
            Self::Greeting(greeting) => Some(greeting),
            Self::Message(_) | Self::Unreadable(_) => None,
        }
    }

    #[must_use]
    pub fn message(&self) -> Option<&MessageBody> {
        match self {
            Self::Message(message) => Some(message),
            Self::Greeting(_) | Self::Unreadable(_) => None,
        }
    }
}

fn in_milliseconds<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The contract requires UTC with a `Z`, so an offset is an error of the sender even for the same instant.
fn rfc3339_with_z<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let instant = text.parse().ok().filter(|_| text.ends_with('Z'));
    instant.ok_or_else(|| {
        let shown = &text[..text.floor_char_boundary(64)];
        serde::de::Error::custom(format!(
            "invalid timestamp {shown:?}: expected an RFC 3339 instant that ends in Z"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"message":"Hey, John Doe it's your birthday","userId":"u-1","eventId":"e-1","timestamp":"2026-03-01T07:00:00Z"}"#;

    fn reason(body: &[u8]) -> String {
        match Content::parse(body) {
            Content::Unreadable(unreadable) => unreadable.reason,
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn a_body_with_exactly_the_four_keys_is_a_greeting() {
        let content = Content::parse(BODY.as_bytes());
        let greeting = content.greeting().expect("a greeting");
        assert_eq!(greeting.message, "Hey, John Doe it's your birthday");
        assert_eq!((greeting.user_id.as_str(), greeting.event_id.as_str()), ("u-1", "e-1"));
        assert_eq!(greeting.timestamp.to_rfc3339(), "2026-03-01T07:00:00+00:00");
    }

    #[test]
    fn any_other_body_is_unreadable_with_a_reason() {
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
            assert!(reason.starts_with(&format!("invalid timestamp {wrong:?}")), "{reason}");
        }
    }

    #[test]
    fn long_texts_are_truncated_between_characters() {
        let content = Content::parse(BODY.replace("Hey", &"é".repeat(5000)).as_bytes());
        assert_eq!(content.greeting().expect("a greeting").message, "é".repeat(2048));
        let Content::Unreadable(unreadable) = Content::parse(&[b'x'; 5000]) else {
            panic!("parsed as a greeting")
        };
        assert_eq!(unreadable.body.len(), 512);
    }
}
