//! The parts of the channels that use Twilio.

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use super::built_channel::{Follower, Parts};
use crate::config::source::{Followed, Reference};
use crate::config::twilio::{SmsUrl, parse_sms_url, parse_twilio_url};
use crate::pipeline::channel::http_client::{HttpClient, HttpClientOptions};
use crate::pipeline::channel::twilio::{Twilio, TwilioAccount};

pub(super) const SMS_URL: &str = "channels.sms.url";
pub(super) const WHATSAPP_URL: &str = "channels.whatsapp.url";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Builds the client of one sender. `key` is the key of `url`.
pub(super) async fn twilio(
    parts: &Parts<'_>,
    key: &'static str,
    url: &Reference,
    from: &str,
    timeout: Duration,
) -> anyhow::Result<(Twilio, Follower)> {
    anyhow::ensure!(
        !from.is_empty(),
        "{} is empty: set it to a number or the id of a messaging service",
        key.replace(".url", ".from")
    );
    let client = twilio_client(timeout)?;
    let (account, follower) = account(parts, key, url).await?;
    Ok((Twilio::new(client, account, from.to_owned(), parts.config.http.public_base()), follower))
}

/// Builds the HTTP client for Twilio.
pub fn twilio_client(timeout: Duration) -> anyhow::Result<HttpClient> {
    let options =
        HttpClientOptions { timeout, connect_timeout: CONNECT_TIMEOUT, ..HttpClientOptions::default() };
    HttpClient::new(options).context("cannot create the client of Twilio")
}

/// Returns where SMS are sent, by the current value of the URL. A change of the provider requires a restart.
pub async fn sms_url(parts: &Parts<'_>) -> anyhow::Result<SmsUrl> {
    let parse = |text: &str| parse_sms_url(text).map_err(|error| format!("it {error}"));
    let url = Followed::start(parts.sources, SMS_URL, &parts.config.channels.sms.url, parse).await?;
    let current = url.watch().borrow().clone();
    Ok(current)
}

/// Fetches the account of `WhatsApp`.
pub async fn whatsapp_account(parts: &Parts<'_>) -> anyhow::Result<TwilioAccount> {
    let (account, _) = account(parts, WHATSAPP_URL, &parts.config.channels.whatsapp.url).await?;
    let current = account.borrow().clone();
    Ok(current)
}

/// Fetches the account, and follows its changes.
async fn account(
    parts: &Parts<'_>,
    key: &'static str,
    url: &Reference,
) -> anyhow::Result<(watch::Receiver<TwilioAccount>, Follower)> {
    let parse = |text: &str| parse_twilio_url(text).map_err(|error| format!("it {error}"));
    let followed = Followed::start(parts.sources, key, url, parse).await?;
    let (account, interval) = (followed.watch(), parts.config.source.refresh);
    Ok((account, (key, Box::pin(async move { followed.run(interval).await }))))
}

/// Fetches the accounts whose tokens sign callbacks. None if Twilio is not used.
pub async fn callback_accounts(
    parts: &Parts<'_>,
) -> anyhow::Result<(Vec<watch::Receiver<TwilioAccount>>, Vec<Follower>)> {
    let channels = &parts.config.channels;
    let (mut accounts, mut followers) = (Vec::new(), Vec::new());
    let has_sms = !channels.sms.url.is_empty();
    if has_sms && matches!(sms_url(parts).await?, SmsUrl::Twilio(_)) {
        let (account, follower) = account(parts, SMS_URL, &channels.sms.url).await?;
        accounts.push(account);
        followers.push(follower);
    }
    if !channels.whatsapp.url.is_empty() {
        let (account, follower) = account(parts, WHATSAPP_URL, &channels.whatsapp.url).await?;
        accounts.push(account);
        followers.push(follower);
    }
    Ok((accounts, followers))
}
