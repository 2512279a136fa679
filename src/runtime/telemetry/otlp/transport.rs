//! The HTTP client of the exporter, with its headers and a limited number of warnings.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpError, Request, Response};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::pipeline::channel::http_client::{HttpClient, read_body};
use crate::pipeline::channel::http_error::classify_error;

const WARNING_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Transport {
    client: HttpClient,
    /// Secrets.
    headers: watch::Receiver<HeaderMap>,
    clock: SharedClock,
    warned_at: Mutex<Option<Instant>>,
}

impl Transport {
    pub(super) fn new(client: HttpClient, headers: watch::Receiver<HeaderMap>, clock: SharedClock) -> Self {
        Self { client, headers, clock, warned_at: Mutex::default() }
    }

    fn warn(&self, error: &str) {
        let now = self.clock.monotonic();
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        if warned_at.is_none_or(|at| now.saturating_duration_since(at) >= WARNING_INTERVAL) {
            *warned_at = Some(now);
            tracing::warn!(error, "trace export failed");
        }
    }
}

#[async_trait]
impl opentelemetry_http::HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::Request::try_from(request)?;
        request.headers_mut().extend(self.headers.borrow().clone());
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => {
                let error = classify_error(&error).error.unwrap_or_default();
                self.warn(&error);
                return Err(error.into());
            }
        };
        let status = response.status();
        if !status.is_success() {
            self.warn(&format!("the collector answered {status}"));
        }
        let mut answer = Response::builder().status(status);
        if let Some(after) = response.headers().get(RETRY_AFTER) {
            answer = answer.header(RETRY_AFTER, after);
        }
        read_body(response, 0).await;
        Ok(answer.body(Bytes::new())?)
    }
}
