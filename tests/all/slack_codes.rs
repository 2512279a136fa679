//! Each code of the table is sent, and means what the table and the documentation say.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::SystemClock;
use bday::model::{AttemptOutcome, ContactStatus, Reason};
use bday::pipeline::channel::http_client::{HttpClient, HttpClientOptions};
use bday::pipeline::channel::slack::codes::{
    ANY_METHOD, Cause, INCOMING, LOOKUP_BY_EMAIL, POST_MESSAGE, STATUSES, Step,
};
use bday::pipeline::channel::slack::{Endpoint, Slack, SlackOptions};
use bday::pipeline::channel::{Channel as _, Disposition, SendResult};
use tokio::sync::watch;

use crate::support::slack::{Answer, FakeSlack, greeting_to};

const DOCUMENT: &str = "docs/channels.md";
const RETRY_AFTER: &str = "Retry-After: 37\r\n";

const TIMEOUT: Duration = Duration::from_secs(10);

/// The fake, and one client for all requests: to create one takes long.
struct Rig(FakeSlack, HttpClient);

impl Rig {
    async fn start() -> Self {
        let options = HttpClientOptions { timeout: TIMEOUT, connect_timeout: TIMEOUT, ..Default::default() };
        Self(FakeSlack::start().await, HttpClient::new(options).unwrap())
    }
}

/// Sends a greeting that Slack answers with `answer` at `step`.
async fn answered(Rig(fake, client): &Rig, step: Step, answer: Answer) -> SendResult {
    let (method, channel, address) = match step {
        Step::Direct => ("chat.postMessage", None, "U0ADA"),
        Step::Channel => ("chat.postMessage", Some("C0PARTY".to_owned()), "U0ADA"),
        Step::Lookup => ("users.lookupByEmail", None, "ada@example.org"),
        Step::Incoming => ("incoming", None, "U0ADA"),
        Step::Check => panic!("auth.test sends no greeting"),
    };
    let endpoint = if step == Step::Incoming { fake.incoming() } else { Endpoint::Bot(fake.bot()) };
    let endpoint = watch::Sender::new(endpoint);
    fake.next(method, [answer]);
    let options = SlackOptions { channel, timeout: TIMEOUT };
    let slack = Slack::new(client, endpoint.subscribe(), options, Arc::new(SystemClock));
    let result = slack.send(&greeting_to(address)).await;
    assert_eq!(fake.calls().last().unwrap().method, method, "nothing is sent after a failure");
    result
}

/// What the design says, independent of `Cause::at`.
fn expected(cause: Cause, step: Step) -> (AttemptOutcome, Disposition, Reason) {
    use AttemptOutcome::{Failed, Unknown};
    let wait = Some(Duration::from_secs(37));
    let posts_to_person = matches!(step, Step::Direct | Step::Lookup);
    match cause {
        Cause::Recipient if posts_to_person => {
            (Failed, Disposition::Unreachable(ContactStatus::Bounced), Reason::Bounced)
        }
        Cause::Recipient | Cause::ChannelDown => (Failed, Disposition::Defer(wait), Reason::ChannelDown),
        Cause::Throttled => (Failed, Disposition::Defer(wait), Reason::Throttled),
        Cause::Rejected => (Failed, Disposition::Dead, Reason::Rejected),
        Cause::Refused => (Failed, Disposition::Retry(None), Reason::Status),
        Cause::Unknown if step == Step::Lookup => (Failed, Disposition::Retry(None), Reason::Status),
        Cause::Unknown => (Unknown, Disposition::Retry(None), Reason::Status),
    }
}

async fn check(rig: &Rig, step: Step, cause: Cause, body: &str, status: u16) -> SendResult {
    let answer = Answer::Whole(status, RETRY_AFTER.to_owned(), body.as_bytes().to_vec());
    let result = answered(rig, step, answer).await;
    let (outcome, disposition, reason) = expected(cause, step);
    assert_eq!(result.outcome, outcome, "{step:?} {status} {body}");
    assert_eq!(result.disposition, disposition, "{step:?} {status} {body}");
    assert_eq!(result.reason, Some(reason), "{step:?} {status} {body}");
    assert_eq!(result.status, Some(status));
    assert_eq!(result.response.as_deref(), (!body.is_empty()).then_some(body));
    assert_eq!(result.provider_id, None);
    result
}

#[tokio::test]
async fn every_code_of_a_method_means_what_its_row_says() {
    let rig = Rig::start().await;
    for (steps, rows) in [
        (&[Step::Direct, Step::Channel][..], [POST_MESSAGE, ANY_METHOD]),
        (&[Step::Lookup], [LOOKUP_BY_EMAIL, ANY_METHOD]),
    ] {
        for row in rows.into_iter().flatten() {
            let body = format!("{{\"ok\":false,\"error\":\"{}\"}}", row.code);
            for step in steps {
                let result = check(&rig, *step, row.cause, &body, 200).await;
                let error = result.error.unwrap();
                assert!(error.ends_with(&format!(" answered {} ({})", row.code, row.meaning)), "{error}");
                // Slack also sends codes with other statuses. 429 is the rate limit, whatever the body.
                check(&rig, *step, row.cause, &body, 503).await;
                check(&rig, *step, Cause::Throttled, &body, 429).await;
            }
        }
    }
}

