//! Channels, and the contacts by which they reach users.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::calendar::InvalidText;
use crate::calendar::text::{named_enum, serde_as_text};

named_enum! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
    #[schema(rename_all = "lowercase")]
    pub enum ChannelName ("channel") {
        Webhook = "webhook",
        Mail = "mail",
        Sms = "sms",
        Slack = "slack",
        Whatsapp = "whatsapp",
    }
}

serde_as_text!(ChannelName);

impl TryFrom<String> for ChannelName {
    type Error = InvalidText;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl TryFrom<String> for ContactStatus {
    type Error = InvalidText;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

named_enum! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum ContactType ("contact type") {
        Email = "email",
        Phone = "phone",
        SlackUserId = "slack_user_id",
    }
}

named_enum! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ToSchema)]
    #[schema(rename_all = "snake_case")]
    pub enum ContactStatus ("contact status") {
        Active = "active",
        /// The provider refused the address for good.
        Bounced = "bounced",
        /// The person reported a greeting as spam.
        Complained = "complained",
        /// The person wants no greetings by this channel.
        OptedOut = "opted_out",
    }
}

serde_as_text!(ContactStatus);

/// The address by which a channel reaches a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    #[sqlx(try_from = "String")]
    pub channel: ChannelName,
    /// An email address, a phone number (E.164), or a Slack user id.
    #[schema(example = "ada@example.org")]
    pub address: String,
    #[sqlx(try_from = "String")]
    pub status: ContactStatus,
    /// When it got this status (UTC); null for an active contact.
    pub since: Option<DateTime<Utc>>,
    /// The kinds that the person wants no greetings of by this channel.
    pub opted_out_kinds: Vec<String>,
}
