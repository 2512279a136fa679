//! Sends a sample greeting and records the whole exchange.

use std::net::SocketAddr;

use reqwest::header::{ACCEPT, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Request, StatusCode, Url};
use serde::Serialize;
use uuid::Uuid;

use super::output::escape;
use crate::clock::Clock;
use crate::config::redact_url;
use crate::model::Reason;
use crate::pipeline::channel::http_client;
use crate::pipeline::channel::http_error::classify_error;
use crate::pipeline::channel::webhook::Webhook;
use crate::pipeline::channel::{Disposition, Greeting, Message, SAMPLE_EVENT, SendResult};

const SAMPLE_USER: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_7e57_0000_0002);
const SAMPLE_MESSAGE: &str = "This is a test message from bday, not a greeting";
const MAX_HEADERS: usize = 50;
/// Characters of a header.
const MAX_VALUE: usize = 300;

/// The request and its response.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exchange {
    /// Redacted.
    pub(super) url: String,
    /// Whether the request used TLS, with a verified certificate.
    pub(super) tls: bool,
    pub(super) request_headers: Vec<Header>,
    pub(super) body: String,
    /// The address that answered.
    pub(super) address: Option<SocketAddr>,
    pub(super) status: Option<u16>,
    pub(super) response_headers: Vec<Header>,
    /// Milliseconds from the start of the request to the headers of the response.
    pub(super) elapsed_ms: u64,
    /// Whether a real greeting would count as delivered.
    pub(super) accepted: bool,
    /// Whether a real greeting would be retried.
    pub(super) again: bool,
    /// Why it was not accepted, as a code and in words.
    pub(super) reason: Option<Reason>,
    pub(super) error: Option<String>,
}

/// A header, escaped for a terminal.
#[derive(Debug, Serialize)]
pub(super) struct Header {
    /// In lower case.
    pub(super) name: String,
    /// Hidden if it may be a secret.
    pub(super) value: String,
}

impl Header {
    fn new((name, value): (&HeaderName, &HeaderValue)) -> Self {
        let value = if value.is_sensitive() {
            "[hidden]".to_owned()
        } else {
            let text = String::from_utf8_lossy(value.as_bytes());
            escape(&text.chars().take(MAX_VALUE).collect::<String>())
        };
        Self { name: name.as_str().to_owned(), value }
    }
}

impl Exchange {
    /// Sends one sample through `webhook`, as a greeting would be sent.
    pub(super) async fn of_sample(webhook: &Webhook, clock: &dyn Clock) -> Self {
        let greeting = Greeting {
            event_id: SAMPLE_EVENT,
            user_id: SAMPLE_USER,
            message: Message::of_text(SAMPLE_MESSAGE),
            recipient: None,
            unsubscribe_url: None,
            span: None,
            due_at: clock.now(),
        };
        let request = match webhook.request(&greeting) {
            Ok(request) => request,
            Err(failed) => return Self::default().end(*failed),
        };
        let mut exchange = Self::begin(&request);
        let began = clock.monotonic();
        let result = match webhook.client.send(request).await {
            Ok(response) => {
                exchange.address = response.remote_addr();
                let headers = response.headers().iter().take(MAX_HEADERS);
                exchange.response_headers = headers.map(Header::new).collect();
                webhook.classify_response(&response)
            }
            Err(error) => classify_error(&error),
        };
        exchange.elapsed_ms = clock.monotonic().duration_since(began).as_millis() as u64;
        exchange.end(result)
    }

    /// The status with its name, as `200 OK`.
    pub(super) fn status_line(&self) -> Option<String> {
        let status = StatusCode::from_u16(self.status?).ok()?;
        // `StatusCode` displays an unnamed status as `299 <unknown status code>`.
        Some(match status.canonical_reason() {
            Some(name) => format!("{} {name}", status.as_u16()),
            None => status.as_str().to_owned(),
        })
    }

    fn begin(request: &Request) -> Self {
        let url = request.url();
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let headers = added(url, body.len());
        let headers = request.headers().iter().chain(&headers).map(Header::new);
        Self {
            url: redact_url(url.as_str()),
            tls: url.scheme() == "https",
            request_headers: headers.collect(),
            body: String::from_utf8_lossy(body).into_owned(),
            ..Self::default()
        }
    }

    fn end(self, result: SendResult) -> Self {
        Self {
            status: result.status,
            accepted: result.disposition == Disposition::Delivered,
            again: matches!(result.disposition, Disposition::Retry(_)),
            reason: result.reason,
            error: result.error,
            ..self
        }
    }
}

/// The headers that the client adds when it sends.
fn added(url: &Url, length: usize) -> HeaderMap {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = format!("{}{port}", url.host_str().unwrap_or_default());
    let texts = [
        (HOST, host),
        (USER_AGENT, http_client::USER_AGENT.to_owned()),
        (ACCEPT, "*/*".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
    ];
    texts.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?))).collect()
}
