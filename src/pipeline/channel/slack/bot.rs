//! The methods that need the token of a bot: `chat.postMessage` and `auth.test`.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::api::{self, JSON};
use super::codes::Step;
use super::{Bot, text};
use crate::clock::SharedClock;
use crate::pipeline::channel::http_client::HttpClient;
use crate::pipeline::channel::http_error::classify_error;
use crate::pipeline::channel::{Greeting, SendResult, excerpt};

/// The scope of `chat.postMessage`.
const CHAT_WRITE: &str = "chat:write";
/// The scope of `users.lookupByEmail`.
const READ_EMAIL: &str = "users:read.email";

/// The arguments of `chat.postMessage`.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    channel: &'a str,
    text: String,
    metadata: Metadata,
    unfurl_links: bool,
    unfurl_media: bool,
    #[serde(skip)]
    step: Step,
}

#[derive(Serialize)]
struct Metadata {
    event_type: &'static str,
    event_payload: Payload,
}

#[derive(Serialize)]
struct Payload {
    event_id: Uuid,
}

impl<'a> Message<'a> {
    /// A direct message to the user, or a message to `channel` that mentions the user.
    pub(super) fn new(greeting: &Greeting, user_id: &'a str, channel: Option<&'a str>) -> Self {
        let plain = &greeting.message.text;
        let (channel, text, step) = match channel {
            None => (user_id, text::escape(plain), Step::Direct),
            Some(channel) => (channel, text::mentioning(user_id, plain), Step::Channel),
        };
        let event_payload = Payload { event_id: greeting.event_id };
        let metadata = Metadata { event_type: "bday_greeting", event_payload };
        Self { channel, text, metadata, unfurl_links: false, unfurl_media: false, step }
    }
}

pub(super) async fn post(
    client: &HttpClient,
    bot: &Bot,
    clock: &SharedClock,
    message: &Message<'_>,
) -> SendResult {
    // Texts, booleans and a UUID can always be serialized.
    let body = serde_json::to_vec(message).unwrap_or_default();
    let answer = match api::call(client, bot, clock, "chat.postMessage", (JSON, body)).await {
        Ok(answer) => answer,
        Err(error) => return classify_error(&error),
    };
    let status = answer.status;
    match answer.into_success(message.step) {
        Ok(json) => SendResult { provider_id: provider_id(&json), ..SendResult::delivered(status) },
        Err(failed) => *failed,
    }
}

/// Returns the conversation and the timestamp, which together identify a message.
fn provider_id(json: &Value) -> Option<String> {
    let ts = json["ts"].as_str()?;
    let id = json["channel"].as_str().map_or_else(|| ts.to_owned(), |channel| format!("{channel}/{ts}"));
    Some(excerpt(id.as_bytes()))
}

/// What a token permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes {
    granted: Vec<String>,
}

impl Scopes {
    /// Returns whether the bot can post.
    #[must_use]
    pub fn can_post(&self) -> bool {
        self.missing().all(|scope| scope != CHAT_WRITE)
    }

    /// Returns the required scopes that the token lacks. `users:read.email` is required for users of whom only an email address is
    /// known.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let required = [CHAT_WRITE, READ_EMAIL].into_iter();
        required.filter(|scope| self.granted.iter().all(|granted| granted != scope))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(String);

/// Calls `auth.test`, which needs no scope. Posts nothing.
///
/// # Errors
/// Slack is unreachable or refuses the token. The error does not contain it.
pub async fn check_token(client: &HttpClient, bot: &Bot, clock: &SharedClock) -> Result<Scopes, CheckError> {
    let failed = |result: SendResult| CheckError(result.error.unwrap_or_default());
    let answer = api::call(client, bot, clock, "auth.test", (JSON, b"{}".to_vec()))
        .await
        .map_err(|error| failed(classify_error(&error)))?;
    let scopes = answer.headers.get("x-oauth-scopes").and_then(|value| value.to_str().ok());
    let granted = scopes.unwrap_or_default().split(',').map(|scope| scope.trim().to_owned()).collect();
    answer.into_success(Step::Check).map_err(|result| failed(*result))?;
    Ok(Scopes { granted })
}
