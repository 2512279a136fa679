//! Incoming webhooks: a POST of a text to a URL that belongs to one channel of Slack.

use reqwest::Url;
use serde_json::json;

use super::api::{self, JSON};
use super::codes::Step;
use super::text;
use crate::clock::SharedClock;
use crate::pipeline::channel::http_client::HttpClient;
use crate::pipeline::channel::http_error::classify_error;
use crate::pipeline::channel::{Greeting, Recipient, SendResult};

/// Posts the text, with a mention if the id of the person is known.
pub(super) async fn post(
    client: &HttpClient,
    url: &Url,
    clock: &SharedClock,
    greeting: &Greeting,
    recipient: &Recipient,
) -> SendResult {
    let (address, plain) = (&recipient.address, &greeting.message.text);
    let text = if text::is_email(address) { text::escape(plain) } else { text::mentioning(address, plain) };
    let body = json!({ "text": text }).to_string().into_bytes();
    let answer = match api::post(client, url.clone(), None, clock, (JSON, body)).await {
        Ok(answer) => answer,
        Err(error) => return classify_error(&error),
    };
    if (200..300).contains(&answer.status) {
        return SendResult::delivered(answer.status);
    }
    let code = str::from_utf8(&answer.body).ok().map(str::trim);
    answer.failed(Step::Incoming, code)
}
