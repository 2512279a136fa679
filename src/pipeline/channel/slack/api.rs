//! Requests to Slack and their responses.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};
use serde_json::Value;

use super::codes::{Step, classify};
use super::{Bot, Token};
use crate::clock::SharedClock;
use crate::pipeline::channel::http_client::{HttpClient, HttpError, read_body};
use crate::pipeline::channel::http_error::retry_after;
use crate::pipeline::channel::{SendResult, excerpt};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
pub(super) const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A response repeats the text in two places: up to 40,000 characters of 12 bytes (an escaped pair of surrogates).
const MAX_BYTES: usize = 1024 * 1024;

/// A response with any status.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The wait that Slack named.
    pub after: Option<Duration>,
}

/// Calls a method of the API.
pub(super) async fn call(
    client: &HttpClient,
    bot: &Bot,
    clock: &SharedClock,
    method: &str,
    content: (HeaderValue, Vec<u8>),
) -> Result<Answer, HttpError> {
    // The path of a method is valid in every URL that ends in a slash.
    let url = bot.api.join(method).unwrap_or_else(|_| bot.api.clone());
    post(client, url, Some(&bot.token), clock, content).await
}

pub(super) async fn post(
    client: &HttpClient,
    url: Url,
    token: Option<&Token>,
    clock: &SharedClock,
    (content_type, body): (HeaderValue, Vec<u8>),
) -> Result<Answer, HttpError> {
    let mut request = client.request(Method::POST, url).header(CONTENT_TYPE, content_type).body(body);
    if let Some(Token(token)) = token {
        request = request.bearer_auth(token);
    }
    let response = client.send(request.build().map_err(HttpError::Http)?).await?;
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Ok(Answer {
        status: response.status().as_u16(),
        after: after.and_then(|text| retry_after(text, clock.now())),
        headers: response.headers().clone(),
        body: read_body(response, MAX_BYTES).await,
    })
}

impl Answer {
    /// Returns the JSON of a successful call.
    pub(super) fn into_success(self, step: Step) -> Result<Value, Box<SendResult>> {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        if json["ok"] == true && (200..300).contains(&self.status) {
            return Ok(json);
        }
        let mut failed = self.failed(step, json["error"].as_str());
        if let (Some(needed), Some(error)) = (json["needed"].as_str(), &mut failed.error)
            && is_scopes(needed)
        {
            error.push_str(", needed: ");
            error.push_str(needed);
        }
        Err(Box::new(failed))
    }

    /// Returns the result for a response that reports no success.
    pub(super) fn failed(&self, step: Step, code: Option<&str>) -> SendResult {
        let response = (!self.body.is_empty()).then(|| excerpt(&self.body));
        SendResult { response, ..classify(step, self.status, code, self.after) }
    }
}

/// Whether a text is a list of scopes, such as `users:read,users:read.email`. Errors are logged, so nothing else gets into them.
fn is_scopes(text: &str) -> bool {
    text.len() <= 200 && text.bytes().all(|b| b.is_ascii_lowercase() || b":.,_-".contains(&b))
}
