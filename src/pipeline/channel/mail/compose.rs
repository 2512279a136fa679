//! The message: headers and body.
//!
//! Guaranteed: all attempts of an event have the same Message-ID; no value of a user can add a header.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};

use crate::pipeline::channel::Greeting;
use crate::pipeline::channel::message::subject_of;

/// A line of a message has at most 998 bytes (RFC 5322 section 2.1.1), and a subject without a blank cannot be folded.
const MAX_SUBJECT_CHARS: usize = 240;

/// The sender of all messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSender {
    pub from: Mailbox,
    pub reply_to: Option<Mailbox>,
}

/// Returns the message for one person.
pub(super) fn compose(
    sender: &MailSender,
    to: &Address,
    greeting: &Greeting,
    now: DateTime<Utc>,
) -> Result<lettre::Message, String> {
    let mut builder = lettre::Message::builder()
        .from(sender.from.clone())
        .to(Mailbox::new(None, to.clone()))
        .date(SystemTime::from(now))
        .message_id(Some(format!("<{}@{}>", greeting.event_id, sender.from.email.domain())));
    builder = match encoded_words(&subject(greeting)) {
        Some(encoded) => builder.raw_header(pre_encoded("Subject", encoded)),
        None => builder.subject(subject(greeting)),
    };
    if let Some(reply_to) = &sender.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    for (name, value) in extra_headers(greeting) {
        // As it is: encoded and folded, the URL would not be a URL.
        builder = builder.raw_header(pre_encoded(name, value));
    }
    let text = SinglePart::plain(greeting.message.text.clone());
    let message = match &greeting.message.html {
        None => builder.singlepart(text),
        Some(html) => {
            let parts = MultiPart::alternative().singlepart(text).singlepart(SinglePart::html(html.clone()));
            builder.multipart(parts)
        }
    };
    message.map_err(|error| error.to_string())
}

fn pre_encoded(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

/// Returns `text` as encoded words (RFC 2047) if it contains what looks like one, which lettre leaves as it is and readers decode.
fn encoded_words(text: &str) -> Option<String> {
    /// The base64 has 60 characters: a word has at most 75.
    const MAX_BYTES: usize = 45;
    if !text.contains("=?") {
        return None;
    }
    let mut chunks = vec![String::new()];
    for c in text.chars() {
        match chunks.last_mut() {
            Some(last) if last.len() + c.len_utf8() <= MAX_BYTES => last.push(c),
            _ => chunks.push(c.to_string()),
        }
    }
    let words = chunks.iter().map(|chunk| format!("=?utf-8?b?{}?=", STANDARD.encode(chunk)));
    Some(words.collect::<Vec<_>>().join("\r\n "))
}

/// Returns the headers that no builder has: one-click unsubscription (RFC 8058), and no automatic answers (RFC 3834).
pub(super) fn extra_headers(greeting: &Greeting) -> Vec<(&'static str, String)> {
    let mut headers = vec![("Auto-Submitted", "auto-generated".to_owned())];
    if let Some(url) = &greeting.unsubscribe_url {
        headers.push(("List-Unsubscribe", format!("<{url}>")));
        headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    headers
}

/// Returns the subject on one line.
pub(super) fn subject(greeting: &Greeting) -> String {
    let message = &greeting.message;
    let text = message.subject.clone().unwrap_or_else(|| subject_of(&message.text));
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_SUBJECT_CHARS) {
        None => line,
        Some((at, _)) => format!("{}…", &line[..at]),
    }
}
