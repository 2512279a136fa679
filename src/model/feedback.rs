//! What providers report about a greeting after they have accepted it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ChannelName;
use crate::calendar::InvalidText;
use crate::calendar::text::{named_enum, serde_as_text};

named_enum! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ToSchema)]
    #[schema(rename_all = "snake_case")]
    pub enum FeedbackType ("feedback type") {
        /// It arrived at the person's mail server or telephone.
        Delivered = "delivered",
        /// It has not arrived yet, and the provider retries.
        Delayed = "delayed",
        /// It did not arrive, for a reason that does not concern the address.
        Failed = "failed",
        /// The address cannot receive: the contact is marked `bounced`.
        Bounced = "bounced",
        /// The person reported it as spam: the contact is marked `complained`.
        Complained = "complained",
        /// The person opted out: the contact is marked `opted_out`.
        OptedOut = "opted_out",
    }
}

serde_as_text!(FeedbackType);

impl TryFrom<String> for FeedbackType {
    type Error = InvalidText;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl FeedbackType {
    /// Whether the greeting did not arrive, or was not wanted.
    #[must_use]
    pub fn is_negative(self) -> bool {
        !matches!(self, Self::Delivered | Self::Delayed)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Feedback {
    pub event_id: Uuid,
    #[sqlx(rename = "type", try_from = "String")]
    #[serde(rename = "type")]
    pub feedback_type: FeedbackType,
    #[sqlx(try_from = "String")]
    pub channel: ChannelName,
    /// When the provider observed it (UTC).
    pub at: DateTime<Utc>,
    /// The provider's code or words, without addresses.
    pub detail: Option<String>,
}
