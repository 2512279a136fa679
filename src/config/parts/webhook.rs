//! The parts that post greetings: client, URL, signing secrets and messages.

use std::sync::Arc;

use anyhow::Context as _;
use reqwest::Url;

use super::built_channel::{BuiltChannel, Follower, Parts};
use crate::config::source::{Followed, Reference, Sources};
use crate::config::{Addresses, Config, ConfigError, parse_url, root_certificates};
use crate::pipeline::channel::Messages;
use crate::pipeline::channel::address_filter::AddressFilter;
use crate::pipeline::channel::http_client::{HttpClient, HttpClientOptions};
use crate::pipeline::channel::signature::{self, Secret, Signer};
use crate::pipeline::channel::webhook::Webhook;

/// Builds the channel that posts to the webhook.
pub(super) async fn channel(parts: &Parts<'_>) -> anyhow::Result<BuiltChannel> {
    let Parts { config, sources, clock, .. } = *parts;
    let url = webhook_url(config, sources).await?;
    let secrets = webhook_secrets(config, sources).await?;
    let signer = signer(&secrets);
    if signer.secret_count() == 0 {
        tracing::info!("webhook.secrets is empty: greetings are not signed");
    }
    let channel = Webhook::new(http_client(config)?, url.watch(), signer, Arc::clone(clock));
    let interval = config.source.refresh;
    let mut followers: Vec<Follower> =
        vec![("webhook.url", Box::pin(async move { url.run(interval).await }))];
    for secrets in secrets {
        followers.push(("webhook.secrets", Box::pin(async move { secrets.run(interval).await })));
    }
    Ok(BuiltChannel { channel: Arc::new(channel), followers })
}

/// Builds the HTTP client of the webhook.
///
/// # Errors
/// `webhook.tls_root_cert` has no certificate, or TLS cannot be initialised.
pub fn http_client(config: &Config) -> anyhow::Result<HttpClient> {
    let webhook = &config.webhook;
    let roots = root_certificates::read("webhook.tls_root_cert", &webhook.tls_root_cert);
    let roots = roots.map_err(|error| ConfigError::Invalid(vec![error]))?;
    let options = HttpClientOptions {
        timeout: webhook.timeout,
        connect_timeout: webhook.connect_timeout,
        roots: roots.map(|roots| roots.certificates).unwrap_or_default(),
        address_filter: AddressFilter {
            public_only: webhook.addresses == Addresses::Public,
            allow: webhook.allow_ranges.clone(),
            deny: webhook.deny_ranges.clone(),
        },
    };
    HttpClient::new(options).context("cannot create the webhook client")
}

pub fn messages(config: &Config) -> Result<Messages, ConfigError> {
    config.compile_messages().map_err(ConfigError::Invalid)
}

pub async fn webhook_url(config: &Config, sources: &Sources) -> anyhow::Result<Followed<Url>> {
    config.require_webhook()?;
    webhook_url_from("webhook.url", &config.webhook.url, config.webhook.allow_http, sources).await
}

/// Fetches the URL that was given as `key`. `allow_http` permits http:// to other machines.
pub async fn webhook_url_from(
    key: &'static str,
    reference: &Reference,
    allow_http: bool,
    sources: &Sources,
) -> anyhow::Result<Followed<Url>> {
    let parse = if allow_http {
        |text: &str| parse_url(text, true).map_err(|error| format!("it {error}"))
    } else {
        |text: &str| parse_url(text, false).map_err(|error| format!("it {error}"))
    };
    Followed::start(sources, key, reference, parse).await
}

/// Fetches the signing secrets. Without any, greetings are not signed.
pub async fn webhook_secrets(
    config: &Config,
    sources: &Sources,
) -> anyhow::Result<Vec<Followed<Vec<Secret>>>> {
    let parse = |text: &str| signature::parse_secrets(text).map_err(|error| format!("it {error}"));
    let mut secrets = Vec::new();
    for reference in &config.webhook.secrets {
        secrets.push(Followed::start(sources, "webhook.secrets", reference, parse).await?);
    }
    Ok(secrets)
}

/// Builds a signer that follows changes of `secrets`.
#[must_use]
pub fn signer(secrets: &[Followed<Vec<Secret>>]) -> Signer {
    Signer::new(secrets.iter().map(Followed::watch).collect())
}
