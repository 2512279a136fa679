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
use super::wire::{Wire, WireError, drain};
use super::{Channel, Disposition, Greeting, Sent, excerpt};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, Reason};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Body<'a> {
    message: Cow<'a, str>,
    user_id: Uuid,
    event_id: Uuid,
    timestamp: String,
}

/// Posts greetings to a URL that may change while the process runs.
#[derive(Debug)]
pub struct Webhook {
    pub(crate) wire: Wire,
    url: watch::Receiver<Url>,
    signer: Signer,
    clock: SharedClock,
}

impl Webhook {
    /// Posts through `wire`.
    #[must_use]
    pub fn new(wire: Wire, url: watch::Receiver<Url>, signer: Signer, clock: SharedClock) -> Self {
        Self { wire, url, signer, clock }
    }

    pub(crate) fn request(&self, greeting: &Greeting) -> Result<Request, Box<Sent>> {
        use AttemptOutcome::Failed;
        let body = Body {
            message: Cow::Borrowed(&greeting.message),
            user_id: greeting.user_id,
            event_id: greeting.event_id,
            timestamp: greeting.due_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        };
        let body = serde_json::to_vec(&body).map_err(|error| {
            let text = format!("the body cannot be written: {error}");
            Sent::failed(Failed, Disposition::GiveUp, Reason::Template, text)
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
        let id = event_id.to_string();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(WEBHOOK_ID, id);
        }
        let timestamp = self.clock.now().timestamp();
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
        if let Some(signature) = self.signer.sign(&id, timestamp, body) {
            headers.insert(WEBHOOK_SIGNATURE, signature);
        }
        headers
    }

    pub(crate) fn judge_error(&self, error: &WireError) -> Sent {
        use AttemptOutcome::{Failed, Unknown};
        let error = match error {
            // The configuration or the DNS may be corrected, so this is retried.
            WireError::Refused(refused) => {
                let text = refused.to_string();
                return Sent::failed(Failed, Disposition::Retry(None), Reason::AddressRefused, text);
            }
            WireError::Timeout(_) => {
                return Sent::failed(Unknown, Disposition::Retry(None), Reason::Timeout, error.to_string());
            }
            WireError::Http(error) => error,
        };
        let (outcome, reason, text) = if error.is_builder() {
            (Failed, Reason::BadUrl, "the webhook URL cannot be used".to_owned())
        } else if error.is_connect() {
            (Failed, Reason::Connect, format!("no connection: {}", root_cause(error)))
        } else {
            (Unknown, Reason::Broken, format!("the connection broke: {}", root_cause(error)))
        };
        Sent::failed(outcome, Disposition::Retry(None), reason, text)
    }

    pub(crate) fn judge_answer(&self, response: &Response) -> Sent {
        let status = response.status();
        if status.is_success() {
            return Sent::delivered(status.as_u16());
        }
        let (verdict, reason) = if status == StatusCode::GONE {
            (Disposition::GiveUp, Reason::Gone)
        } else {
            let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            (Disposition::Retry(after.and_then(|text| retry_after(text, self.clock.now()))), Reason::Status)
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
                // The status decides. The body is read to free the connection, and for the record.
                let keep = if sent.verdict == Disposition::Done { 0 } else { MOST_BYTES };
                let kept = drain(response, keep).await;
                sent.response = (!kept.is_empty()).then(|| excerpt(&kept));
                sent
            }
            Err(error) => self.judge_error(&error),
        }
    }
}

fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

fn root_cause(error: &reqwest::Error) -> String {
    let last = std::iter::successors(error.source(), |&cause| cause.source()).last();
    last.map_or_else(|| "no further reason given".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

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
