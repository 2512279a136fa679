//! The message: a version and an event id. All else is in the database, so that it is current when it is sent.

use serde::Deserialize;
use uuid::Uuid;

/// More than any message of ours has.
const MAX_BYTES: usize = 4096;

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than any of ours.
    #[error("the message has {0} bytes; one of ours has at most {MAX_BYTES}")]
    TooLong(usize),
    /// Not the JSON that we write.
    #[error("the message is not one of ours: {0}")]
    Malformed(String),
    /// Written by a later version.
    #[error("the message has version {0}; this binary reads version 1")]
    Version(u64),
}

#[derive(Deserialize)]
struct Envelope {
    v: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(rename = "v")]
    version: u64,
    event: Uuid,
}

/// The message for an event.
#[must_use]
pub fn encode(event_id: Uuid) -> String {
    format!(r#"{{"v":1,"event":"{event_id}"}}"#)
}

/// The same as a JSON value.
#[must_use]
pub(super) fn value(event_id: Uuid) -> serde_json::Value {
    serde_json::json!({ "v": 1, "event": event_id })
}

/// The event that a message is for.
///
/// # Errors
/// When it is none of ours. Such a message is a dead letter at once: it would fail each time.
pub fn decode(body: &str) -> Result<Uuid, MessageError> {
    if body.len() > MAX_BYTES {
        return Err(MessageError::TooLong(body.len()));
    }
    let malformed = |error: serde_json::Error| MessageError::Malformed(error.to_string());
    match serde_json::from_str::<Message>(body) {
        Ok(message) if message.version == 1 => Ok(message.event),
        Ok(message) => Err(MessageError::Version(message.version)),
        Err(error) => match serde_json::from_str::<Envelope>(body) {
            Ok(Envelope { v }) if v != 1 => Err(MessageError::Version(v)),
            _ => Err(malformed(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let id = Uuid::from_u128(7);
        assert_eq!(decode(&encode(id)), Ok(id));
    }

    #[test]
    fn each_kind_of_foreign_message_is_named() {
        assert!(matches!(decode("hello"), Err(MessageError::Malformed(_))));
        assert!(matches!(decode(r#"{"v":1}"#), Err(MessageError::Malformed(_))));
        assert!(matches!(
            decode(r#"{"v":1,"event":7}"#),
            Err(MessageError::Malformed(_))
        ));
        assert_eq!(decode(r#"{"v":2,"events":[]}"#), Err(MessageError::Version(2)));
        assert_eq!(decode(&"x".repeat(5000)), Err(MessageError::TooLong(5000)));
        assert!(decode(&encode(Uuid::nil())[..20]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_decoder_panic(body in ".{0,300}") {
            let _ = decode(&body);
        }
    }
}
