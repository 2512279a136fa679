//! The channel slack against a fake, by real HTTP.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::{Clock as _, SettableClock, SharedClock, SystemClock};
use bday::model::{AttemptOutcome, ContactStatus, Reason};
use bday::pipeline::channel::address_filter::AddressFilter;
use bday::pipeline::channel::http_client::{HttpClient, HttpClientOptions};
use bday::pipeline::channel::slack::{Bot, Endpoint, Slack, SlackOptions, Token, check_token};
use bday::pipeline::channel::{Channel as _, Disposition, Greeting, Message, SendResult};
use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::slack::{Answer, Call, FakeSlack, TOKEN, greeting_to};

const TIMEOUT: Duration = Duration::from_millis(600);

fn client(timeout: Duration) -> HttpClient {
    let options = HttpClientOptions { timeout, connect_timeout: timeout, ..HttpClientOptions::default() };
    HttpClient::new(options).unwrap()
}

/// A channel whose endpoint and time the test sets.
struct Rig {
    fake: FakeSlack,
    slack: Slack,
    endpoint: watch::Sender<Endpoint>,
    clock: Arc<SettableClock>,
}

impl Rig {
    async fn start(channel: Option<&str>, timeout: Duration) -> Self {
        let fake = FakeSlack::start().await;
        let endpoint = watch::Sender::new(Endpoint::Bot(fake.bot()));
        let clock = Arc::new(SettableClock::new(DateTime::UNIX_EPOCH));
        let options = SlackOptions { channel: channel.map(str::to_owned), timeout };
        let shared: SharedClock = clock.clone();
        let slack = Slack::new(&client(timeout), endpoint.subscribe(), options, shared);
        Self { fake, slack, endpoint, clock }
    }

    async fn direct() -> Self {
        Self::start(None, Duration::from_secs(10)).await
    }

    async fn impatient() -> Self {
        Self::start(None, TIMEOUT).await
    }

    async fn send(&self, greeting: &Greeting) -> SendResult {
        let result = self.slack.send(greeting).await;
        let error = result.error.as_deref().unwrap_or_default();
        for secret in [TOKEN, "secret", "example.org", "U0ADA"] {
            assert!(!error.contains(secret), "{error}");
        }
        result
    }

    fn methods(&self) -> Vec<&'static str> {
        self.fake.calls().iter().map(|call| call.method).collect()
    }
}

fn post(channel: &str, text: &str, greeting: &Greeting) -> Call {
    let payload = json!({ "event_id": greeting.event_id.to_string() });
    let metadata = json!({ "event_type": "bday_greeting", "event_payload": payload });
    let arguments = json!({
        "channel": channel, "text": text, "metadata": metadata, "unfurl_links": false, "unfurl_media": false,
    });
    Call { method: "chat.postMessage", arguments }
}

fn lookup(email: &str) -> Call {
    Call { method: "users.lookupByEmail", arguments: json!({ "email": email }) }
}

fn delivered(provider_id: &str) -> SendResult {
    SendResult { provider_id: Some(provider_id.to_owned()), ..SendResult::delivered(200) }
}

#[tokio::test]
async fn a_bot_sends_a_direct_message() {
    let rig = Rig::direct().await;
    let greeting = greeting_to("U0ADA");
    assert_eq!(rig.send(&greeting).await, delivered("D0ADA/1712345678.000001"));
    assert_eq!(rig.fake.calls(), [post("U0ADA", "Hey", &greeting)]);
    // A repeat is a second message with the same event id.
    assert_eq!(rig.send(&greeting).await, delivered("D0ADA/1712345678.000002"));
    assert_eq!(rig.fake.calls(), [post("U0ADA", "Hey", &greeting)]);
}

#[tokio::test]
async fn a_bot_mentions_the_person_in_a_channel() {
    let rig = Rig::start(Some("C0PARTY"), Duration::from_secs(10)).await;
    rig.fake.add_user("ada@example.org", "U0ADA", false);
    for address in ["U0ADA", "ada@example.org"] {
        let greeting = greeting_to(address);
        assert_eq!(rig.send(&greeting).await.disposition, Disposition::Delivered);
        assert_eq!(rig.fake.calls().last(), Some(&post("C0PARTY", "<@U0ADA> Hey", &greeting)));
    }
}

#[tokio::test]
async fn names_cannot_contain_mentions_or_links() {
    let rig = Rig::direct().await;
    let mut greeting = greeting_to("U0ADA");
    greeting.message = Message::of_text("Tom & <!channel> <https://x|y> &lt;");
    assert_eq!(rig.send(&greeting).await.disposition, Disposition::Delivered);
    let escaped = "Tom &amp; &lt;!channel&gt; &lt;https://x|y&gt; &amp;lt;";
    assert_eq!(rig.fake.calls(), [post("U0ADA", escaped, &greeting)]);
    rig.endpoint.send_replace(rig.fake.incoming());
    assert_eq!(rig.send(&greeting).await.disposition, Disposition::Delivered);
    assert_eq!(rig.fake.calls()[0].arguments, json!({ "text": format!("<@U0ADA> {escaped}") }));
}

