//! Receives a webhook: reads it, waits, responds, and records it even if the sender disconnects meanwhile.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::log::RequestLog;
use super::request::{Content, ReceivedRequest};
use super::{BODY_LIMIT_BYTES, InboxState};
use crate::pipeline::channel::SAMPLE_EVENT;

/// Longer paths and webhook ids are truncated.
const MAX_NAME_BYTES: usize = 256;

/// Handles a request that is not for the page: a webhook if it is a POST.
pub(super) async fn fallback(State(inbox): State<InboxState>, request: Request) -> Response {
    if request.method() == Method::POST {
        return webhook(&inbox, request).await.into_response();
    }
    let hint = "not found: POST a webhook to any path, or open / in a browser to see what arrived\n";
    (StatusCode::NOT_FOUND, hint).into_response()
}

async fn webhook(inbox: &InboxState, request: Request) -> StatusCode {
    let arrived_at = inbox.clock.now();
    let path = truncated(request.uri().path());
    let webhook_id = request.headers().get("webhook-id");
    let webhook_id = webhook_id.map(|id| truncated(&String::from_utf8_lossy(id.as_bytes())));
    let (content, error) = match Bytes::from_request(request, &()).await {
        Ok(body) => (Content::parse(&body), None),
        Err(rejection) => (unread(&rejection), Some(rejection.status())),
    };
    let lateness_ms = content.greeting().map(|it| (arrived_at - it.timestamp).num_milliseconds());
    let mut request = ReceivedRequest {
        id: 0,
        arrived_at,
        path,
        webhook_id,
        attempt: 1,
        duplicate: false,
        sample: false,
        status: None,
        lateness_ms,
        content,
    };
    request.sample = request.event().is_some_and(|event| event.parse() == Ok(SAMPLE_EVENT));
    let attempt = request.event().map(|event| inbox.log.count_attempt(event));
    if let Some(attempt) = attempt.filter(|_| !request.sample) {
        request.attempt = attempt;
    }
    let status = error.unwrap_or_else(|| inbox.responses.status_for(attempt.unwrap_or(u32::MAX)));
    let mut pending = PendingRequest { log: Arc::clone(&inbox.log), request: Some(request) };
    let delay = inbox.responses.delay();
    if !delay.is_zero() {
        // A stop shortens the wait: the sender still gets its response.
        inbox.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
    }
    pending.record(Some(status.as_u16()));
    status
}

/// A request that has been read and not yet answered. It is dropped if the sender disconnects, and recorded as unanswered.
#[derive(Debug)]
struct PendingRequest {
    log: Arc<RequestLog>,
    request: Option<ReceivedRequest>,
}

impl PendingRequest {
    fn record(&mut self, status: Option<u16>) {
        if let Some(request) = self.request.take() {
            self.log.record(ReceivedRequest { status, ..request });
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.record(None);
    }
}

fn unread(rejection: &BytesRejection) -> Content {
    let reason = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        format!("the body is over {} KiB", BODY_LIMIT_BYTES / 1024)
    } else {
        "the body ended early".to_owned()
    };
    Content::unreadable(reason, b"")
}

fn truncated(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_NAME_BYTES)].to_owned()
}
