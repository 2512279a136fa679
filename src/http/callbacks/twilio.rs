//! Twilio's callbacks: the status of sent messages, and messages of persons who opt out or in.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::{Callbacks, count, signature};
use crate::model::{ChannelName, ContactStatus, FeedbackType};
use crate::pipeline::channel::twilio::codes::of_callback;
use crate::pipeline::channel::twilio::{CALLBACK_EVENT, CALLBACK_PATH};
use crate::pipeline::channel::whatsapp;
use crate::store::{Result, chain};

/// The default keywords of Twilio (<https://help.twilio.com/articles/223134027>).
const STOP: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"];
const START: [&str; 3] = ["START", "UNSTOP", "YES"];
/// An answer in `TwiML` without a message: Twilio itself answers STOP.
const NO_ANSWER: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>";

type Form = Vec<(String, String)>;

/// What a signed request says.
#[derive(Debug, PartialEq, Eq)]
enum Callback<'a> {
    Status {
        event_id: Uuid,
        feedback: FeedbackType,
        channel: ChannelName,
        address: &'a str,
        detail: Option<String>,
    },
    OptOut {
        channel: ChannelName,
        address: &'a str,
    },
    OptIn {
        channel: ChannelName,
        address: &'a str,
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
    match callbacks.apply(read(event_id, &form)).await {
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

    async fn apply(&self, callback: Callback<'_>) -> Result<()> {
        let now = self.clock.now();
        match callback {
            Callback::Status { event_id, feedback, channel, address, detail } => {
                self.store.add_feedback(event_id, feedback, channel, now, detail.as_deref()).await?;
                let status = match feedback {
                    FeedbackType::Bounced => ContactStatus::Bounced,
                    FeedbackType::OptedOut => ContactStatus::OptedOut,
                    _ => return Ok(()),
                };
                self.store.suppress_address(channel, address, status, now).await?;
            }
            Callback::OptOut { channel, address } => {
                self.store.suppress_address(channel, address, ContactStatus::OptedOut, now).await?;
            }
            Callback::OptIn { channel, address } => {
                self.store.opt_in_address(channel, address, now).await?;
            }
            Callback::Other => {}
        }
        Ok(())
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

fn read(event_id: Option<Uuid>, form: &Form) -> Callback<'_> {
    let status = field(form, "MessageStatus").or_else(|| field(form, "SmsStatus"));
    match status {
        Some("received") | None => read_message(form).unwrap_or(Callback::Other),
        Some(status) => read_status(status, event_id, form).unwrap_or(Callback::Other),
    }
}

fn read_status<'a>(status: &str, event_id: Option<Uuid>, form: &'a Form) -> Option<Callback<'a>> {
    let code = field(form, "ErrorCode").and_then(|code| code.parse().ok());
    let feedback = match status {
        "delivered" | "read" => FeedbackType::Delivered,
        "undelivered" | "failed" => of_callback(code),
        _ => return None,
    };
    let detail = code.map(|code| format!("Twilio error {code}"));
    let (channel, address) = contact(field(form, "To")?)?;
    Some(Callback::Status { event_id: event_id?, feedback, channel, address, detail })
}

fn read_message(form: &Form) -> Option<Callback<'_>> {
    let (channel, address) = contact(field(form, "From")?)?;
    // Set by a messaging service with its own keywords.
    let keyword = field(form, "OptOutType").or_else(|| field(form, "Body"))?.trim().to_uppercase();
    if STOP.contains(&keyword.as_str()) {
        return Some(Callback::OptOut { channel, address });
    }
    START.contains(&keyword.as_str()).then_some(Callback::OptIn { channel, address })
}

fn answer(form: &Form) -> Response {
    if field(form, "Body").is_some() {
        return ([(CONTENT_TYPE, "text/xml")], NO_ANSWER).into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}
