//! The webhook: one POST with the four keys of the contract, everything else in headers.

use std::borrow::Cow;
use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Request, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::excerpt::MOST_BYTES;
use super::signature::Signer;
use super::wire::{Wire, WireError, stays_here};
use super::{Channel, Greeting, Sent, Verdict, excerpt};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, Reason};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// An answer is read this far, so that the connection can serve again; what is in it does not matter. How one begins that
/// is no 2xx is kept, for whoever looks for the cause.
const MAX_ANSWER_BYTES: usize = 4096;

/// Why a URL cannot be posted to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// There is none.
    #[error("is empty")]
    Empty,
    /// It is no URL.
    #[error("is not a URL ({0})")]
    Invalid(String),
    /// It is a URL of something else.
    #[error("has the scheme {0:?}; it must be http or https")]
    Scheme(String),
    /// What is sent there could be read on the way.
    #[error(
        "is http:// to another machine, so names and birthdays would travel in clear: give an https:// URL, or, in a \
         network of your own, set webhook.allow_http = true (BDAY__WEBHOOK__ALLOW_HTTP=true)"
    )]
    Plain,
}

/// Reads a webhook URL. The error does not repeat it: it may hold a secret. `allow_http` is for other machines than this.
pub fn parse_url(text: &str, allow_http: bool) -> Result<Url, UrlError> {
    if text.trim().is_empty() {
        return Err(UrlError::Empty);
    }
    let url = Url::parse(text.trim()).map_err(|error| UrlError::Invalid(error.to_string()))?;
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if url.has_host() && (allow_http || stays_here(&url)) => Ok(url),
        "http" if url.has_host() => Err(UrlError::Plain),
        scheme => Err(UrlError::Scheme(scheme.to_owned())),
    }
}

/// The four keys of the contract, and no other.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Body<'a> {
    message: Cow<'a, str>,
    user_id: Uuid,
    event_id: Uuid,
    timestamp: String,
}

/// Posts greetings to a URL, which is looked at anew for each of them.
#[derive(Debug)]
pub struct Webhook {
    pub(super) wire: Wire,
    url: watch::Receiver<Url>,
    signer: Signer,
    pub(super) clock: SharedClock,
}

impl Webhook {
    /// Posts over `wire`, signed by `signer`.
    #[must_use]
    pub fn new(wire: Wire, url: watch::Receiver<Url>, signer: Signer, clock: SharedClock) -> Self {
        Self { wire, url, signer, clock }
    }

    /// The request for `greeting`, as it goes out now.
    ///
    /// # Errors
    /// It cannot be written; the verdict says what that means.
    pub(super) fn request(&self, greeting: &Greeting) -> Result<Request, Box<Sent>> {
        use AttemptOutcome::Failed;
        let body = Body {
            message: Cow::Borrowed(&greeting.message),
            user_id: greeting.user_id,
            event_id: greeting.event_id,
            timestamp: greeting.due_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        };
        let body = serde_json::to_vec(&body).map_err(|error| {
            let text = format!("the body cannot be written: {error}");
            Sent::failed(Failed, Verdict::GiveUp, Reason::Template, text)
        })?;
        let url = self.url.borrow().clone();
        self.wire
            .client()
            .post(url)
            .headers(self.headers(greeting.event_id, &body))
            .body(body)
            .build()
            .map_err(|error| Box::new(self.judge_error(&WireError::Http(error))))
    }

    fn headers(&self, event_id: Uuid, body: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = &*event_id.hyphenated().encode_lower(&mut id);
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(WEBHOOK_ID, id);
        }
        let timestamp = self.clock.now().timestamp();
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
        if let Some(signature) = self.signer.sign(id, timestamp, body) {
            headers.insert(WEBHOOK_SIGNATURE, signature);
        }
        headers
    }

    pub(super) fn judge_error(&self, error: &WireError) -> Sent {
        use AttemptOutcome::{Failed, Unknown};
        let error = match error {
            // The configuration may be put right, or the name point elsewhere: so it goes again.
            WireError::Refused(refused) => {
                let text = refused.to_string();
                return Sent::failed(Failed, Verdict::Retry(None), Reason::AddressRefused, text);
            }
            WireError::Http(error) => error,
        };
        let (outcome, reason, text) = if error.is_builder() {
            (Failed, Reason::BadUrl, "the webhook URL cannot be used".to_owned())
        } else if error.is_connect() {
            (Failed, Reason::Connect, format!("no connection: {}", root_cause(error)))
        } else if error.is_timeout() {
            (Unknown, Reason::Timeout, format!("no answer within {} s", self.wire.timeout().as_secs()))
        } else {
            (Unknown, Reason::Broken, format!("the connection broke: {}", root_cause(error)))
        };
        Sent::failed(outcome, Verdict::Retry(None), reason, text)
    }

    pub(super) fn judge_answer(&self, response: &Response) -> Sent {
        let status = response.status();
        if status.is_success() {
            return Sent::delivered(status.as_u16());
        }
        let (verdict, reason) = if status == StatusCode::GONE {
            (Verdict::GiveUp, Reason::Gone)
        } else {
            let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            (Verdict::Retry(after.and_then(|text| retry_after(text, self.clock.now()))), Reason::Status)
        };
        let text = format!("the receiver answered {status}");
        Sent { status: Some(status.as_u16()), ..Sent::failed(AttemptOutcome::Failed, verdict, reason, text) }
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, greeting: &Greeting) -> Sent {
        let request = match self.request(greeting) {
            Ok(request) => request,
            Err(sent) => return *sent,
        };
        match self.wire.send(request).await {
            Ok(response) => {
                let mut sent = self.judge_answer(&response);
                // The status has decided. The rest is read only to free the connection, and for the record.
                let keep = if sent.verdict == Verdict::Done { 0 } else { MOST_BYTES };
                let kept = drain(response, keep).await;
                sent.response = (!kept.is_empty()).then(|| excerpt(&kept));
                sent
            }
            Err(error) => self.judge_error(&error),
        }
    }
}

/// Reads an answer to its end, or for long enough; gives its first bytes, up to `keep`.
async fn drain(mut response: Response, keep: usize) -> Vec<u8> {
    let (mut read, mut kept) = (0, Vec::new());
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        kept.extend(chunk.iter().take(keep - kept.len()));
        if read > MAX_ANSWER_BYTES {
            break;
        }
    }
    kept
}

/// What a `Retry-After` asks for (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// The last in the chain says what really happened; the first repeats the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.source().is_none() { "no further reason given".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_without_repeating_it() {
        let parse = |text| parse_url(text, false);
        assert_eq!(parse("  "), Err(UrlError::Empty));
        assert!(matches!(parse("example.org/hook"), Err(UrlError::Invalid(_))));
        assert_eq!(parse("ftp://example.org"), Err(UrlError::Scheme("ftp".to_owned())));
        assert!(parse("https://example.org/hook").is_ok());
    }

    #[test]
    fn to_other_machines_http_must_be_allowed() {
        for url in ["http://example.org/hook", "http://10.0.0.1/", "http://inbox:8025/"] {
            assert_eq!(parse_url(url, false), Err(UrlError::Plain), "{url}");
            assert!(parse_url(url, true).is_ok(), "{url}");
        }
        for url in ["http://127.0.0.1:8025/", "http://[::1]/", "http://localhost/x"] {
            assert!(parse_url(url, false).is_ok(), "{url}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-24T09:00:00Z").expect("a time").with_timezone(&Utc);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 09:01:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-5", now), None);
    }
}
