//! Channels: send a greeting to a receiver.
//!
//! A channel sends once and keeps no state: the worker's record stage decides about retries.

pub mod address_filter;
#[cfg(feature = "aws")]
pub mod aws_error;
mod excerpt;
mod grace;
pub mod http_client;
pub(crate) mod http_error;
mod limits;
pub mod mail;
mod message;
pub mod signature;
pub mod slack;
pub mod sms;
pub mod twilio;
pub mod verdict;
pub mod webhook;
pub mod whatsapp;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::{AttemptOutcome, ContactStatus, Reason, SpanContext};

pub(crate) use excerpt::excerpt;
pub use limits::{ChannelLimits, ConfiguredChannel, OnUnknown};
pub(crate) use message::MessageTemplates;
pub use message::{
    ContentTemplate, Form, Locale, Message, Messages, Template, TemplateError, TemplateField, TemplateFields,
    TemplateTables, TemplateValues,
};

/// The event of the sample that `bday webhook test` sends. Ids of real events begin with the time of their creation.
pub(crate) const SAMPLE_EVENT: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_7e57_0000_0001);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The same in all attempts, so that a receiver can drop repeats.
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub due_at: DateTime<Utc>,
    pub message: Message,
    /// None for the webhook.
    pub recipient: Option<Recipient>,
    /// Only for mail: ends the greetings to this address.
    pub unsubscribe_url: Option<String>,
    /// The span of the request, for the header `traceparent` of the webhook. None: the attempt is not traced.
    pub span: Option<SpanContext>,
}

/// The contact that a greeting is sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    pub address: String,
    /// The keyed hash of the address.
    pub address_hash: Vec<u8>,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").finish_non_exhaustive()
    }
}

/// The result of one attempt. Only the channel classifies responses and errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendResult {
    pub outcome: AttemptOutcome,
    pub disposition: Disposition,
    /// The status of the response: of HTTP, or of SMTP.
    pub status: Option<u16>,
    /// The provider's id of the accepted message.
    pub provider_id: Option<String>,
    pub reason: Option<Reason>,
    /// The reason in words, without secrets and addresses.
    pub error: Option<String>,
    /// The start of the body of an unsuccessful response, as safe text. It may hold personal data, so it is stored and never logged.
    pub response: Option<String>,
}

/// What becomes of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    Delivered,
    /// Another attempt, after at least this time if the receiver named one. After an unknown outcome, `on_unknown` of the channel
    /// decides.
    Retry(Option<Duration>),
    /// Another attempt that does not count against `retry.max_attempts`: the cause concerns every event of this channel, and nothing
    /// was sent. After at least this time if the provider named one.
    Defer(Option<Duration>),
    /// The provider definitely refused this contact, and sent nothing. The contact gets this status. The next channel is tried if
    /// another one reaches the user.
    Unreachable(ContactStatus),
    /// No further attempt.
    Dead,
}

impl SendResult {
    #[must_use]
    pub fn delivered(status: u16) -> Self {
        Self {
            outcome: AttemptOutcome::Delivered,
            disposition: Disposition::Delivered,
            status: Some(status),
            provider_id: None,
            reason: None,
            error: None,
            response: None,
        }
    }

    pub(crate) fn failed(
        outcome: AttemptOutcome,
        disposition: Disposition,
        reason: Reason,
        error: String,
    ) -> Self {
        Self {
            outcome,
            disposition,
            status: None,
            provider_id: None,
            reason: Some(reason),
            error: Some(error),
            response: None,
        }
    }
}

#[async_trait]
pub trait Channel: std::fmt::Debug + Send + Sync + 'static {
    /// Sends `greeting` once. Returns within the channel's own timeout and 2 s, whatever the receiver does.
    async fn send(&self, greeting: &Greeting) -> SendResult;
}
