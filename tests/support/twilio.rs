//! Twilio's Messages API on a loopback port, from its documentation and its API description. It checks every request.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bday::config::twilio::parse_twilio_url;
use bday::pipeline::channel::http_client::{HttpClient, HttpClientOptions};
use bday::pipeline::channel::twilio::{Twilio, TwilioAccount};
use bday::pipeline::channel::{Greeting, Recipient};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::http::{Reply, Request, Server, Service, Step};
use super::webhook::{greeting, span};

pub(crate) const SID: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const TOKEN: &str = "hunter2/with+signs";
/// The token as a part of a URL.
pub(crate) const ENCODED_TOKEN: &str = "hunter2%2Fwith+signs";
pub(crate) const SENDER: &str = "+15005550006";
pub(crate) const SERVICE: &str = "MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const RECIPIENT: &str = "+15558675310";

const FIELDS: [&str; 8] = [
    "To",
    "From",
    "MessagingServiceSid",
    "Body",
    "ContentSid",
    "ContentVariables",
    "ValidityPeriod",
    "StatusCallback",
];

pub(crate) type Form = Vec<(String, String)>;

/// The response to the next request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Refuse {
        status: u16,
        code: u32,
    },
    /// A status, header lines, and a body.
    Plain(u16, String, Vec<u8>),
    Hang,
    Reset,
}

#[derive(Default)]
pub(crate) struct Fake {
    next: Mutex<VecDeque<Answer>>,
    messages: Mutex<Vec<Form>>,
    faults: Mutex<Vec<String>>,
}

pub(crate) struct FakeTwilio(Server<Fake>);

impl FakeTwilio {
    pub(crate) async fn start() -> Self {
        Self(Server::start(|_| Fake::default()).await)
    }

    /// Returns the value of `channels.sms.url`.
    pub(crate) fn url(&self) -> String {
        format!("twilio+http://{SID}:{ENCODED_TOKEN}@{}", self.0.address())
    }

    pub(crate) fn account(&self) -> TwilioAccount {
        parse_twilio_url(&self.url()).unwrap()
    }

    /// Returns a client without callbacks, with a deadline of 2 s.
    pub(crate) fn client(&self, from: &str) -> Twilio {
        client_with(from, watch::channel(self.account()).1, None)
    }

    pub(crate) fn next(&self, answer: Answer) {
        lock(&self.0.service().next).push_back(answer);
    }

    /// Refuses connections.
    pub(crate) async fn shut(&self) {
        self.0.shut().await;
    }

    /// Returns the forms of all requests. Panics if one of them was not as the API requires.
    pub(crate) fn messages(&self) -> Vec<Form> {
        let faults = lock(&self.0.service().faults).clone();
        assert!(faults.is_empty(), "{faults:?}");
        lock(&self.0.service().messages).clone()
    }
}

/// Returns a client of any account, with a deadline of 2 s.
pub(crate) fn client_with(
    from: &str,
    account: watch::Receiver<TwilioAccount>,
    public_url: Option<&str>,
) -> Twilio {
    let timeout = Duration::from_secs(2);
    let options = HttpClientOptions { timeout, connect_timeout: timeout, ..HttpClientOptions::default() };
    let client = HttpClient::new(options).unwrap();
    Twilio::new(client, account, from.to_owned(), public_url.map(ToOwned::to_owned))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    form.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
}

/// Returns a greeting for [`RECIPIENT`].
pub(crate) fn text_greeting() -> Greeting {
    let recipient = Recipient { address: RECIPIENT.to_owned(), address_hash: vec![7; 32] };
    Greeting { recipient: Some(recipient), span: Some(span()), ..greeting() }
}

impl Service for Fake {
    async fn call(&self, request: Request<'_>) -> Reply {
        let form: Form = form_urlencoded::parse(request.body).into_owned().collect();
        lock(&self.faults).extend(faults(&request, &form));
        lock(&self.messages).push(form.clone());
        let expected = format!("Basic {}", STANDARD.encode(format!("{SID}:{TOKEN}")));
        if request.header("authorization") != Some(&expected) {
            return refuse(401, 20003);
        }
        let next = lock(&self.next).pop_front();
        match next {
            None => json_reply(201, &accepted(&form)),
            Some(Answer::Refuse { status, code }) => refuse(status, code),
            Some(Answer::Plain(status, headers, body)) => Reply::Whole { status, headers, body },
            Some(Answer::Hang) => Reply::Steps(vec![Step::Hang]),
            Some(Answer::Reset) => Reply::Steps(vec![Step::Reset]),
        }
    }
}

