//! A message that arrived by another channel than the webhook.

use serde::{Serialize, Serializer};
use uuid::Uuid;

/// Longer texts are truncated, so that no sender can fill the memory.
const MAX_TEXT_BYTES: usize = 4096;
const MAX_RECIPIENTS: usize = 100;
const MAX_ADDRESS_BYTES: usize = 320;
/// 64 MB for 1000 kept messages.
const MAX_HTML_BYTES: usize = 64 * 1024;

/// A mail, a Slack message, an SMS or a `WhatsApp` message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageBody {
    /// Mail addresses, the Slack id of a person or channel, or a phone number. Of a mail: those of the envelope.
    pub to: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The header To of a mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(rename = "message")]
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Also the part of the Message-ID before the @ if it is an event id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// In JSON only whether there is one: `GET /arrivals/{id}/html` returns it.
    #[serde(rename = "hasHtml", serialize_with = "is_some")]
    pub html: Option<String>,
}

impl MessageBody {
    /// Truncates long texts, so that no sender can fill the memory.
    pub(super) fn bounded(mut self) -> Self {
        self.to.truncate(MAX_RECIPIENTS);
        self.to.iter_mut().for_each(|address| cut(address, MAX_ADDRESS_BYTES));
        shorten(&mut self.text);
        let texts = [
            &mut self.from,
            &mut self.to_header,
            &mut self.subject,
            &mut self.message_id,
            &mut self.event_id,
        ];
        texts.into_iter().flatten().for_each(shorten);
        if let Some(html) = &mut self.html {
            cut(html, MAX_HTML_BYTES);
        }
        self
    }

    pub(super) fn event(&self) -> Option<&str> {
        self.event_id.as_deref().or(self.message_id.as_deref())
    }
}

/// Returns the event id in a Message-ID such as `<01a20c92-40bd-7496-a43a-0e7ed8f73c8f@example.org>`.
pub(super) fn event_of_message_id(message_id: &str) -> Option<String> {
    let (local, _) = message_id.trim_start_matches('<').split_once('@')?;
    Some(local.parse::<Uuid>().ok()?.to_string())
}

pub(super) fn shorten(text: &mut String) {
    cut(text, MAX_TEXT_BYTES);
}

fn cut(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

fn is_some<S: Serializer>(value: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(value.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_names_an_event_only_if_it_begins_with_its_id() {
        let id = "01a20c92-40bd-7496-a43a-0e7ed8f73c8f";
        assert_eq!(event_of_message_id(&format!("<{id}@example.org>")).as_deref(), Some(id));
        for other in ["<1@example.org>", id, "", "<@>"] {
            assert_eq!(event_of_message_id(other), None, "{other}");
        }
    }

    #[test]
    fn long_texts_are_truncated_between_characters() {
        let long = "é".repeat(100_000);
        let body = MessageBody {
            to: vec![long.clone(); 101],
            subject: Some(long.clone()),
            text: long.clone(),
            html: Some(long),
            ..MessageBody::default()
        };
        let body = body.bounded();
        assert_eq!((body.to.len(), body.to[0].len(), body.text.len()), (100, 320, 4096));
        assert_eq!(body.subject.map(|it| it.len()), Some(4096));
        assert_eq!(body.html.map(|it| it.len()), Some(64 * 1024));
    }
}
