//! Twilio's Messages API, for SMS and `WhatsApp`: one form POST for each message.
//!
//! A repeated request sends a second message: Twilio has no idempotency key.

mod account;
pub mod codes;

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, Request, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::watch;

use super::http_client::{HttpClient, HttpError, read_body};
use super::http_error::classify_error;
use super::verdict::Verdict;
use super::{Greeting, SendResult, excerpt};

pub use account::{AccountState, check_account};

/// Path of the callbacks below `http.public_url`.
pub const CALLBACK_PATH: &str = "/callbacks/twilio";
/// Of the query of a status callback: the id of the event.
pub const CALLBACK_EVENT: &str = "event";
/// How long Twilio tries to hand a message on, in seconds: a greeting that arrives a day later is worse than none. At most 36,000.
const VALIDITY_SECS: &str = "36000";
/// An accepted message is described in about 1,000 bytes, with its text up to 1,600 characters.
const MAX_ANSWER_BYTES: usize = 4096;

/// Credentials, and where requests go.
#[derive(Clone)]
pub struct TwilioAccount {
    pub base: Url,
    pub sid: String,
    pub token: SecretString,
}

impl PartialEq for TwilioAccount {
    fn eq(&self, other: &Self) -> bool {
        (&self.base, &self.sid) == (&other.base, &other.sid)
            && self.token.expose_secret() == other.token.expose_secret()
    }
}

impl fmt::Debug for TwilioAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwilioAccount").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Sends messages of one account, which may change while the process runs.
#[derive(Debug)]
pub struct Twilio {
    client: HttpClient,
    account: watch::Receiver<TwilioAccount>,
    /// A number, a sender id, or the id of a messaging service.
    from: String,
    /// The public base URL of this installation, without a slash at its end.
    public_url: Option<String>,
}

#[derive(Deserialize)]
struct Accepted {
    sid: String,
}

#[derive(Deserialize)]
struct Refused {
    code: u32,
}

impl Twilio {
    #[must_use]
    pub fn new(
        client: HttpClient,
        account: watch::Receiver<TwilioAccount>,
        from: String,
        public_url: Option<String>,
    ) -> Self {
        Self { client, account, from, public_url }
    }

    /// Sends `content` (fields of the form) to the recipient of `greeting`. `prefix` precedes the numbers of a channel: `whatsapp:`.
    pub(super) async fn send(
        &self,
        greeting: &Greeting,
        prefix: &str,
        content: &[(&'static str, &str)],
    ) -> SendResult {
        let Some(recipient) = &greeting.recipient else {
            return Verdict::Rejected.result("the greeting has no telephone number".to_owned(), None);
        };
        let to = format!("{prefix}{}", recipient.address);
        let request = match self.request(greeting, &to, prefix, content) {
            Ok(request) => request,
            Err(error) => return classify_error(&HttpError::Http(error)),
        };
        match self.client.send(request).await {
            Ok(response) => classify_response(response).await,
            Err(error) => classify_error(&error),
        }
    }

    fn request(
        &self,
        greeting: &Greeting,
        to: &str,
        prefix: &str,
        content: &[(&'static str, &str)],
    ) -> reqwest::Result<Request> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("To", to);
        if is_messaging_service(&self.from) {
            form.append_pair("MessagingServiceSid", &self.from);
        } else {
            form.append_pair("From", &format!("{prefix}{}", self.from));
        }
        form.extend_pairs(content);
        form.append_pair("ValidityPeriod", VALIDITY_SECS);
        if let Some(base) = &self.public_url {
            let callback = format!("{base}{CALLBACK_PATH}?{CALLBACK_EVENT}={}", greeting.event_id);
            form.append_pair("StatusCallback", &callback);
        }
        let account = self.account.borrow().clone();
        let mut url = account.base;
        url.set_path(&format!("/2010-04-01/Accounts/{}/Messages.json", account.sid));
        self.client
            .request(Method::POST, url)
            .basic_auth(&account.sid, Some(account.token.expose_secret()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish())
            .build()
    }
}

fn is_messaging_service(from: &str) -> bool {
    from.len() == 34 && from.starts_with("MG") && from[2..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

async fn classify_response(response: Response) -> SendResult {
    let status = response.status();
    let after = retry_after(response.headers());
    let body = read_body(response, MAX_ANSWER_BYTES).await;
    if status.is_success() {
        // Accepted, even if the answer cannot be read.
        let provider_id = serde_json::from_slice(&body).ok().map(|accepted: Accepted| accepted.sid);
        return SendResult { provider_id, ..SendResult::delivered(status.as_u16()) };
    }
    let code = serde_json::from_slice(&body).ok().map(|refused: Refused| refused.code);
    let failed = classify_code(status, code, after);
    let response = (!body.is_empty()).then(|| excerpt(&body));
    SendResult { status: Some(status.as_u16()), response, ..failed }
}

/// The texts are those of the rows: the provider's repeat the number.
fn classify_code(status: StatusCode, code: Option<u32>, after: Option<Duration>) -> SendResult {
    let by_status = codes::of_status(status.as_u16());
    match code {
        Some(code) => match codes::of_code(code) {
            Some(row) => row.verdict.result(format!("Twilio error {code}: {}", row.meaning), after),
            None => by_status
                .verdict
                .result(format!("Twilio error {code} with status {}", status.as_u16()), after),
        },
        // Not an answer of Twilio's API: a proxy's, or one that was cut off. Its 400 says nothing about the message.
        None if by_status.verdict == Verdict::Rejected => {
            let error = format!("answer with status {} and no code of Twilio", status.as_u16());
            Verdict::ChannelDown.result(error, after)
        }
        None => by_status.verdict.result(format!("Twilio answered with status {}", status.as_u16()), after),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<u32>().ok()?;
    Some(Duration::from_secs(seconds.into()))
}
