//! One request to a receiver.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Event;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptOutcome {
    /// The receiver answered 2xx.
    Delivered,
    /// It answered otherwise, or nothing was sent.
    Failed,
    /// Bytes may have left and no answer came back: the receiver may have accepted it.
    Unknown,
}

impl AttemptOutcome {
    /// The name as in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// An attempt as it stands in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The event that was sent.
    pub event_id: Uuid,
    /// From 1.
    pub number: i16,
    /// `delivered`, `failed` or `unknown`.
    pub outcome: String,
    /// The HTTP status, when there was an answer.
    pub status: Option<i16>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The same in words.
    pub error: Option<String>,
    /// The first bytes of an answer that was no 2xx, as text. It may hold personal data.
    pub response: Option<String>,
    /// When the request began, UTC; none if its worker died.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended, UTC; none if nobody saw it end.
    pub finished_at: Option<DateTime<Utc>>,
}

/// An event with its attempts: the whole story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventWithAttempts {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// Its attempts, first to last.
    pub attempts: Vec<Attempt>,
}
