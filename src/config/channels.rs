//! The sections `[channels.NAME]`, and the channels of each kind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::{Config, values};
use crate::config::source::Reference;
use crate::model::ChannelName;
use crate::pipeline::channel::{ChannelLimits, OnUnknown};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelsConfig {
    pub mail: MailConfig,
    pub sms: PhoneConfig,
    pub slack: SlackConfig,
    pub whatsapp: PhoneConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    pub url: Reference,
    pub from: String,
    pub reply_to: String,
    pub dkim_selector: String,
    pub allow_unencrypted: bool,
    pub tls_root_cert: String,
    pub configuration_set: String,
    pub feedback_queue_url: String,
    #[serde(rename = "timeout_secs", deserialize_with = "values::seconds")]
    pub timeout: Duration,
    pub max_per_second: u32,
    #[serde(deserialize_with = "values::variant")]
    pub on_unknown: OnUnknown,
}

/// SMS and `WhatsApp`: both reach a phone number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhoneConfig {
    pub url: Reference,
    pub from: String,
    #[serde(rename = "timeout_secs", deserialize_with = "values::seconds")]
    pub timeout: Duration,
    pub max_per_second: u32,
    #[serde(deserialize_with = "values::variant")]
    pub on_unknown: OnUnknown,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    pub url: Reference,
    pub channel: String,
    #[serde(rename = "timeout_secs", deserialize_with = "values::seconds")]
    pub timeout: Duration,
    pub max_per_second: u32,
    #[serde(deserialize_with = "values::variant")]
    pub on_unknown: OnUnknown,
}

impl Config {
    /// Returns the channels of each kind, in the order in which they are tried; none if all kinds use the webhook alone.
    #[must_use]
    pub fn routes(&self) -> Option<BTreeMap<String, Vec<ChannelName>>> {
        if self.kinds.values().all(|kind| kind.channels == [ChannelName::Webhook]) {
            return None;
        }
        Some(self.kinds.iter().map(|(name, kind)| (name.clone(), kind.channels.clone())).collect())
    }

    /// Returns the channels whose events are not retried after an unknown outcome.
    #[must_use]
    pub fn give_up_channels(&self) -> Vec<String> {
        let all = ChannelName::ALL.into_iter();
        let give_up = all.filter(|channel| self.channel_limits(*channel).on_unknown == OnUnknown::GiveUp);
        give_up.map(|channel| channel.as_str().to_owned()).collect()
    }

    /// Returns the channels that some kind uses.
    #[must_use]
    pub fn used_channels(&self) -> BTreeSet<ChannelName> {
        self.kinds.values().flat_map(|kind| kind.channels.iter().copied()).collect()
    }

    /// Returns the longest timeout of the channels that some kind uses.
    #[must_use]
    pub fn longest_timeout(&self) -> Duration {
        let timeouts = self.used_channels().into_iter().map(|channel| self.channel_limits(channel).timeout);
        timeouts.max().unwrap_or_default()
    }

    #[must_use]
    pub fn channel_url(&self, channel: ChannelName) -> &Reference {
        match channel {
            ChannelName::Webhook => &self.webhook.url,
            ChannelName::Mail => &self.channels.mail.url,
            ChannelName::Sms => &self.channels.sms.url,
            ChannelName::Slack => &self.channels.slack.url,
            ChannelName::Whatsapp => &self.channels.whatsapp.url,
        }
    }

    #[must_use]
    pub fn channel_limits(&self, channel: ChannelName) -> ChannelLimits {
        let ChannelsConfig { mail, sms, slack, whatsapp } = &self.channels;
        let (timeout, max_per_second, on_unknown) = match channel {
            // `worker.max_per_second` limits all requests. A receiver drops repeats by `webhook-id`.
            ChannelName::Webhook => (self.webhook.timeout, 0, OnUnknown::Retry),
            ChannelName::Mail => (mail.timeout, mail.max_per_second, mail.on_unknown),
            ChannelName::Sms => (sms.timeout, sms.max_per_second, sms.on_unknown),
            ChannelName::Slack => (slack.timeout, slack.max_per_second, slack.on_unknown),
            ChannelName::Whatsapp => (whatsapp.timeout, whatsapp.max_per_second, whatsapp.on_unknown),
        };
        ChannelLimits { timeout, max_per_second, on_unknown }
    }
}
