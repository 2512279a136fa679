//! Builds the channel slack.

use std::sync::Arc;

use super::built_channel::{BuiltChannel, Parts};
use super::webhook::http_client;
use crate::config::source::{Followed, Sources};
use crate::config::{Config, parse_slack_url};
use crate::pipeline::channel::http_client::HttpClient;
use crate::pipeline::channel::slack::{Endpoint, Slack, SlackOptions};

const KEY: &str = "channels.slack.url";

pub(super) async fn channel(parts: &Parts<'_>) -> anyhow::Result<BuiltChannel> {
    let Parts { config, sources, clock, .. } = *parts;
    let endpoint = slack_endpoint(config, sources).await?;
    let slack = &config.channels.slack;
    let options = SlackOptions {
        channel: Some(slack.channel.clone()).filter(|channel| !channel.is_empty()),
        timeout: slack.timeout,
    };
    let channel = Slack::new(&slack_client(config)?, endpoint.watch(), options, Arc::clone(clock));
    let interval = config.source.refresh;
    let follower = Box::pin(async move { endpoint.run(interval).await });
    Ok(BuiltChannel { channel: Arc::new(channel), followers: vec![(KEY, follower)] })
}

/// Fetches the token of the bot, or the URL of the incoming webhook.
///
/// # Errors
/// The value cannot be fetched or is invalid. The error does not contain it.
pub async fn slack_endpoint(config: &Config, sources: &Sources) -> anyhow::Result<Followed<Endpoint>> {
    let slack = &config.channels.slack;
    let parse = if slack.channel.is_empty() {
        |text: &str| parse_slack_url(text, false).map_err(|error| format!("it {error}"))
    } else {
        |text: &str| parse_slack_url(text, true).map_err(|error| format!("it {error}"))
    };
    Followed::start(sources, KEY, &slack.url, parse).await
}

/// Builds the HTTP client for Slack: that of the webhook, with its certificates and its address filter.
///
/// # Errors
/// `webhook.tls_root_cert` has no certificate, or TLS cannot be initialised.
pub fn slack_client(config: &Config) -> anyhow::Result<HttpClient> {
    Ok(http_client(config)?.with_timeout(config.channels.slack.timeout))
}
