//! Deliver: from a greeting to a receiver, and how that went.
//!
//! A channel sends once. It neither retries nor remembers: when the next attempt comes, and whether, is the queue's
//! matter. Today there is one channel, [`webhook`]; mail, SMS or Slack would be further ones behind [`Channel`].

mod excerpt;
pub mod guard;
mod message;
pub mod sample;
pub mod signature;
pub mod verify;
pub mod webhook;
pub mod wire;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::{AttemptOutcome, Reason};

pub use excerpt::excerpt;
pub use message::{Messages, Template, TemplateError};

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The same over all attempts, so that a receiver can drop a repeat.
    pub event_id: Uuid,
    /// Whom it is for.
    pub user_id: Uuid,
    /// The text.
    pub message: String,
    /// When it was due, UTC.
    pub due_at: DateTime<Utc>,
}

/// How one attempt went, and what that means for the next. The only place where answers are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// For the record.
    pub outcome: AttemptOutcome,
    /// What to do.
    pub verdict: Verdict,
    /// The status of an HTTP answer.
    pub status: Option<u16>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// The same in words, without secrets.
    pub error: Option<String>,
    /// The first bytes of an answer that was no success, as safe text. For the record only, never for a log: it may hold
    /// personal data.
    pub response: Option<String>,
}

/// What an answer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more.
    Done,
    /// Another attempt, not before this much time if the receiver named it.
    Retry(Option<Duration>),
    /// No further attempt.
    GiveUp,
}

impl Sent {
    /// The receiver has it.
    #[must_use]
    pub fn delivered(status: u16) -> Self {
        Self {
            outcome: AttemptOutcome::Delivered,
            verdict: Verdict::Done,
            status: Some(status),
            reason: None,
            error: None,
            response: None,
        }
    }

    /// It did not work.
    #[must_use]
    pub fn failed(outcome: AttemptOutcome, verdict: Verdict, reason: Reason, error: String) -> Self {
        Self { outcome, verdict, status: None, reason: Some(reason), error: Some(error), response: None }
    }
}

/// A way to reach people.
#[async_trait]
pub trait Channel: std::fmt::Debug + Send + Sync + 'static {
    /// Sends `greeting` once. Ends within the channel's own timeout, whatever the other side does.
    async fn send(&self, greeting: &Greeting) -> Sent;
}