#[tokio::test]
async fn every_code_of_an_incoming_webhook_means_what_its_row_says() {
    let rig = Rig::start().await;
    for row in INCOMING {
        let result = check(&rig, Step::Incoming, row.cause, row.code, 400).await;
        let expected = format!("the incoming webhook answered {} ({})", row.code, row.meaning);
        assert_eq!(result.error, Some(expected));
        check(&rig, Step::Incoming, Cause::Throttled, row.code, 429).await;
    }
}

#[tokio::test]
async fn every_status_without_a_known_code_means_what_its_row_says() {
    let rig = Rig::start().await;
    // 100 to 199 are not final responses.
    for status in (200..=599).step_by(7).chain([300, 400, 401, 403, 404, 410, 429, 500, 502, 503]) {
        let row = STATUSES.iter().find(|row| (row.first..=row.last).contains(&status)).unwrap();
        // These responses have no body.
        let body = if [204, 304].contains(&status) { "" } else { "<p>ada@example.org</p>" };
        for step in [Step::Direct, Step::Channel, Step::Lookup, Step::Incoming] {
            if step == Step::Incoming && status < 300 {
                let answer = Answer::Whole(status, String::new(), body.as_bytes().to_vec());
                assert_eq!(answered(&rig, step, answer).await, SendResult::delivered(status));
                continue;
            }
            let error = check(&rig, step, row.cause, body, status).await.error.unwrap();
            assert!(error.ends_with(&format!(" answered {status} ({})", row.meaning)), "{error}");
        }
    }
}

#[tokio::test]
async fn an_unknown_code_may_mean_that_the_message_was_posted() {
    let rig = Rig::start().await;
    for (body, in_error) in [
        ("{\"ok\":false,\"error\":\"new_code\"}", " answered 200 new_code ("),
        ("{\"ok\":false,\"error\":\"ada@example.org\"}", " answered 200 ("),
        ("{\"ok\":false,\"error\":7}", " answered 200 ("),
        ("{\"ok\":false}", " answered 200 ("),
        ("{\"ok\":1}", " answered 200 ("),
        ("[true]", " answered 200 ("),
        ("\"ok\"", " answered 200 ("),
        ("{\"ok\":true", " answered 200 ("),
        ("", " answered 200 ("),
    ] {
        for step in [Step::Direct, Step::Channel, Step::Lookup] {
            let error = check(&rig, step, Cause::Unknown, body, 200).await.error.unwrap();
            assert!(error.contains(in_error), "{body}: {error}");
        }
    }
    // A page of a gateway with the words of success.
    check(&rig, Step::Direct, Cause::Unknown, "{\"ok\":true}", 502).await;
}

#[tokio::test]
async fn a_message_is_delivered_even_if_slack_names_no_id() {
    let rig = Rig::start().await;
    for (body, id) in [
        ("{\"ok\":true}", None),
        ("{\"ok\":true,\"ts\":7,\"channel\":[]}", None),
        ("{\"ok\":true,\"ts\":\"1.2\"}", Some("1.2")),
        ("{\"ok\":true,\"ts\":\"1.2\",\"channel\":\"D\\u001b1\"}", Some("D\\u{1b}1/1.2")),
    ] {
        let answer = Answer::Whole(200, String::new(), body.as_bytes().to_vec());
        let delivered = SendResult { provider_id: id.map(str::to_owned), ..SendResult::delivered(200) };
        assert_eq!(answered(&rig, Step::Direct, answer).await, delivered);
    }
}

/// Returns what bday does, and the reason, as in the documentation.
fn words(cause: Cause, is_lookup: bool) -> [&'static str; 2] {
    match cause {
        Cause::Recipient if is_lookup => ["contact `bounced`, next channel", "`bounced`"],
        Cause::Recipient => {
            ["contact `bounced`, next channel; with `channel`: deferred", "`bounced` or `channel_down`"]
        }
        Cause::ChannelDown => ["deferred", "`channel_down`"],
        Cause::Throttled => ["deferred, after `Retry-After`", "`throttled`"],
        Cause::Rejected => ["dead", "`rejected`"],
        Cause::Refused => ["retried", "`status`"],
        Cause::Unknown => ["by `on_unknown`", "`status`"],
    }
}

#[test]
fn the_documentation_has_the_same_rows() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(DOCUMENT)).unwrap();
    let mut missing = String::new();
    let mut require = |code: &str, meaning: &str, cause, is_lookup| {
        let [action, reason] = words(cause, is_lookup);
        let line = format!("| {code} | {meaning} | {action} | {reason} |");
        if !text.contains(&line) {
            missing.push_str(&line);
            missing.push('\n');
        }
    };
    for (rows, is_lookup) in
        [(POST_MESSAGE, false), (LOOKUP_BY_EMAIL, true), (ANY_METHOD, false), (INCOMING, false)]
    {
        for row in rows {
            require(&format!("`{}`", row.code), row.meaning, row.cause, is_lookup);
        }
    }
    for row in STATUSES {
        let statuses = match (row.first, row.last) {
            (first, last) if first == last => first.to_string(),
            (100, 999) => "5xx".to_owned(),
            (first, last) if last - first == 99 => format!("{}xx", first / 100),
            (first, last) => format!("{first}, {last}"),
        };
        require(&statuses, row.meaning, row.cause, false);
    }
    assert!(missing.is_empty(), "docs/channels.md lacks:\n{missing}");
}
