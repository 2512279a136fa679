//! A fake of Slack, written from the pages of `chat.postMessage`, `users.lookupByEmail`, `auth.test` and incoming webhooks.
//!
//! It checks each request as Slack documents it. A request that Slack would refuse fails the test when the fake is dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bday::pipeline::channel::slack::{Bot, Endpoint, Token};
use bday::pipeline::channel::{Greeting, Recipient};
use serde_json::{Value, json};

use super::http::{Reply, Request, Server, Service, Step, head_of};
use super::webhook::{greeting, span};

pub(crate) const TOKEN: &str = "xoxb-1234567890-fake";
const HOOK: &str = "/services/T0001/B0001/secret";

/// A response instead of the usual one.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// 200 with `ok: false`.
    Error(&'static str),
    /// A status, header lines (each ends in `\r\n`) and a body.
    Whole(u16, String, Vec<u8>),
    /// Reads the request, and does not respond.
    Hang,
    /// Reads the request, then resets the connection.
    Reset,
    /// The head of a 200 and a part of the body, then nothing.
    HalfBody,
}

/// A request that passed the checks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) arguments: Value,
}

pub(crate) struct FakeSlack {
    server: Server<Api>,
}

#[derive(Default)]
struct Api {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    faults: Vec<String>,
    next: HashMap<&'static str, VecDeque<Answer>>,
    users: HashMap<String, Value>,
    scopes: String,
    posted: u32,
}

impl FakeSlack {
    /// Starts a workspace in which the token has all scopes.
    pub(crate) async fn start() -> Self {
        let slack = Self { server: Server::start(|_| Api::default()).await };
        slack.set_scopes("chat:write,users:read,users:read.email");
        slack
    }

    pub(crate) fn set_scopes(&self, scopes: &str) {
        scopes.clone_into(&mut self.state().scopes);
    }

    pub(crate) fn add_user(&self, email: &str, id: &str, deleted: bool) {
        // A large profile, as in Slack.
        let profile = json!({ "email": email, "status_text": "x".repeat(10_000) });
        let user = json!({ "profile": profile, "id": id, "deleted": deleted, "is_bot": false });
        self.state().users.insert(email.to_owned(), user);
    }

    /// Sets the next responses of a method; `incoming` is the webhook.
    pub(crate) fn next(&self, method: &'static str, answers: impl IntoIterator<Item = Answer>) {
        self.state().next.entry(method).or_default().extend(answers);
    }

    /// Returns and clears the requests.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    pub(crate) fn bot_url(&self) -> String {
        format!("slack+http://{TOKEN}@{}", self.server.address())
    }

    pub(crate) fn bot(&self) -> Bot {
        Bot {
            api: format!("http://{}/api/", self.server.address()).parse().unwrap(),
            token: Token::new(TOKEN),
        }
    }

    pub(crate) fn incoming(&self) -> Endpoint {
        Endpoint::Incoming(self.incoming_url().parse().unwrap())
    }

    pub(crate) fn incoming_url(&self) -> String {
        format!("http://{}{HOOK}", self.server.address())
    }

    /// Closes every connection and refuses new ones.
    pub(crate) async fn refuse(&self) {
        self.server.shut().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.server.service().lock()
    }
}

impl Drop for FakeSlack {
    fn drop(&mut self) {
        let faults = std::mem::take(&mut self.state().faults);
        assert!(faults.is_empty() || std::thread::panicking(), "Slack would refuse: {faults:?}");
    }
}

impl Api {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for Api {
    async fn call(&self, request: Request<'_>) -> Reply {
        let mut state = self.lock();
        let method = match request.path {
            "/api/chat.postMessage" => "chat.postMessage",
            "/api/users.lookupByEmail" => "users.lookupByEmail",
            "/api/auth.test" => "auth.test",
            HOOK => "incoming",
            _ => return whole(404, "", b"no_service"),
        };
        if method != "incoming"
            && let Some(error) = token_error(&request)
        {
            return error_body(error);
        }
        let arguments = match read_arguments(method, &request) {
            Ok(arguments) => arguments,
            Err(fault) => {
                state.faults.push(format!("{method}: {fault}"));
                return error_body("invalid_arguments");
            }
        };
        state.calls.push(Call { method, arguments: arguments.clone() });
        match state.next.get_mut(method).and_then(VecDeque::pop_front) {
            Some(answer) => scripted(answer),
            None => state.usual(method, &arguments),
        }
    }
}

impl State {
    fn usual(&mut self, method: &str, arguments: &Value) -> Reply {
        match method {
            "chat.postMessage" => self.post(arguments),
            "users.lookupByEmail" => match self.users.get(arguments["email"].as_str().unwrap()) {
                Some(user) => json_body(&json!({ "user": user, "ok": true })),
                None => error_body("users_not_found"),
            },
            "auth.test" => {
                let headers = format!("x-oauth-scopes: {}\r\n", self.scopes);
                let body = json!({ "ok": true, "team": "Fake", "user_id": "U0BOT", "bot_id": "B0BOT" });
                whole(200, &headers, body.to_string().as_bytes())
            }
            _ => whole(200, "", b"ok"),
        }
    }

