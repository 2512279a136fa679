//! Deliver: from a greeting to a receiver, and how that went.
//!
//! A channel sends once and keeps no state: the worker's record stage decides about retries. Today there is one channel, [`webhook`];
//! mail, SMS or Slack would be further ones behind [`Channel`].

pub mod address_filter;
mod excerpt;
mod message;
pub mod signature;
pub mod webhook;
pub mod wire;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::{AttemptOutcome, Reason};

pub(crate) use excerpt::excerpt;
pub use message::{Messages, Template, TemplateError};

/// The event of the sample that `bday webhook test` sends. Ids of real events begin with the time of their creation.
pub(crate) const SAMPLE_EVENT: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_7e57_0000_0001);

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The same in all attempts, so that a receiver can drop a repeat.
    pub event_id: Uuid,
    /// The user who is greeted.
    pub user_id: Uuid,
    /// The text.
    pub message: String,
    /// When it was due (UTC).
    pub due_at: DateTime<Utc>,
}

/// How one attempt went, and what that means for the next. The only place where answers are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What follows.
    pub verdict: Disposition,
    /// The status of an HTTP answer.
    pub status: Option<u16>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// The same in words, without secrets.
    pub error: Option<String>,
    /// The start of the body of an unsuccessful answer, as safe text. It may hold personal data, so it is stored and never logged.
    pub response: Option<String>,
}

/// What an answer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing more.
    Done,
    /// Another attempt, after at least this time if the receiver named one.
    Retry(Option<Duration>),
    /// No further attempt.
    GiveUp,
}

impl Sent {
    /// The receiver accepted it.
    #[must_use]
    pub fn delivered(status: u16) -> Self {
        Self {
            outcome: AttemptOutcome::Delivered,
            verdict: Disposition::Done,
            status: Some(status),
            reason: None,
            error: None,
            response: None,
        }
    }

    pub(crate) fn failed(
        outcome: AttemptOutcome,
        verdict: Disposition,
        reason: Reason,
        error: String,
    ) -> Self {
        Self { outcome, verdict, status: None, reason: Some(reason), error: Some(error), response: None }
    }
}

/// A way to reach people.
#[async_trait]
pub trait Channel: std::fmt::Debug + Send + Sync + 'static {
    /// Sends `greeting` once. Ends within the channel's own timeout and 2 s, whatever the other side does.
    async fn send(&self, greeting: &Greeting) -> Sent;
}
