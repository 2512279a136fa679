//! Channels: send a greeting to a receiver.
//!
//! A channel sends once and keeps no state: the worker's record stage decides about retries. The only channel is [`webhook`]; mail, SMS
//! or Slack would implement [`Channel`], too.

pub mod address_filter;
mod excerpt;
pub mod http_client;
mod message;
pub mod signature;
pub mod webhook;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::{AttemptOutcome, Reason};

pub(crate) use excerpt::excerpt;
pub use message::{Messages, Template, TemplateError};

/// The event of the sample that `bday webhook test` sends. Ids of real events begin with the time of their creation.
pub(crate) const SAMPLE_EVENT: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_7e57_0000_0001);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The same in all attempts, so that a receiver can drop repeats.
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub message: String,
    pub due_at: DateTime<Utc>,
}

/// The result of one attempt. Only the channel classifies responses and errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendResult {
    pub outcome: AttemptOutcome,
    pub disposition: Disposition,
    /// The HTTP status.
    pub status: Option<u16>,
    pub reason: Option<Reason>,
    /// The reason in words, without secrets.
    pub error: Option<String>,
    /// The start of the body of an unsuccessful response, as safe text. It may hold personal data, so it is stored and never logged.
    pub response: Option<String>,
}

/// What becomes of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    Delivered,
    /// Another attempt, after at least this time if the receiver named one.
    Retry(Option<Duration>),
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
        Self { outcome, disposition, status: None, reason: Some(reason), error: Some(error), response: None }
    }
}

#[async_trait]
pub trait Channel: std::fmt::Debug + Send + Sync + 'static {
    /// Sends `greeting` once. Returns within the channel's own timeout and 2 s, whatever the receiver does.
    async fn send(&self, greeting: &Greeting) -> SendResult;
}
