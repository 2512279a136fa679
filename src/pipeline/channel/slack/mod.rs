//! Slack: a direct message or a message in a channel by `chat.postMessage`, or by an incoming webhook.
//!
//! Slack has no key that makes a repeat harmless. The event id is in the metadata of a message of the bot.

mod api;
mod bot;
pub mod codes;
mod incoming;
mod lookup;
mod text;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use tokio::sync::watch;

use super::http_client::HttpClient;
use super::{Channel, Disposition, Greeting, Recipient, SendResult};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, Reason};

pub use bot::{CheckError, Scopes, check_token};

/// A secret. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The token of a bot, and where its requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bot {
    /// Ends in a slash.
    pub api: Url,
    pub token: Token,
}

/// How messages are posted.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    Bot(Bot),
    /// The URL is a secret.
    Incoming(Url),
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bot(_) => "Bot",
            Self::Incoming(_) => "Incoming",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackOptions {
    /// Where a bot mentions the person. None: a direct message to the person.
    pub channel: Option<String>,
    /// For all requests of one greeting.
    pub timeout: Duration,
}

/// Posts greetings. The endpoint may change while the process runs.
#[derive(Debug)]
pub struct Slack {
    client: HttpClient,
    endpoint: watch::Receiver<Endpoint>,
    options: SlackOptions,
    clock: SharedClock,
    users: lookup::Users,
}

impl Slack {
    #[must_use]
    pub fn new(
        client: &HttpClient,
        endpoint: watch::Receiver<Endpoint>,
        options: SlackOptions,
        clock: SharedClock,
    ) -> Self {
        let client = client.with_timeout(options.timeout);
        Self { client, endpoint, options, clock, users: lookup::Users::default() }
    }
}

#[async_trait]
impl Channel for Slack {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        let Some(recipient) = &greeting.recipient else {
            return without_recipient();
        };
        let endpoint = self.endpoint.borrow().clone();
        let client = &self.client;
        match &endpoint {
            Endpoint::Bot(bot) => self.send_by_bot(client, bot, greeting, recipient).await,
            Endpoint::Incoming(url) => incoming::post(client, url, &self.clock, greeting, recipient).await,
        }
    }
}

impl Slack {
    async fn send_by_bot(
        &self,
        client: &HttpClient,
        bot: &Bot,
        greeting: &Greeting,
        recipient: &Recipient,
    ) -> SendResult {
        let id = &recipient.address;
        if !text::is_email(id) {
            return self.post(client, bot, greeting, id).await;
        }
        if let Some(id) = self.users.get(bot, id, self.clock.now()) {
            return self.post(client, bot, greeting, &id).await;
        }
        // Two requests share the timeout.
        let half = self.options.timeout / 2;
        let client = client.with_timeout(half);
        match lookup::user_id(&client, bot, &self.clock, id, half).await {
            Ok(found) => {
                self.users.insert(bot, id, &found, self.clock.now());
                self.post(&client, bot, greeting, &found).await
            }
            Err(failed) => *failed,
        }
    }

    async fn post(&self, client: &HttpClient, bot: &Bot, greeting: &Greeting, user_id: &str) -> SendResult {
        let message = bot::Message::new(greeting, user_id, self.options.channel.as_deref());
        bot::post(client, bot, &self.clock, &message).await
    }
}

fn without_recipient() -> SendResult {
    let text = "the event has no contact for Slack".to_owned();
    SendResult::failed(AttemptOutcome::Failed, Disposition::Dead, Reason::Rejected, text)
}
