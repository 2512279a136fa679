//! What a receiver recorded of a request.

use std::time::Duration;

use bday::model::ChannelName;

/// The kind that only daemon [`super::plan::ADDS_A_KIND`] is configured with.
pub(crate) const ADDED_KIND: &str = "name_day";

pub(crate) const CHANNELS: [ChannelName; 3] = [ChannelName::Mail, ChannelName::Slack, ChannelName::Webhook];

/// A request with a greeting, or a mail whose recipient was refused.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) channel: ChannelName,
    /// None if a mail was refused before it had been sent.
    pub(crate) event_id: Option<String>,
    /// Identifies the user: see [`key_of`].
    pub(crate) user: String,
    pub(crate) kind: &'static str,
    /// Identifies the daemon.
    pub(crate) sender: String,
    /// What is wrong with the request.
    pub(crate) fault: Option<String>,
    /// Time of arrival, since the receiver started.
    pub(crate) at: Duration,
    /// Time of acceptance, since the receiver started; none: not accepted.
    pub(crate) accepted_at: Option<Duration>,
}

/// Returns the user's id without hyphens, or the external id, from an id, an email address or a Slack id.
pub(crate) fn key_of(address: &str) -> String {
    let local = address.split('@').next().unwrap_or_default().to_lowercase();
    let local = local.strip_prefix("refused-").unwrap_or(&local);
    let local = local.strip_prefix(['u', 'w']).unwrap_or(local);
    if local.len() < 32 { local.replace('n', "-") } else { local.replace('-', "") }
}
