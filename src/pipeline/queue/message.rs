//! The message: a version, a pack and its event ids. Everything else is read from the database when the event is leased.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most events in a pack, and so in a message.
pub(super) const MAX_EVENTS: usize = 100;
const MAX_BYTES: usize = 64 + MAX_EVENTS * 40;

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than any of bday's.
    #[error("the message has {0} bytes; the limit is {MAX_BYTES}")]
    TooLong(usize),
    /// Not the JSON that bday writes.
    #[error("not a message of bday: {0}")]
    Malformed(String),
    /// Written by a later version.
    #[error("the message has version {0}; this binary reads version 1")]
    Version(u64),
}

/// What travels on the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The row of the outbox; none for a message in the dead-letter queue.
    pub pack: Option<i64>,
    /// The events.
    pub event_ids: Vec<Uuid>,
}

#[derive(Deserialize)]
struct Envelope {
    v: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    v: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pack: Option<i64>,
    events: Vec<Uuid>,
}

/// The text of a message.
#[must_use]
pub fn encode(message: &Message) -> String {
    let body = Body { v: 1, pack: message.pack, events: message.event_ids.clone() };
    // Numbers and ids always serialize.
    serde_json::to_string(&body).unwrap_or_default()
}

/// Reads a message. One that cannot be read would fail each time, so it belongs into the dead-letter queue.
pub fn decode(body: &str) -> Result<Message, MessageError> {
    if body.len() > MAX_BYTES {
        return Err(MessageError::TooLong(body.len()));
    }
    let malformed = |text: &str| MessageError::Malformed(text.to_owned());
    match serde_json::from_str::<Body>(body) {
        Ok(body) if body.v != 1 => Err(MessageError::Version(body.v)),
        Ok(body) if body.events.is_empty() || body.events.len() > MAX_EVENTS => {
            Err(malformed(&format!("it has {} events", body.events.len())))
        }
        Ok(body) => Ok(Message { pack: body.pack, event_ids: body.events }),
        Err(error) => match serde_json::from_str::<Envelope>(body) {
            Ok(Envelope { v }) if v != 1 => Err(MessageError::Version(v)),
            _ => Err(malformed(&error.to_string())),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(n: u128, pack: Option<i64>) -> Message {
        Message { pack, event_ids: (0..n).map(Uuid::from_u128).collect() }
    }

    #[test]
    fn a_message_reads_as_it_was_written() {
        for written in [message(1, None), message(2, Some(7)), message(MAX_EVENTS as u128, Some(i64::MAX))] {
            assert_eq!(decode(&encode(&written)), Ok(written));
        }
    }

    #[test]
    fn every_kind_of_invalid_message_is_named() {
        for malformed in ["hello", r#"{"v":1}"#, r#"{"v":1,"events":[7]}"#, r#"{"v":1,"events":[]}"#] {
            assert!(matches!(decode(malformed), Err(MessageError::Malformed(_))), "{malformed}");
        }
        assert_eq!(decode(r#"{"v":2,"to":[]}"#), Err(MessageError::Version(2)));
        assert_eq!(decode(&"x".repeat(9000)), Err(MessageError::TooLong(9000)));
        assert!(decode(&encode(&message(1, None))[..20]).is_err());
        assert!(decode(&encode(&message(101, None))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_decoder_panic(body in ".{0,300}") {
            let _ = decode(&body);
        }
    }
}
