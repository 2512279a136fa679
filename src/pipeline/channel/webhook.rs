//! The webhook: a POST of a JSON object with four keys; everything else is in headers.

use std::borrow::Cow;

use async_trait::async_trait;
use chrono::SecondsFormat;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::excerpt::MAX_BYTES;
use super::http_client::{HttpClient, HttpError, read_body};
use super::http_error::{classify_error, retry_after};
use super::signature::Signer;
use super::{Channel, Disposition, Greeting, SendResult, excerpt};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, Reason};

/// The span of the request, by W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
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
    pub(crate) client: HttpClient,
    url: watch::Receiver<Url>,
    signer: Signer,
    clock: SharedClock,
}

impl Webhook {
    #[must_use]
    pub fn new(client: HttpClient, url: watch::Receiver<Url>, signer: Signer, clock: SharedClock) -> Self {
        Self { client, url, signer, clock }
    }

    pub(crate) fn request(&self, greeting: &Greeting) -> Result<Request, Box<SendResult>> {
        use AttemptOutcome::Failed;
        let body = Body {
            message: Cow::Borrowed(&greeting.message.text),
            user_id: greeting.user_id,
            event_id: greeting.event_id,
            timestamp: greeting.due_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        };
        let body = serde_json::to_vec(&body).map_err(|error| {
            let text = format!("the body cannot be serialized: {error}");
            SendResult::failed(Failed, Disposition::Dead, Reason::Template, text)
        })?;
        let url = self.url.borrow().clone();
        // The builder moves user and password of the URL into a header.
        let mut request = self
            .client
            .request(Method::POST, url)
            .build()
            .map_err(|error| Box::new(classify_error(&HttpError::Http(error))))?;
        self.set_headers(request.headers_mut(), greeting, &body);
        *request.body_mut() = Some(body.into());
        Ok(request)
    }

    fn set_headers(&self, headers: &mut HeaderMap, greeting: &Greeting, body: &[u8]) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let id = greeting.event_id.to_string();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(WEBHOOK_ID, id);
        }
        let timestamp = self.clock.now().timestamp();
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
        if let Some(signature) = self.signer.sign(&id, timestamp, body) {
            headers.insert(WEBHOOK_SIGNATURE, signature);
        }
        if let Some(span) = greeting.span
            && let Ok(span) = HeaderValue::try_from(span.to_string())
        {
            headers.insert(TRACEPARENT, span);
        }
    }

    pub(crate) fn classify_response(&self, response: &Response) -> SendResult {
        let status = response.status();
        if status.is_success() {
            return SendResult::delivered(status.as_u16());
        }
        let (disposition, reason) = if status == StatusCode::GONE {
            (Disposition::Dead, Reason::Gone)
        } else {
            let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            (Disposition::Retry(after.and_then(|text| retry_after(text, self.clock.now()))), Reason::Status)
        };
        let text = format!("the receiver answered {status}");
        let failed = SendResult::failed(AttemptOutcome::Failed, disposition, reason, text);
        SendResult { status: Some(status.as_u16()), ..failed }
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        let request = match self.request(greeting) {
            Ok(request) => request,
            Err(failed) => return *failed,
        };
        match self.client.send(request).await {
            Ok(response) => {
                let mut result = self.classify_response(&response);
                // The status decides. The body is read to reuse the connection, and for the record.
                let keep = if result.disposition == Disposition::Delivered { 0 } else { MAX_BYTES };
                let kept = read_body(response, keep).await;
                result.response = (!kept.is_empty()).then(|| excerpt(&kept));
                result
            }
            Err(error) => classify_error(&error),
        }
    }
}