    /// The message comes first here, and repeats the text twice: nothing depends on the order or on a short response.
    fn post(&mut self, arguments: &Value) -> Reply {
        self.posted += 1;
        let channel = arguments["channel"].as_str().unwrap();
        // A message to a user goes to the conversation with the user.
        let channel = channel.replacen('U', "D", 1);
        let ts = format!("1712345678.{:06}", self.posted);
        let text = &arguments["text"];
        let message = json!({ "text": text, "blocks": [{ "type": "rich_text", "text": text }], "ts": ts });
        json_body(&json!({ "message": message, "ok": true, "channel": channel, "ts": ts }))
    }
}

fn token_error(request: &Request<'_>) -> Option<&'static str> {
    match request.header("authorization").map(|header| header.strip_prefix("Bearer ")) {
        None | Some(None) => Some("not_authed"),
        Some(Some(TOKEN)) => None,
        Some(Some(_)) => Some("invalid_auth"),
    }
}

fn read_arguments(method: &str, request: &Request<'_>) -> Result<Value, String> {
    if request.method != "POST" {
        return Err(format!("method {}", request.method));
    }
    if request.header("traceparent").is_some() {
        return Err("a span of another system".to_owned());
    }
    let content_type = request.header("content-type").unwrap_or_default();
    if method == "users.lookupByEmail" {
        if content_type != "application/x-www-form-urlencoded" {
            return Err(format!("content type {content_type:?}"));
        }
        let pairs = form_urlencoded::parse(request.body).into_owned();
        return Ok(pairs.map(|(name, value)| (name, Value::String(value))).collect());
    }
    if content_type != "application/json; charset=utf-8" {
        return Err(format!("content type {content_type:?}"));
    }
    let arguments: Value = serde_json::from_slice(request.body).map_err(|error| error.to_string())?;
    let known: &[&str] = match method {
        "chat.postMessage" => &["channel", "text", "metadata", "unfurl_links", "unfurl_media"],
        "incoming" => &["text"],
        _ => &[],
    };
    let given = arguments.as_object().ok_or("the body is not an object")?;
    if let Some(unknown) = given.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("unknown argument {unknown}"));
    }
    if method == "auth.test" {
        return Ok(arguments);
    }
    check_text(arguments["text"].as_str().ok_or("no text")?)?;
    if method == "chat.postMessage" {
        check_message(&arguments)?;
    }
    Ok(arguments)
}

fn check_message(arguments: &Value) -> Result<(), String> {
    let channel = arguments["channel"].as_str().ok_or("no channel")?;
    let is_id = channel.starts_with(['C', 'G', 'D', 'U', 'W'])
        && channel.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if !is_id {
        return Err("the channel is no id".to_owned());
    }
    let metadata = &arguments["metadata"];
    if !metadata["event_type"].is_string() || !metadata["event_payload"].is_object() {
        return Err(format!("invalid metadata {metadata}"));
    }
    Ok(())
}

/// Refuses `&`, `<` and `>` that are not escaped, apart from a mention in front.
fn check_text(text: &str) -> Result<(), String> {
    let mention = text.strip_prefix("<@").and_then(|rest| rest.split_once('>'));
    let rest = mention.map_or(text, |(_, rest)| rest);
    let entities = rest.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
    if entities.contains(['&', '<', '>']) { Err(format!("not escaped: {text}")) } else { Ok(()) }
}

fn scripted(answer: Answer) -> Reply {
    match answer {
        Answer::Error(code) => error_body(code),
        Answer::Whole(status, headers, body) => Reply::Whole { status, headers, body },
        Answer::Hang => Reply::Steps(vec![Step::Hang]),
        Answer::Reset => Reply::Steps(vec![Step::Wait(Duration::from_millis(1)), Step::Reset]),
        Answer::HalfBody => {
            let mut head = Vec::new();
            head_of(&mut head, 200, "", Some(1000));
            head.extend_from_slice(b"{\"ok\":true,\"ts\":");
            Reply::Steps(vec![Step::Write(head), Step::Hang])
        }
    }
}

fn error_body(code: &str) -> Reply {
    json_body(&json!({ "ok": false, "error": code }))
}

fn json_body(body: &Value) -> Reply {
    whole(200, "content-type: application/json; charset=utf-8\r\n", body.to_string().as_bytes())
}

fn whole(status: u16, headers: &str, body: &[u8]) -> Reply {
    Reply::Whole { status, headers: headers.to_owned(), body: body.to_vec() }
}

pub(crate) fn greeting_to(address: &str) -> Greeting {
    let recipient = Recipient { address: address.to_owned(), address_hash: vec![0; 32] };
    Greeting { recipient: Some(recipient), span: Some(span()), ..greeting() }
}