/// Slack repeats the text in its response, which is longer than other channels read.
#[tokio::test]
async fn the_longest_text_is_delivered() {
    let rig = Rig::direct().await;
    let mut greeting = greeting_to("U0ADA");
    greeting.message = Message::of_text("😀".repeat(40_000));
    assert_eq!(rig.send(&greeting).await, delivered("D0ADA/1712345678.000001"));
}

#[tokio::test]
async fn a_person_is_looked_up_by_email_once_an_hour() {
    let rig = Rig::direct().await;
    rig.fake.add_user("ada+x@example.org", "U0ADA", false);
    let greeting = greeting_to("ada+x@example.org");
    assert_eq!(rig.send(&greeting).await, delivered("D0ADA/1712345678.000001"));
    assert_eq!(rig.fake.calls(), [lookup("ada+x@example.org"), post("U0ADA", "Hey", &greeting)]);
    rig.clock.advance(TimeDelta::seconds(3599));
    rig.send(&greeting).await;
    assert_eq!(rig.methods(), ["chat.postMessage"]);
    rig.clock.advance(TimeDelta::seconds(1));
    rig.send(&greeting).await;
    assert_eq!(rig.methods(), ["users.lookupByEmail", "chat.postMessage"]);
    // Another token may belong to another workspace, where the id is another person.
    let bot = Bot { token: Token::new("xoxb-other"), ..rig.fake.bot() };
    rig.endpoint.send_replace(Endpoint::Bot(bot));
    assert_eq!(rig.send(&greeting).await.reason, Some(Reason::ChannelDown));
    assert_eq!(rig.methods(), [""; 0]);
}

#[tokio::test]
async fn a_person_without_an_active_account_is_unreachable() {
    let rig = Rig::direct().await;
    rig.fake.add_user("left@example.org", "U0LEFT", true);
    for address in ["nobody@example.org", "left@example.org"] {
        let result = rig.send(&greeting_to(address)).await;
        assert_eq!(result.disposition, Disposition::Unreachable(ContactStatus::Bounced), "{result:?}");
        assert_eq!((result.outcome, result.reason), (AttemptOutcome::Failed, Some(Reason::Bounced)));
        assert_eq!(rig.methods(), ["users.lookupByEmail"]);
    }
}

#[tokio::test]
async fn an_incoming_webhook_mentions_a_person_whose_id_is_known() {
    let rig = Rig::direct().await;
    rig.endpoint.send_replace(rig.fake.incoming());
    for (address, text) in [("U0ADA", "<@U0ADA> Hey"), ("ada@example.org", "Hey")] {
        assert_eq!(rig.send(&greeting_to(address)).await, SendResult::delivered(200));
        assert_eq!(rig.fake.calls(), [Call { method: "incoming", arguments: json!({ "text": text }) }]);
    }
}

#[tokio::test]
async fn an_expired_token_defers_until_the_token_is_replaced() {
    let rig = Rig::direct().await;
    rig.fake.next("chat.postMessage", [Answer::Error("token_expired")]);
    let greeting = greeting_to("U0ADA");
    let result = rig.send(&greeting).await;
    assert_eq!(result.disposition, Disposition::Defer(None));
    assert_eq!((result.outcome, result.reason), (AttemptOutcome::Failed, Some(Reason::ChannelDown)));
    let error = "chat.postMessage answered token_expired (the token has expired)";
    assert_eq!(result.error.as_deref(), Some(error));

    let old = Bot { token: Token::new("xoxb-old"), ..rig.fake.bot() };
    rig.endpoint.send_replace(Endpoint::Bot(old));
    let error = rig.send(&greeting).await.error.unwrap();
    assert!(error.contains("invalid_auth") && !error.contains("xoxb-old"), "{error}");
    rig.endpoint.send_replace(Endpoint::Bot(rig.fake.bot()));
    assert_eq!(rig.send(&greeting).await.disposition, Disposition::Delivered);
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let rig = Rig::direct().await;
    let body = |needed: &str| {
        let body =
            json!({ "ok": false, "error": "missing_scope", "needed": needed, "provided": "chat:write" });
        Answer::Whole(200, String::new(), body.to_string().into_bytes())
    };
    rig.fake.next("users.lookupByEmail", [body("users:read.email"), body("x\nU0ADA")]);
    let result = rig.send(&greeting_to("ada@example.org")).await;
    let expected =
        "users.lookupByEmail answered missing_scope (the token lacks a scope), needed: users:read.email";
    assert_eq!(result.error.as_deref(), Some(expected));
    assert_eq!(result.disposition, Disposition::Defer(None));
    // `send` asserts that the error does not repeat other texts.
    rig.send(&greeting_to("ada@example.org")).await;
}

