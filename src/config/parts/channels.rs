//! Builds the channels that the configured kinds use.

use super::built_channel::{Follower, Parts};
use super::{mail, slack, sms, webhook, whatsapp};
use crate::model::ChannelName;
use crate::pipeline::channel::ConfiguredChannel;

/// Fetches the URLs and secrets of the channels in use, and builds the channels.
pub async fn channels(parts: &Parts<'_>) -> anyhow::Result<(Vec<ConfiguredChannel>, Vec<Follower>)> {
    let (mut channels, mut followers) = (Vec::new(), Vec::new());
    for name in parts.config.used_channels() {
        let built = match name {
            ChannelName::Webhook => webhook::channel(parts).await?,
            ChannelName::Mail => mail::channel(parts).await?,
            ChannelName::Sms => sms::channel(parts).await?,
            ChannelName::Slack => slack::channel(parts).await?,
            ChannelName::Whatsapp => whatsapp::channel(parts).await?,
        };
        let limits = parts.config.channel_limits(name);
        channels.push(ConfiguredChannel { name, channel: built.channel, limits });
        followers.extend(built.followers);
    }
    Ok((channels, followers))
}
