//! The message: a version, a pack and its event ids. Everything else is read from the database when an event is leased.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Per message, and so per pack.
pub(super) const MAX_EVENTS: usize = 100;
const MAX_BYTES: usize = 64 + MAX_EVENTS * 40;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("invalid message: {0} bytes; the limit is {MAX_BYTES}")]
    TooLong(usize),
    #[error("invalid message: {0}")]
    Malformed(String),
    #[error("unsupported message version {0}: this binary reads version 1")]
    Version(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id of the row in the outbox; none for a message in the dead-letter queue.
    pub pack: Option<i64>,
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

#[must_use]
pub fn encode(message: &Message) -> String {
    let body = Body { v: 1, pack: message.pack, events: message.event_ids.clone() };
    // Numbers and ids always serialize.
    serde_json::to_string(&body).unwrap_or_default()
}

/// An invalid message would fail each time, so it belongs in the dead-letter queue.
pub fn decode(body: &str) -> Result<Message, MessageError> {
    if body.len() > MAX_BYTES {
        return Err(MessageError::TooLong(body.len()));
    }
    let malformed = |text: &str| MessageError::Malformed(text.to_owned());
    match serde_json::from_str::<Body>(body) {
        Ok(body) if body.v != 1 => Err(MessageError::Version(body.v)),
        Ok(body) if body.events.is_empty() || body.events.len() > MAX_EVENTS => {
            Err(malformed(&format!("{} events; it must have 1 to {MAX_EVENTS}", body.events.len())))
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
    fn a_decoded_message_equals_the_encoded_one() {
        for original in [message(1, None), message(2, Some(7)), message(MAX_EVENTS as u128, Some(i64::MAX))] {
            assert_eq!(decode(&encode(&original)), Ok(original));
        }
    }

    #[test]
    fn every_kind_of_invalid_message_has_its_error() {
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
        fn the_decoder_never_panics(body in ".{0,300}") {
            let _ = decode(&body);
        }
    }
}
