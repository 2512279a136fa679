//! The inbox in place of Slack and Twilio.

use axum::http::StatusCode;
use bday::dev::inbox::ResponseRules;
use bday::model::ChannelName;
use serde_json::{Value, json};

use crate::support::inbox::RunningInbox;

const EVENT: &str = "01a20c92-40bd-7496-a43a-0e7ed8f73c8f";
const MESSAGES: &str = "/2010-04-01/Accounts/AC1/Messages.json";

const FORM: &str = "application/x-www-form-urlencoded";

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn slack_message() -> Value {
    let metadata = json!({"event_type": "greeting", "event_payload": {"event_id": EVENT}});
    json!({"channel": "U0ADA", "text": "Hey, Ada!", "metadata": metadata})
}

async fn slack(inbox: &RunningInbox, method: &str, arguments: &Value) -> Value {
    let request =
        inbox.http.post(format!("{}/api/{method}", inbox.base)).bearer_auth("xoxb-1").json(arguments);
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_slack_message_is_accepted_and_its_repeat_is_a_duplicate() {
    let mut inbox = RunningInbox::responding(ResponseRules::default());
    let answer = slack(&inbox, "chat.postMessage", &slack_message()).await;
    assert_eq!((&answer["ok"], &answer["channel"]), (&json!(true), &json!("U0ADA")));
    assert_eq!(answer["ts"], "1772348400.412000");
    assert_eq!(
        inbox.get("/arrivals").await,
        json!([{
            "id": 1, "arrivedAt": "2026-03-01T07:00:00.412Z", "channel": "slack", "path": "/api/chat.postMessage",
            "attempt": 1, "duplicate": false, "sample": false, "status": 200, "latenessMs": null, "to": ["U0ADA"],
            "message": "Hey, Ada!", "eventId": EVENT, "hasHtml": false,
        }])
    );
    assert!(!inbox.next().await.duplicate);
    let fields =
        [("channel", "U0ADA"), ("text", "Hey"), ("metadata", &slack_message()["metadata"].to_string())];
    let url = format!("{}/api/chat.postMessage", inbox.base);
    let repeat = inbox
        .http
        .post(url)
        .bearer_auth("xoxb-1")
        .header("content-type", FORM)
        .body(form(&fields))
        .send()
        .await
        .unwrap();
    assert_eq!(repeat.json::<Value>().await.unwrap()["ok"], true);
    assert!(inbox.next().await.duplicate);
}

#[tokio::test]
async fn slack_refuses_what_is_incomplete_and_lists_it_as_unreadable() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    for (arguments, error) in [
        (json!({"text": "Hey"}), "channel_not_found"),
        (json!({"channel": "U0ADA"}), "no_text"),
        (json!([1]), "channel_not_found"),
    ] {
        let answer = slack(&inbox, "chat.postMessage", &arguments).await;
        assert_eq!(answer, json!({"ok": false, "error": error}));
    }
    let url = format!("{}/api/chat.postMessage", inbox.base);
    let anonymous = inbox.http.post(url).json(&slack_message()).send().await.unwrap();
    assert_eq!(anonymous.json::<Value>().await.unwrap()["error"], "not_authed");
    let totals = inbox.log.totals();
    assert_eq!((totals.unreadable, totals.failed, totals.accepted), (4, 4, 0));
}

#[tokio::test]
async fn slack_knows_any_address_by_the_same_id_and_any_token() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let id = async |email: &str| {
        let url = format!("{}/api/users.lookupByEmail?email={email}", inbox.base);
        let answer = inbox.http.get(url).bearer_auth("xoxb-1").send().await.unwrap();
        answer.json::<Value>().await.unwrap()["user"]["id"].as_str().unwrap().to_owned()
    };
    let ada = id("ada@example.org").await;
    assert!(ada.starts_with('U') && ada.len() == 11, "{ada}");
    assert_eq!(id("Ada@example.org").await, ada);
    assert_ne!(id("bob@example.org").await, ada);
    let posted = slack(&inbox, "users.lookupByEmail", &json!({"email": "ada@example.org"})).await;
    assert_eq!(posted["user"]["id"], ada);
    let unknown = slack(&inbox, "users.lookupByEmail", &json!({})).await;
    assert_eq!(unknown["error"], "users_not_found");

    let test =
        inbox.http.post(format!("{}/api/auth.test", inbox.base)).bearer_auth("xoxb-1").send().await.unwrap();
    assert!(test.headers()["x-oauth-scopes"].to_str().unwrap().contains("users:read.email"));
    assert_eq!(test.json::<Value>().await.unwrap()["ok"], true);
    assert_eq!(inbox.log.totals().received, 0);
}

