//! The part of Slack's Web API that bday uses, and an incoming webhook. Any token and any person is known.
//!
//! Slack answers an invalid request with HTTP status 200 and `{"ok": false, "error": …}`.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::InboxState;
use super::arrival::Arrival;
use super::message::MessageBody;
use super::request::Content;
use super::webhook::truncated;
use crate::model::ChannelName;

/// The scopes that bday needs, as Slack names those of a token.
const SCOPES: (&str, &str) = ("x-oauth-scopes", "chat:write,im:write,users:read,users:read.email");

pub(super) fn routes() -> Router<InboxState> {
    Router::new()
        .route("/api/chat.postMessage", post(post_message))
        .route("/api/users.lookupByEmail", post(lookup).get(lookup))
        .route("/api/auth.test", post(auth_test).get(auth_test))
        .route("/slack/hook", post(hook))
}

/// The arguments of a method: JSON, a form, or the query.
struct Arguments(HashMap<String, Value>);

impl Arguments {
    fn parse(headers: &HeaderMap, query: Option<&str>, body: &[u8]) -> Self {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut arguments: HashMap<String, Value> = if content_type.starts_with("application/json") {
            serde_json::from_slice(body).unwrap_or_default()
        } else {
            form_urlencoded::parse(body).map(|(key, value)| (key.into_owned(), value.into())).collect()
        };
        let query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        arguments.extend(query.map(|(key, value)| (key.into_owned(), Value::from(value))));
        Self(arguments)
    }

    fn text(&self, name: &str) -> Option<String> {
        let text = self.0.get(name)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The event id in `metadata`, which is JSON inside of a form.
    fn event_id(&self) -> Option<String> {
        let metadata = match self.0.get("metadata")? {
            Value::String(text) => serde_json::from_str(text).ok()?,
            metadata => metadata.clone(),
        };
        Some(metadata.pointer("/event_payload/event_id")?.as_str()?.to_owned())
    }
}

/// Reads a call of a method, and whether it has a token.
async fn read(request: Request) -> Result<(Arguments, bool), BytesRejection> {
    let (parts, body) = request.into_parts();
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await?;
    let arguments = Arguments::parse(&parts.headers, parts.uri.query(), &body);
    let bearer = |value: &str| value.strip_prefix("Bearer ").is_some_and(|token| !token.trim().is_empty());
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let has_token = header.is_some_and(bearer) || arguments.text("token").is_some();
    Ok((arguments, has_token))
}

/// Records a message, and answers it with `accepted` or with the error.
async fn answer(
    inbox: &InboxState,
    (arrived_at, path): (DateTime<Utc>, String),
    message: Result<MessageBody, &'static str>,
    accepted: impl IntoResponse,
) -> Response {
    let (content, refusal) = match &message {
        Ok(message) => (Content::Message(message.clone().bounded()), None),
        Err(error) => (Content::unreadable(*error, b""), Some(400)),
    };
    let arrival = Arrival { arrived_at, channel: ChannelName::Slack, path, webhook_id: None, content };
    let status = arrival.answer(inbox, refusal, |status| status.as_u16()).await;
    match message {
        Err(error) => failure(error),
        Ok(_) if (200..300).contains(&status) => accepted.into_response(),
        Ok(_) => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response(),
    }
}

fn failure(error: &str) -> Response {
    Json(json!({"ok": false, "error": error})).into_response()
}

async fn post_message(State(inbox): State<InboxState>, request: Request) -> Response {
    let at = (inbox.clock.now(), truncated(request.uri().path()));
    let message = match read(request).await {
        Err(_) => Err("request_timeout"),
        Ok((_, false)) => Err("not_authed"),
        Ok((arguments, true)) => message(&arguments),
    };
    let channel = message.as_ref().map(|message| message.to.clone()).unwrap_or_default();
    let sent_at = format!("{}.{:06}", at.0.timestamp(), at.0.timestamp_subsec_micros());
    let accepted = json!({"ok": true, "channel": channel.first(), "ts": sent_at});
    answer(&inbox, at, message, Json(accepted)).await
}

fn message(arguments: &Arguments) -> Result<MessageBody, &'static str> {
    let to = arguments.text("channel").ok_or("channel_not_found")?;
    let text = arguments.text("text").ok_or("no_text")?;
    Ok(MessageBody { to: vec![to], text, event_id: arguments.event_id(), ..MessageBody::default() })
}

/// Invents the id of a person from an address: the same one each time.
async fn lookup(request: Request) -> Response {
    match read(request).await {
        Err(_) => failure("request_timeout"),
        Ok((_, false)) => failure("not_authed"),
        Ok((arguments, true)) => match arguments.text("email").filter(|email| email.contains('@')) {
            None => failure("users_not_found"),
            Some(email) => {
                let user = json!({"id": user_id(&email), "profile": {"email": email}});
                Json(json!({"ok": true, "user": user})).into_response()
            }
        },
    }
}

#[must_use]
fn user_id(email: &str) -> String {
    let digest = Sha256::digest(email.to_lowercase());
    let hex = digest[..5].iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02X}"));
    format!("U{hex}")
}

async fn auth_test(request: Request) -> Response {
    if !read(request).await.is_ok_and(|(_, has_token)| has_token) {
        return failure("not_authed");
    }
    let answer = json!({
        "ok": true, "team": "bday inbox", "team_id": "T00INBOX", "user": "bday", "user_id": "U00BDAY", "bot_id": "B00BDAY",
    });
    ([SCOPES], Json(answer)).into_response()
}

/// An incoming webhook: it has no token, and belongs to one channel.
async fn hook(State(inbox): State<InboxState>, request: Request) -> Response {
    let at = (inbox.clock.now(), truncated(request.uri().path()));
    let text = read(request).await.ok().and_then(|(arguments, _)| {
        Some(MessageBody {
            text: arguments.text("text")?,
            event_id: arguments.event_id(),
            ..MessageBody::default()
        })
    });
    let refused = text.is_none();
    let response = answer(&inbox, at, text.ok_or("no_text"), "ok").await;
    // Incoming webhooks answer errors with a status and plain text.
    if refused { (StatusCode::BAD_REQUEST, "no_text").into_response() } else { response }
}
