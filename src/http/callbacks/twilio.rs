//! Twilio's callbacks: the status of sent messages, and messages of persons who opt out or in.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::{Callbacks, count, signature};
use crate::model::{ChannelName, FeedbackType};
use crate::pipeline::channel::twilio::codes::of_callback;
use crate::pipeline::channel::twilio::{CALLBACK_EVENT, CALLBACK_PATH};
use crate::pipeline::channel::whatsapp;
use crate::pipeline::feedback::{self, Report};
use crate::store::{Result, chain};

/// The default keywords of Twilio (<https://help.twilio.com/articles/223134027>).
const STOP: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"];
const START: [&str; 3] = ["START", "UNSTOP", "YES"];
/// An answer in `TwiML` without a message: Twilio itself answers STOP.
const NO_ANSWER: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>";

type Form = Vec<(String, String)>;

/// What a signed request says.
#[derive(Debug, PartialEq, Eq)]
enum Callback {
    Report(Report),
    OptIn {
        channel: ChannelName,
        address: String,
    },
    /// A status on the way, a message that is no keyword, or a message of another application.
    Other,
}

pub(super) async fn receive(
    State(callbacks): State<Callbacks>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form: Form = form_urlencoded::parse(&body).into_owned().collect();
    if let Err(status) = callbacks.check(query.as_deref(), &headers, &form) {
        return status.into_response();
    }
    let event_id = query.as_deref().and_then(event_id);
    match callbacks.apply(read(event_id, &form, callbacks.clock.now())).await {
        Ok(()) => {
            count("accepted");
            answer(&form)
        }
        Err(error) => {
            count("failed");
            tracing::warn!(error = chain(&error), "callback of Twilio not stored");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

impl Callbacks {
    /// Checks that Twilio sent the request. The signature covers the public URL, whatever a proxy makes of it.
    fn check(&self, query: Option<&str>, headers: &HeaderMap, form: &Form) -> Result<(), StatusCode> {
        let Some(accounts) = self.accounts.0.get() else { return Err(StatusCode::SERVICE_UNAVAILABLE) };
        if accounts.is_empty() {
            return Err(StatusCode::NOT_FOUND);
        }
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{}{CALLBACK_PATH}{query}", self.public_url);
        let given =
            headers.get("x-twilio-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_valid = accounts.iter().any(|account| {
            let token = account.borrow().token.clone();
            signature::is_valid(token.expose_secret(), given, &url, form)
        });
        if is_valid {
            return Ok(());
        }
        count("forged");
        tracing::warn!(
            "callback of Twilio rejected: wrong signature; check that http.public_url is the URL that Twilio calls"
        );
        Err(StatusCode::FORBIDDEN)
    }

    async fn apply(&self, callback: Callback) -> Result<()> {
        match callback {
            Callback::Report(report) => feedback::record(&self.store, &report).await,
            Callback::OptIn { channel, address } => {
                self.store.opt_in_address(channel, &address, self.clock.now()).await?;
                Ok(())
            }
            Callback::Other => Ok(()),
        }
    }
}

fn event_id(query: &str) -> Option<Uuid> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == CALLBACK_EVENT).and_then(|(_, id)| id.parse().ok())
}

fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

/// Returns the channel and the number of an address of Twilio; `None` for a short code or another channel of Twilio.
fn contact(address: &str) -> Option<(ChannelName, &str)> {
    let (channel, number) = match address.strip_prefix(whatsapp::PREFIX) {
        Some(number) => (ChannelName::Whatsapp, number),
        None => (ChannelName::Sms, address),
    };
    number.starts_with('+').then_some((channel, number))
}

fn read(event_id: Option<Uuid>, form: &Form, now: DateTime<Utc>) -> Callback {
    let status = field(form, "MessageStatus").or_else(|| field(form, "SmsStatus"));
    let callback = match status {
        Some("received") | None => read_message(form, now),
        Some(status) => read_status(status, event_id, form, now),
    };
    callback.unwrap_or(Callback::Other)
}

fn read_status(status: &str, event_id: Option<Uuid>, form: &Form, now: DateTime<Utc>) -> Option<Callback> {
    let code = field(form, "ErrorCode").and_then(|code| code.parse().ok());
    let feedback_type = match status {
        "delivered" | "read" => FeedbackType::Delivered,
        "undelivered" | "failed" => of_callback(code),
        _ => return None,
    };
    let (channel, address) = contact(field(form, "To")?)?;
    Some(Callback::Report(Report {
        event_id: Some(event_id?),
        feedback_type,
        channel,
        address: Some(address.to_owned()),
        at: now,
        detail: code.map(|code| format!("Twilio error {code}")),
    }))
}

fn read_message(form: &Form, now: DateTime<Utc>) -> Option<Callback> {
    let (channel, address) = contact(field(form, "From")?)?;
    let address = address.to_owned();
    // Set by a messaging service with its own keywords.
    let keyword = field(form, "OptOutType").or_else(|| field(form, "Body"))?.trim().to_uppercase();
    if STOP.contains(&keyword.as_str()) {
        return Some(Callback::Report(Report {
            event_id: None,
            feedback_type: FeedbackType::OptedOut,
            channel,
            address: Some(address),
            at: now,
            detail: None,
        }));
    }
    START.contains(&keyword.as_str()).then_some(Callback::OptIn { channel, address })
}

fn answer(form: &Form) -> Response {
    if field(form, "Body").is_some() {
        return ([(CONTENT_TYPE, "text/xml")], NO_ANSWER).into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}