#[tokio::test]
async fn an_incoming_webhook_of_slack_answers_in_plain_text() {
    let mut inbox = RunningInbox::responding(ResponseRules::default());
    let url = format!("{}/slack/hook", inbox.base);
    let sent = inbox.http.post(&url).json(&json!({"text": "Hey, <@U0ADA>!"})).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), sent.text().await.unwrap().as_str()), (200, "ok"));
    let arrival = inbox.next().await;
    assert_eq!(arrival.channel, ChannelName::Slack);
    assert_eq!(arrival.content.message().unwrap().text, "Hey, <@U0ADA>!");
    let empty = inbox.http.post(&url).json(&json!({})).send().await.unwrap();
    assert_eq!((empty.status().as_u16(), empty.text().await.unwrap().as_str()), (400, "no_text"));
}

async fn twilio(inbox: &RunningInbox, fields: &[(&str, &str)]) -> (u16, Value) {
    let request = inbox
        .http
        .post(format!("{}{MESSAGES}", inbox.base))
        .basic_auth("AC1", Some("token"))
        .body(form(fields));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn twilio_accepts_sms_and_whatsapp_messages() {
    let mut inbox = RunningInbox::responding(ResponseRules::default());
    let sms = [("To", "+4915112345678"), ("From", "+15005550006"), ("Body", "Hey, Ada!")];
    let (status, answer) = twilio(&inbox, &sms).await;
    assert_eq!((status, &answer["status"], &answer["account_sid"]), (201, &json!("queued"), &json!("AC1")));
    assert!(answer["sid"].as_str().is_some_and(|sid| sid.len() == 34 && sid.starts_with("SM")), "{answer}");
    let arrival = inbox.next().await;
    let message = arrival.content.message().unwrap();
    assert_eq!((arrival.channel, arrival.status), (ChannelName::Sms, Some(201)));
    assert_eq!(
        (message.to.as_slice(), message.text.as_str()),
        (&["+4915112345678".to_owned()][..], "Hey, Ada!")
    );

    let template = [
        ("To", "whatsapp:+4915112345678"),
        ("MessagingServiceSid", "MG1"),
        ("ContentSid", "HX1"),
        ("ContentVariables", r#"{"1":"Ada"}"#),
    ];
    assert_eq!(twilio(&inbox, &template).await.0, 201);
    let arrival = inbox.next().await;
    let message = arrival.content.message().unwrap();
    assert_eq!((arrival.channel, message.to[0].as_str()), (ChannelName::Whatsapp, "+4915112345678"));
    assert_eq!(message.text, r#"HX1 {"1":"Ada"}"#);
}

#[tokio::test]
async fn twilio_refuses_what_is_incomplete() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let all = [("To", "+4915112345678"), ("From", "+15005550006"), ("Body", "Hey")];
    for (missing, code) in [("To", 21604), ("From", 21603), ("Body", 21602)] {
        let fields: Vec<_> = all.into_iter().filter(|(name, _)| *name != missing).collect();
        let (status, answer) = twilio(&inbox, &fields).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{missing}");
    }
    let anonymous =
        inbox.http.post(format!("{}{MESSAGES}", inbox.base)).body(form(&all)).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert_eq!(inbox.log.totals().failed, 4);
}

#[tokio::test]
async fn slack_and_twilio_fail_as_the_rules_say() {
    let failure_status = StatusCode::TOO_MANY_REQUESTS;
    let rules = ResponseRules { failure_rate: 1.0, failure_status, ..ResponseRules::default() };
    let inbox = RunningInbox::responding(rules);
    let url = format!("{}/api/chat.postMessage", inbox.base);
    let sent = inbox.http.post(url).bearer_auth("xoxb-1").json(&slack_message()).send().await.unwrap();
    assert_eq!(sent.status(), 429);
    let sms = [("To", "+4915112345678"), ("From", "+15005550006"), ("Body", "Hey")];
    assert_eq!(twilio(&inbox, &sms).await.0, 429);
    let totals = inbox.log.totals();
    assert_eq!(
        (totals.failed, totals.channels[&ChannelName::Slack], totals.channels[&ChannelName::Sms]),
        (2, 1, 1)
    );
}
