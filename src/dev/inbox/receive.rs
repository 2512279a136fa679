//! The receiving end: reads a webhook, waits as told, answers as told, and counts it whatever happens in between.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::arrival::Content;
use super::ledger::{Draft, Ledger};
use super::{BODY_LIMIT_BYTES, Shared};
use crate::pipeline::channel::SAMPLE_EVENT;

/// The longest path and `webhook-id` that are kept, in bytes.
const KEPT_NAME_BYTES: usize = 256;

/// Whatever is not one of the page's own GET requests: a webhook when it is a POST.
pub(super) async fn elsewhere(State(shared): State<Shared>, request: Request) -> Response {
    if request.method() == Method::POST {
        return webhook(&shared, request).await;
    }
    let hint = "POST a webhook to any path, or open / in a browser to see what arrived\n";
    (StatusCode::NOT_FOUND, hint).into_response()
}

async fn webhook(shared: &Shared, request: Request) -> Response {
    let arrived_at = shared.clock.now();
    let path = kept(request.uri().path());
    let webhook_id = webhook_id(request.headers());
    let (content, refusal) = match Bytes::from_request(request, &()).await {
        Ok(body) => (Content::parse(&body), None),
        Err(rejection) => refused(&rejection),
    };
    let name =
        webhook_id.as_deref().or_else(|| content.greeting().map(|greeting| greeting.event_id.as_str()));
    let sample = name.is_some_and(is_sample);
    let event = name.filter(|name| !name.is_empty()).map(|name| shared.ledger.arrive(name));
    let status =
        refusal.unwrap_or_else(|| shared.answers.status_for(event.map_or(u32::MAX, |(_, attempt)| attempt)));
    let pending = Pending {
        ledger: Arc::clone(&shared.ledger),
        draft: Some(Draft { arrived_at, path, webhook_id, content, event, sample }),
    };
    let delay = shared.answers.delay();
    if !delay.is_zero() {
        // A stop cuts the wait short: the sender gets its answer, and the inbox its end.
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = shared.stop.cancelled() => {}
        }
    }
    pending.answer(status)
}

/// A request that has been read and not yet answered. Dropped before its answer, which is what happens to it when the
/// sender hangs up, it is recorded as unanswered.
#[derive(Debug)]
struct Pending {
    ledger: Arc<Ledger>,
    draft: Option<Draft>,
}

impl Pending {
    fn answer(mut self, status: StatusCode) -> Response {
        if let Some(draft) = self.draft.take() {
            self.ledger.record(draft, Some(status.as_u16()));
        }
        status.into_response()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.ledger.record(draft, None);
        }
    }
}

/// A body that could not be read is answered with that, whatever the options say.
fn refused(rejection: &BytesRejection) -> (Content, Option<StatusCode>) {
    let status = rejection.status();
    let reason = if status == StatusCode::PAYLOAD_TOO_LARGE {
        format!("the body is over {} KiB", BODY_LIMIT_BYTES / 1024)
    } else {
        "the body ended early".to_owned()
    };
    (Content::unreadable(reason, b""), Some(status))
}

fn webhook_id(headers: &HeaderMap) -> Option<String> {
    headers.get("webhook-id").map(|id| kept(&String::from_utf8_lossy(id.as_bytes())))
}

fn is_sample(event: &str) -> bool {
    event.parse() == Ok(SAMPLE_EVENT)
}

fn kept(name: &str) -> String {
    name[..name.floor_char_boundary(KEPT_NAME_BYTES)].to_owned()
}
