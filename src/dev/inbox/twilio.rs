//! The part of Twilio's API that bday uses: it creates a message. Any account and any number is known.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;

use super::InboxState;
use super::arrival::Arrival;
use super::message::MessageBody;
use super::request::Content;
use super::webhook::{truncated, unread};
use crate::model::ChannelName;

/// Numbers with it are those of `WhatsApp`.
const WHATSAPP: &str = "whatsapp:";

pub(super) fn routes() -> Router<InboxState> {
    Router::new().route("/2010-04-01/Accounts/{sid}/Messages.json", post(create))
}

/// A refusal: the status of HTTP, Twilio's code, and its text.
type Refusal = (StatusCode, u32, &'static str);

async fn create(
    State(inbox): State<InboxState>,
    Path(account): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let arrived_at = inbox.clock.now();
    let checked = match &body {
        Err(_) => Err((StatusCode::BAD_REQUEST, 20001, "unreadable body")),
        Ok(_) if !has_credentials(&headers) => Err((StatusCode::UNAUTHORIZED, 20003, "Authenticate")),
        Ok(body) => message(body),
    };
    let (channel, content) = match (&checked, &body) {
        (Ok((channel, message)), _) => (*channel, Content::Message(message.clone().bounded())),
        (Err(_), Err(rejection)) => (ChannelName::Sms, unread(rejection)),
        (Err((_, code, text)), Ok(_)) => {
            (ChannelName::Sms, Content::unreadable(format!("{code}: {text}"), b""))
        }
    };
    let refusal = checked.as_ref().err().map(|(status, ..)| status.as_u16());
    let arrival = Arrival { arrived_at, channel, path: truncated(uri.path()), webhook_id: None, content };
    let status = arrival.answer(&inbox, refusal, created).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED);
    let answer = match checked {
        Ok((_, message)) if status.is_success() => json!({
            "sid": format!("SM{:032x}", fastrand::u128(..)), "account_sid": account, "status": "queued",
            "to": message.to.first(), "from": message.from, "body": message.text, "error_code": null, "error_message": null,
        }),
        Ok(_) => {
            json!({"status": status.as_u16(), "code": 20500, "message": "asked for by the options of the inbox"})
        }
        Err((_, code, text)) => json!({"status": status.as_u16(), "code": code, "message": text}),
    };
    (status, Json(answer)).into_response()
}

/// Twilio accepts with 201.
fn created(status: StatusCode) -> u16 {
    if status.is_success() { 201 } else { status.as_u16() }
}

fn has_credentials(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"Basic "))
}

fn message(body: &[u8]) -> Result<(ChannelName, MessageBody), Refusal> {
    let fields: HashMap<_, _> = form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| fields.get(name).filter(|value| !value.is_empty()).cloned();
    let to = field("To").ok_or((StatusCode::BAD_REQUEST, 21604, "A 'To' phone number is required."))?;
    let from = field("From").or_else(|| field("MessagingServiceSid"));
    let from = from.ok_or((StatusCode::BAD_REQUEST, 21603, "A 'From' phone number is required."))?;
    let template =
        || Some(format!("{} {}", field("ContentSid")?, field("ContentVariables").unwrap_or_default()));
    let text = field("Body").or_else(template);
    let text = text.ok_or((StatusCode::BAD_REQUEST, 21602, "Message body is required."))?;
    let channel = if to.starts_with(WHATSAPP) { ChannelName::Whatsapp } else { ChannelName::Sms };
    let to = to.trim_start_matches(WHATSAPP).to_owned();
    Ok((channel, MessageBody { to: vec![to], from: Some(from), text, ..MessageBody::default() }))
}
