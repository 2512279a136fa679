//! Receives a webhook.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::arrival::Arrival;
use super::request::Content;
use super::{BODY_LIMIT_BYTES, InboxState};
use crate::model::ChannelName;

/// Longer paths and webhook ids are truncated.
const MAX_NAME_BYTES: usize = 256;

/// Handles a request that is not for the page and not for the API of a provider: a webhook if it is a POST.
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
    let (content, refusal) = match Bytes::from_request(request, &()).await {
        Ok(body) => (Content::parse(&body), None),
        Err(rejection) => (unread(&rejection), Some(rejection.status().as_u16())),
    };
    let arrival = Arrival { arrived_at, channel: ChannelName::Webhook, path, webhook_id, content };
    let status = arrival.answer(inbox, refusal, |status| status.as_u16()).await;
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}

pub(super) fn unread(rejection: &BytesRejection) -> Content {
    let reason = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        format!("the body is over {} KiB", BODY_LIMIT_BYTES / 1024)
    } else {
        "the body ended early".to_owned()
    };
    Content::unreadable(reason, b"")
}

pub(super) fn truncated(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_NAME_BYTES)].to_owned()
}
