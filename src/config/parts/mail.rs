//! Builds the channel mail.

use std::sync::Arc;

use super::built_channel::{BuiltChannel, Follower, Parts};
use crate::config::mail::{parse_url, sender};
use crate::config::source::Followed;
use crate::config::{Config, ConfigError, root_certificates};
use crate::pipeline::channel::mail::{Mail, MailOptions, MailUrl, UnsubscribeLinks};
use crate::store::Store;

const URL: &str = "channels.mail.url";

pub(super) async fn channel(parts: &Parts<'_>) -> anyhow::Result<BuiltChannel> {
    let (channel, url) = mail(parts).await?;
    if parts.config.http.public_url.is_empty() {
        tracing::info!("http.public_url is empty: mail has no link to unsubscribe");
    }
    let interval = parts.config.source.refresh;
    let followers: Vec<Follower> = vec![(URL, Box::pin(async move { url.run(interval).await }))];
    Ok(BuiltChannel { channel: Arc::new(channel), followers })
}

/// Fetches the URL of the mail server, and builds the channel.
pub async fn mail(parts: &Parts<'_>) -> anyhow::Result<(Mail, Followed<MailUrl>)> {
    let Parts { config, sources, clock, .. } = *parts;
    let parse: fn(&str) -> Result<MailUrl, String> = if config.channels.mail.allow_unencrypted {
        |text| parse_url(text, true).map_err(|error| format!("it {error}"))
    } else {
        |text| parse_url(text, false).map_err(|error| format!("it {error}"))
    };
    let url = Followed::start(sources, URL, &config.channels.mail.url, parse).await?;
    let channel = Mail::new(options(config)?, url.watch(), Arc::clone(clock)).map_err(anyhow::Error::msg)?;
    Ok((channel, url))
}

/// Builds the links to unsubscribe; none without `http.public_url`.
pub(super) fn unsubscribe_links(config: &Config, store: &Store) -> Option<UnsubscribeLinks> {
    let public_url = &config.http.public_url;
    (!public_url.is_empty()).then(|| UnsubscribeLinks::new(store.clone(), public_url))
}

/// Checks the sender and the file with certificates.
pub(super) fn options(config: &Config) -> Result<MailOptions, ConfigError> {
    let mail = &config.channels.mail;
    let invalid = |error| ConfigError::Invalid(vec![error]);
    let roots = root_certificates::read("channels.mail.tls_root_cert", &mail.tls_root_cert);
    Ok(MailOptions {
        sender: sender(mail).map_err(invalid)?,
        root_certificates: roots.map_err(invalid)?.map(|roots| roots.pem),
        configuration_set: mail.configuration_set.clone(),
        timeout: mail.timeout,
        #[cfg(feature = "aws")]
        ses: None,
    })
}
