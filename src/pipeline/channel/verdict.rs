//! What a provider's code means for the event, the contact and the channel.

use std::time::Duration;

use super::{Disposition, SendResult};
use crate::model::{AttemptOutcome, ContactStatus, Reason};

/// The meaning of a code. Tables of codes map to it, so that each code is documented and tested by its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The address cannot receive.
    Bounced,
    /// The person opted out at the provider.
    OptedOut,
    /// The provider rejected this message, for a reason that does not concern the address.
    Rejected,
    /// The provider rejects every message of this account, sender or configuration.
    ChannelDown,
    /// A rate limit or quota.
    Throttled,
    /// The provider may have accepted the message.
    Unknown,
}

impl Verdict {
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Bounced => Reason::Bounced,
            Self::OptedOut => Reason::OptedOut,
            Self::Rejected => Reason::Rejected,
            Self::ChannelDown => Reason::ChannelDown,
            Self::Throttled => Reason::Throttled,
            Self::Unknown => Reason::Status,
        }
    }

    /// `after`: the wait that the provider named.
    #[must_use]
    pub fn disposition(self, after: Option<Duration>) -> Disposition {
        match self {
            Self::Bounced => Disposition::Unreachable(ContactStatus::Bounced),
            Self::OptedOut => Disposition::Unreachable(ContactStatus::OptedOut),
            Self::Rejected => Disposition::Dead,
            Self::ChannelDown | Self::Throttled => Disposition::Defer(after),
            Self::Unknown => Disposition::Retry(after),
        }
    }

    #[must_use]
    pub fn outcome(self) -> AttemptOutcome {
        if self == Self::Unknown { AttemptOutcome::Unknown } else { AttemptOutcome::Failed }
    }

    /// Returns what bday does, for the tables of the documentation.
    #[must_use]
    pub fn effect(self) -> &'static str {
        match self {
            Self::Bounced => "contact `bounced`, next channel",
            Self::OptedOut => "contact `opted_out`, next channel",
            Self::Rejected => "dead",
            Self::ChannelDown | Self::Throttled => "deferred",
            Self::Unknown => "by `on_unknown`",
        }
    }

    pub(super) fn result(self, error: String, after: Option<Duration>) -> SendResult {
        SendResult::failed(self.outcome(), self.disposition(after), self.reason(), error)
    }
}
