//! What leaves this process: over which wire, to which URL, signed with what.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Url;

use crate::config::source::{Follow, Reference, Sources};
use crate::config::{Addresses, Config, ConfigError, parse_url};
use crate::pipeline::channel::address_filter::AddressFilter;
use crate::pipeline::channel::http_client::{Certificate, HttpClient, HttpClientOptions};
use crate::pipeline::channel::signature::{self, Secret, Signer};
use crate::pipeline::channel::{Messages, TemplateError};

/// The way to the webhook's receiver as `config` says.
///
/// # Errors
/// When `webhook.tls_root_cert` cannot be used, or no TLS can be set up.
pub fn http_client(config: &Config) -> anyhow::Result<HttpClient> {
    let webhook = &config.webhook;
    let options = HttpClientOptions {
        timeout: Duration::from_secs(webhook.timeout_secs),
        connect_timeout: Duration::from_secs(webhook.connect_timeout_secs),
        roots: roots(&webhook.tls_root_cert).map_err(|error| {
            let path = &webhook.tls_root_cert;
            ConfigError::Invalid(vec![format!("webhook.tls_root_cert is {path:?}: {error}")])
        })?,
        address_filter: AddressFilter {
            public_only: webhook.addresses == Addresses::Public,
            allow: webhook.allow_ranges.clone(),
            deny: webhook.deny_ranges.clone(),
        },
    };
    HttpClient::new(options).context("the webhook client cannot be set up")
}

/// The certificates in a PEM file; none without a path.
fn roots(path: &str) -> Result<Vec<Certificate>, String> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let pem = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        _ => Err("it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()),
    }
}

/// What is said on each occasion, as `config` says.
pub fn messages(config: &Config) -> Result<Messages, TemplateError> {
    let kinds = config.kinds.iter();
    Messages::new(kinds.map(|(name, kind)| (name.as_str(), kind.message.as_str())))
}

/// Says in the log, on one line, which kinds' messages have a gap for some people.
pub(crate) fn warn_of_gaps(messages: &Messages) {
    let kinds: Vec<&str> = messages.kinds_printing_unknown_years().collect();
    if !kinds.is_empty() {
        tracing::warn!(
            kinds = kinds.join(","),
            "these kinds' messages print years, which are unknown where a date has no year, and leave a gap there: write \
             {{% if years %}}…{{% endif %}} around it"
        );
    }
}

/// Tells of a stop that breaks off what the receiver may have accepted.
pub(crate) fn warn_of_short_drain(config: &Config) {
    if let Some(wrong) = config.short_drain() {
        tracing::warn!("{wrong}: raise worker.drain_secs, or lower webhook.timeout_secs");
    }
}

/// The webhook's URL, wherever it lives.
pub async fn webhook_url(config: &Config, sources: &Sources) -> anyhow::Result<Follow<Url>> {
    config.require_webhook()?;
    webhook_url_from("webhook.url", &config.webhook.url, config.webhook.allow_http, sources).await
}

/// The URL at `place`, which was given as `key`. To other machines it may be `http://` if `allow_http`.
pub async fn webhook_url_from(
    key: &'static str,
    place: &Reference,
    allow_http: bool,
    sources: &Sources,
) -> anyhow::Result<Follow<Url>> {
    let parse = if allow_http {
        |text: &str| parse_url(text, true).map_err(|error| format!("it {error}"))
    } else {
        |text: &str| parse_url(text, false).map_err(|error| format!("it {error}"))
    };
    Follow::start(sources, key, place, parse).await
}

/// What greetings are signed with, wherever it lives; nothing where they are not signed.
pub async fn webhook_secrets(config: &Config, sources: &Sources) -> anyhow::Result<Vec<Follow<Vec<Secret>>>> {
    let parse = |text: &str| signature::parse_secrets(text).map_err(|error| format!("it {error}"));
    let mut secrets = Vec::new();
    for place in &config.webhook.secrets {
        secrets.push(Follow::start(sources, "webhook.secrets", place, parse).await?);
    }
    Ok(secrets)
}

/// Signs with whatever `secrets` hold at the moment.
#[must_use]
pub fn signer(secrets: &[Follow<Vec<Secret>>]) -> Signer {
    Signer::new(secrets.iter().map(Follow::watch).collect())
}
