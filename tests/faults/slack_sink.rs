//! A workspace of Slack that records what is posted. The token of a daemon contains its name.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bday::clock::{Clock as _, SystemClock};
use bday::model::{BIRTHDAY, ChannelName};
use serde_json::{Value, json};

use super::plan::ReceiverFault;
use super::sent::{Sent, key_of};
use super::support::http::{Reply, Request, Server, Service};
use super::support::receiver::Behaviour;

const TOKEN: &str = "xoxb-";

pub(crate) struct SlackSink {
    server: Server<Workspace>,
}

struct Workspace {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sent: Vec<Sent>,
    fault: Option<ReceiverFault>,
}

/// What happens to a request during a fault.
enum Answer {
    /// The usual answer, after a delay.
    Usual(Duration),
    /// Another answer. The message is posted if the first field says so.
    Other(bool, Behaviour),
}

impl SlackSink {
    pub(crate) async fn start() -> Self {
        let workspace = |_| Workspace { started: SystemClock.monotonic(), state: Mutex::default() };
        Self { server: Server::start(workspace).await }
    }

    pub(crate) fn url(&self, daemon: &str) -> String {
        format!("slack+http://{TOKEN}{daemon}@{}", self.server.address())
    }

    pub(crate) fn behave(&self, fault: Option<ReceiverFault>) {
        self.server.service().lock().fault = fault;
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.server.service().lock().sent.clone()
    }

    /// Closes every connection and refuses new ones.
    pub(crate) async fn refuse(&self) {
        self.server.shut().await;
    }

    pub(crate) async fn accept(&self) {
        self.server.reopen().await;
    }
}

impl Workspace {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a message, and returns its position.
    fn receive(&self, request: &Request<'_>, arguments: &Value) -> usize {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let text = arguments["text"].as_str().unwrap_or_default();
        let mut state = self.lock();
        state.sent.push(Sent {
            channel: ChannelName::Slack,
            event_id: arguments["metadata"]["event_payload"]["event_id"].as_str().map(str::to_owned),
            user: key_of(arguments["channel"].as_str().unwrap_or_default()),
            kind: BIRTHDAY,
            sender: token.unwrap_or_default().trim_start_matches(TOKEN).to_owned(),
            fault: (!text.contains("birthday")).then(|| format!("the text {text:?}")),
            at: self.started.elapsed(),
            accepted_at: None,
        });
        state.sent.len() - 1
    }
}

impl Service for Workspace {
    async fn call(&self, request: Request<'_>) -> Reply {
        let fault = self.lock().fault;
        let answer = fault.map_or(Answer::Usual(Duration::ZERO), answer);
        if request.path == "/api/users.lookupByEmail" {
            return match answer {
                Answer::Usual(_) => look_up(request.body),
                Answer::Other(_, behaviour) => behaviour.reply(),
            };
        }
        let arguments: Value = serde_json::from_slice(request.body).unwrap_or_default();
        let position = self.receive(&request, &arguments);
        let is_refused = arguments["channel"].as_str().is_some_and(|id| id.starts_with('W'));
        let (is_posted, reply) = match answer {
            Answer::Usual(_) if is_refused => (false, failed("channel_not_found").reply()),
            Answer::Usual(delay) => {
                // If the sender closes the connection meanwhile, this future is dropped and nothing is posted.
                tokio::time::sleep(delay).await;
                let ts = format!("1712345678.{position:06}");
                (true, answered(&json!({ "ok": true, "channel": "D1", "ts": ts })).reply())
            }
            Answer::Other(is_posted, behaviour) => (is_posted && !is_refused, behaviour.reply()),
        };
        if is_posted {
            self.lock().sent[position].accepted_at = Some(self.started.elapsed());
        }
        reply
    }
}

/// Half of the addresses that the mail server refuses are known at Slack.
fn look_up(form: &[u8]) -> Reply {
    let email = form_urlencoded::parse(form).find(|(name, _)| name == "email");
    let user = email.map(|(_, email)| key_of(&email)).unwrap_or_default();
    if user.starts_with(|first: char| first.is_ascii_digit()) {
        return answered(&json!({ "ok": true, "user": { "id": format!("U{}", user.to_uppercase()) } }))
            .reply();
    }
    failed("users_not_found").reply()
}

fn answer(fault: ReceiverFault) -> Answer {
    let other = |behaviour| Answer::Other(false, behaviour);
    match fault {
        ReceiverFault::Slow(ms) => Answer::Usual(Duration::from_millis(ms)),
        ReceiverFault::Status(503) => other(failed("ratelimited")),
        // The message is dead at once, so that redrives have events to redrive.
        ReceiverFault::Status(410) => other(failed("msg_too_long")),
        ReceiverFault::Status(204) => Answer::Other(true, failed("fatal_error")),
        ReceiverFault::Status(status) => other(Behaviour::Status(status)),
        ReceiverFault::Throttling => {
            other(Behaviour::Answer(429, "retry-after: 1\r\n".to_owned(), Vec::new()))
        }
        ReceiverFault::Resetting => other(Behaviour::Reset),
        ReceiverFault::InvalidResponses => other(Behaviour::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ReceiverFault::Hanging | ReceiverFault::Unavailable => other(Behaviour::Hang),
        ReceiverFault::LateResponses => Answer::Other(true, Behaviour::SlowBytes(Duration::from_millis(100))),
        ReceiverFault::BrokenConnections => Answer::Other(true, Behaviour::ResetAfterHead),
        ReceiverFault::Endless => Answer::Other(true, Behaviour::EndlessBody),
    }
}

fn failed(code: &str) -> Behaviour {
    answered(&json!({ "ok": false, "error": code }))
}

fn answered(body: &Value) -> Behaviour {
    Behaviour::Answer(200, "content-type: application/json\r\n".to_owned(), body.to_string().into_bytes())
}
