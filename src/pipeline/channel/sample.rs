//! One greeting that is clearly a test, and the whole exchange, for people to look at.

use std::net::SocketAddr;

use reqwest::header::{ACCEPT, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Request, StatusCode, Url};
use serde::Serialize;
use uuid::Uuid;

use super::webhook::Webhook;
use super::wire::AGENT;
use super::{Greeting, Sent, Verdict};
use crate::config::redact_url;
use crate::model::Reason;

/// The event of every sample. No real one has it: the ids of real events begin with the time of their making.
pub const SAMPLE_EVENT: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_7e57_0000_0001);
/// The user of every sample.
pub const SAMPLE_USER: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_7e57_0000_0002);
/// What it says.
pub const SAMPLE_MESSAGE: &str = "This is a test from bday: it is nobody's birthday";
/// So much of an answer's head is shown.
const MAX_HEADERS: usize = 50;
const MAX_VALUE: usize = 300;

/// What went over the wire.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// Without what could be a secret.
    pub url: String,
    /// Whether it was encrypted, with a certificate that was checked.
    pub tls: bool,
    /// As they went out.
    pub request_headers: Vec<Header>,
    /// As it went out.
    pub body: String,
    /// The address that answered.
    pub address: Option<SocketAddr>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The head of the answer.
    pub response_headers: Vec<Header>,
    /// From the start of the request to the head of its answer, in milliseconds.
    pub elapsed_ms: u64,
    /// Whether a real greeting would count as delivered.
    pub accepted: bool,
    /// Whether a real greeting would be sent again.
    pub again: bool,
    /// Why it was not accepted.
    pub reason: Option<Reason>,
    /// The same in words.
    pub error: Option<String>,
}

/// A line of a head, fit for a terminal.
#[derive(Debug, Clone, Serialize)]
pub struct Header {
    /// In lower case.
    pub name: String,
    /// What could be a secret is hidden.
    pub value: String,
}

impl Header {
    fn new((name, value): (&HeaderName, &HeaderValue)) -> Self {
        let value = if value.is_sensitive() {
            "[hidden]".to_owned()
        } else {
            let text = String::from_utf8_lossy(value.as_bytes());
            // Whatever a terminal could take for a command is shown as an escape.
            let text = text.chars().take(MAX_VALUE);
            text.flat_map(|c| {
                let plain = c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
                let (plain, escaped) = if plain { (Some(c), None) } else { (None, Some(c.escape_unicode())) };
                plain.into_iter().chain(escaped.into_iter().flatten())
            })
            .collect()
        };
        Self { name: name.as_str().to_owned(), value }
    }
}

impl Webhook {
    /// Sends one sample, as a greeting would be sent, and tells all about it.
    pub async fn send_sample(&self) -> Exchange {
        let greeting = Greeting {
            event_id: SAMPLE_EVENT,
            user_id: SAMPLE_USER,
            message: SAMPLE_MESSAGE.to_owned(),
            due_at: self.clock.now(),
        };
        let request = match self.request(&greeting) {
            Ok(request) => request,
            Err(sent) => return Exchange::default().end(*sent),
        };
        let mut exchange = Exchange::begin(&request);
        let begun = self.clock.monotonic();
        let sent = match self.wire.send(request).await {
            Ok(response) => {
                exchange.address = response.remote_addr();
                let headers = response.headers().iter().take(MAX_HEADERS);
                exchange.response_headers = headers.map(Header::new).collect();
                self.judge_answer(&response)
            }
            Err(error) => self.judge_error(&error),
        };
        let elapsed = self.clock.monotonic().duration_since(begun);
        exchange.elapsed_ms = elapsed.as_millis() as u64;
        exchange.end(sent)
    }
}

impl Exchange {
    /// The status with its name, as `200 OK`.
    #[must_use]
    pub fn status_line(&self) -> Option<String> {
        let status = StatusCode::from_u16(self.status?).ok()?;
        // One without a name is shown as `299 <unknown status code>`.
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

    fn end(self, sent: Sent) -> Self {
        Self {
            status: sent.status,
            accepted: sent.verdict == Verdict::Done,
            again: matches!(sent.verdict, Verdict::Retry(_)),
            reason: sent.reason,
            error: sent.error,
            ..self
        }
    }
}

/// What the client adds by itself when it sends.
fn added(url: &Url, length: usize) -> HeaderMap {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = format!("{}{port}", url.host_str().unwrap_or_default());
    let texts = [
        (HOST, host),
        (USER_AGENT, AGENT.to_owned()),
        (ACCEPT, "*/*".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
    ];
    texts.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?))).collect()
}