/// Returns what is wrong with a request, by the API description of the operation `CreateMessage`.
fn faults(request: &Request<'_>, form: &Form) -> Vec<String> {
    let given = |name: &str| form.iter().filter(|(field, _)| field == name).count();
    let value = |name| field(form, name);
    let hex_id = |id: &str, kind| {
        id.len() == 34 && id.starts_with(kind) && id[2..].bytes().all(|b| b.is_ascii_hexdigit())
    };
    let is_number = |address: &str| {
        let number = address.strip_prefix("whatsapp:").unwrap_or(address);
        let digits = number.strip_prefix("+").unwrap_or_default();
        (8..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    };
    let is_whatsapp = value("To").starts_with("whatsapp:");
    let validity: u32 = value("ValidityPeriod").parse().unwrap_or(0);
    let variables: Option<serde_json::Map<String, Value>> =
        serde_json::from_str(value("ContentVariables")).ok();
    let callback = value("StatusCallback");
    let rules = [
        (request.method == "POST", "the method is not POST"),
        (request.header("traceparent").is_none(), "a span of another system"),
        (request.path == format!("/2010-04-01/Accounts/{SID}/Messages.json"), "wrong path"),
        (request.header("content-type") == Some("application/x-www-form-urlencoded"), "no form"),
        (
            form.iter().all(|(name, _)| FIELDS.contains(&name.as_str()) && given(name) == 1),
            "unknown or repeated field",
        ),
        (is_number(value("To")), "To is not E.164"),
        (given("From") + given("MessagingServiceSid") == 1, "not one sender"),
        (
            given("MessagingServiceSid") == 0 || hex_id(value("MessagingServiceSid"), "MG"),
            "no id of a service",
        ),
        (given("From") == 0 || !value("From").is_empty(), "empty sender"),
        (
            given("From") == 0 || value("From").starts_with("whatsapp:") == is_whatsapp,
            "From is of another channel",
        ),
        (given("Body") + given("ContentSid") == 1, "not one of Body and ContentSid"),
        (
            given("Body") == 0 || (1..=1600).contains(&value("Body").chars().count()),
            "Body is empty or too long",
        ),
        (given("ContentSid") == 0 || hex_id(value("ContentSid"), "HX"), "no id of a template"),
        (
            given("ContentVariables") == 0
                || given("ContentSid") == 1
                    && variables.is_some_and(|all| !all.is_empty() && all.values().all(Value::is_string)),
            "ContentVariables is no object of texts beside a ContentSid",
        ),
        ((6..=36_000).contains(&validity), "ValidityPeriod is out of range"),
        (
            callback.is_empty() || callback.starts_with("https://") && callback.contains("?event="),
            "no callback",
        ),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| format!("{fault}: {form:?}")).collect()
}

/// The example of the API description.
fn accepted(form: &Form) -> Value {
    json!({
        "account_sid": SID, "api_version": "2010-04-01", "body": field(form, "Body"),
        "date_created": "Thu, 24 Aug 2023 05:01:45 +0000", "direction": "outbound-api", "error_code": null,
        "error_message": null, "num_segments": "1", "sid": "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        "status": "queued", "to": field(form, "To"),
        "uri": format!("/2010-04-01/Accounts/{SID}/Messages/SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.json"),
    })
}

/// As Twilio, repeats the number in the message.
fn refuse(status: u16, code: u32) -> Reply {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    let message = format!("The 'To' number {RECIPIENT} is wrong");
    json_reply(status, &json!({ "code": code, "message": message, "more_info": more, "status": status }))
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::Whole {
        status,
        headers: "content-type: application/json\r\n".to_owned(),
        body: body.to_string().into_bytes(),
    }
}