#[tokio::test]
async fn a_request_without_a_usable_response_may_have_been_accepted() {
    let rig = Rig::impatient().await;
    for (answer, reason) in [
        (Answer::Hang, Reason::Timeout),
        (Answer::Reset, Reason::Broken),
        (Answer::HalfBody, Reason::Status),
        (Answer::Whole(200, String::new(), b"<html>".to_vec()), Reason::Status),
        (Answer::Whole(200, String::new(), vec![b'x'; 1 << 20]), Reason::Status),
    ] {
        rig.fake.next("chat.postMessage", [answer.clone()]);
        let began = SystemClock.monotonic();
        let result = rig.send(&greeting_to("U0ADA")).await;
        assert_eq!(result.disposition, Disposition::Retry(None), "{answer:?}");
        assert_eq!((result.outcome, result.reason), (AttemptOutcome::Unknown, Some(reason)));
        assert!(SystemClock.monotonic().duration_since(began) < TIMEOUT + Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_failed_lookup_posts_nothing() {
    let rig = Rig::impatient().await;
    let html = Answer::Whole(502, String::new(), b"<html>".to_vec());
    for (answer, reason) in [
        (Answer::Hang, Reason::Timeout),
        (Answer::Reset, Reason::Broken),
        (Answer::HalfBody, Reason::Timeout),
        (Answer::Error("fatal_error"), Reason::Status),
        (html, Reason::Status),
    ] {
        rig.fake.next("users.lookupByEmail", [answer.clone()]);
        let result = rig.send(&greeting_to("ada@example.org")).await;
        assert_eq!(result.disposition, Disposition::Retry(None), "{answer:?}: {result:?}");
        assert_eq!((result.outcome, result.reason), (AttemptOutcome::Failed, Some(reason)), "{result:?}");
        assert_eq!(rig.methods(), ["users.lookupByEmail"]);
    }
}

#[tokio::test]
async fn a_lookup_and_a_post_share_the_timeout() {
    let rig = Rig::impatient().await;
    rig.fake.add_user("ada@example.org", "U0ADA", false);
    rig.fake.next("chat.postMessage", [Answer::Hang]);
    let began = SystemClock.monotonic();
    let result = rig.send(&greeting_to("ada@example.org")).await;
    assert_eq!((result.outcome, result.reason), (AttemptOutcome::Unknown, Some(Reason::Timeout)));
    let expected = format!("no response within {} s", (TIMEOUT / 2).as_secs_f32());
    assert_eq!(result.error, Some(expected));
    assert!(SystemClock.monotonic().duration_since(began) < TIMEOUT + Duration::from_secs(2));
}

#[tokio::test]
async fn a_refused_connection_sends_nothing() {
    let rig = Rig::impatient().await;
    rig.fake.refuse().await;
    for endpoint in [Endpoint::Bot(rig.fake.bot()), rig.fake.incoming()] {
        rig.endpoint.send_replace(endpoint);
        for address in ["U0ADA", "ada@example.org"] {
            let result = rig.send(&greeting_to(address)).await;
            assert_eq!((result.outcome, result.reason), (AttemptOutcome::Failed, Some(Reason::Connect)));
            assert_eq!(result.disposition, Disposition::Retry(None));
        }
    }
}

#[tokio::test]
async fn the_address_filter_applies() {
    let rig = Rig::direct().await;
    let address_filter = AddressFilter { deny: vec!["127.0.0.0/8".parse().unwrap()], ..Default::default() };
    let timeout = Duration::from_secs(10);
    let options =
        HttpClientOptions { timeout, connect_timeout: timeout, address_filter, ..Default::default() };
    let client = HttpClient::new(options).unwrap();
    let options = SlackOptions { channel: None, timeout };
    let slack = Slack::new(&client, rig.endpoint.subscribe(), options, Arc::new(SystemClock));
    let result = slack.send(&greeting_to("U0ADA")).await;
    assert_eq!(result.reason, Some(Reason::AddressRefused), "{result:?}");
    assert_eq!(rig.methods(), [""; 0]);
}

#[tokio::test]
async fn the_scopes_of_a_token_are_checked() {
    let (fake, clock): (_, SharedClock) = (FakeSlack::start().await, Arc::new(SystemClock));
    let check = async |bot| check_token(&client(TIMEOUT), &bot, &clock).await;
    let missing = async |scopes| {
        fake.set_scopes(scopes);
        let scopes = check(fake.bot()).await.unwrap();
        (scopes.can_post(), scopes.missing().collect::<Vec<_>>())
    };
    assert_eq!(missing("chat:write, users:read.email,im:write").await, (true, vec![]));
    assert_eq!(missing("chat:write.public,chat:write").await, (true, vec!["users:read.email"]));
    assert_eq!(missing("").await, (false, vec!["chat:write", "users:read.email"]));

    let other = Bot { token: Token::new("xoxb-other"), ..fake.bot() };
    let error = check(other).await.unwrap_err().to_string();
    assert!(error.starts_with("auth.test answered invalid_auth (the token is invalid"), "{error}");
    fake.next("auth.test", [Answer::Hang]);
    let error = check(fake.bot()).await.unwrap_err().to_string();
    assert_eq!(error, format!("no response within {} s", TIMEOUT.as_secs_f32()));
    let calls = fake.calls();
    assert!(calls.iter().all(|call| call.arguments == Value::Object(serde_json::Map::new())), "{calls:?}");
}
