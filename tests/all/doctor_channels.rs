//! `bday doctor` on the channels: each provider answers as it does for a correct and for a faulty configuration.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::doctor::{examine, grade};
use crate::serve::Place;
use crate::support::http::{Reply, Request, Server, Service};
use crate::support::process::Bday;
use crate::support::slack::FakeSlack;
use crate::support::smtp::{Act, SmtpServer};
use crate::support::twilio::{Answer, ENCODED_TOKEN, FakeTwilio, SENDER, SID};

type Findings = BTreeMap<String, (String, String)>;

/// The answers of SES v2 by path; other paths are not found.
#[derive(Default)]
struct Ses(Mutex<BTreeMap<String, Value>>);

impl Service for Ses {
    async fn call(&self, request: Request<'_>) -> Reply {
        let found = self.0.lock().unwrap().get(request.path).cloned();
        let status = if found.is_some() { 200 } else { 404 };
        let missing = || json!({"__type": "NotFoundException", "message": "Email identity does not exist."});
        let headers = "content-type: application/json\r\nx-amzn-errortype: NotFoundException\r\n".to_owned();
        Reply::Whole { status, headers, body: found.unwrap_or_else(missing).to_string().into_bytes() }
    }
}

/// A deployment that greets by `channel` alone.
async fn place(channel: &str) -> (Place, impl Fn(&[(&str, &str)]) -> Bday) {
    let place = Place::new().await;
    assert!(place.bday(&["migrate"]).finish().await.status.success());
    let (database, sqs, channel) = (place.database.url().to_owned(), place.sqs.env(), channel.to_owned());
    let doctor = move |variables: &[(&str, &str)]| {
        let bday = Bday::new(["doctor", "--json"]).envs(sqs.clone());
        let bday = bday.env("BDAY__DATABASE__URL", &database).env("BDAY__QUEUE__KIND", "postgres");
        let bday = bday.env("BDAY__KINDS__BIRTHDAY__CHANNELS", &channel);
        variables.iter().fold(bday, |bday, (key, value)| {
            let key = if key.starts_with("AWS_") { (*key).to_owned() } else { format!("BDAY__{key}") };
            bday.env(&key, value)
        })
    };
    (place, doctor)
}

fn found(findings: &Findings, check: &str, expected: (&str, &str)) {
    let (grade, text) = findings.get(check).unwrap_or_else(|| panic!("no {check} in {findings:?}"));
    assert_eq!(grade, expected.0, "{check}: {text}");
    assert!(text.contains(expected.1), "{check}: {text:?} lacks {:?}", expected.1);
}

fn assert_no_secret(findings: &Findings) {
    let all = format!("{findings:?}");
    assert!(!all.contains("hunter2") && !all.contains("xoxb") && !all.contains(ENCODED_TOKEN), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_by_smtp_is_checked_up_to_the_login() {
    let (_place, doctor) = place("mail").await;
    let server = SmtpServer::start().await;
    let url = format!("smtp://ada:hunter2@{}", server.address());
    let from = ("CHANNELS__MAIL__FROM", "Birthdays <bday@example.invalid>");
    let mail = [("CHANNELS__MAIL__URL", url.as_str()), from];
    let public = ("HTTP__PUBLIC_URL", "https://bday.example.com");
    let (_, findings) = examine(doctor(&[mail[0], mail[1], public])).await;
    found(&findings, "mail.url", ("ok", "127.0.0.1"));
    found(&findings, "mail.login", ("ok", "accepts"));
    found(&findings, "mail.spf", ("warning", "DNS has no name example.invalid"));
    found(&findings, "mail.dkim", ("warning", "dkim_selector is empty"));
    found(&findings, "mail.dmarc", ("warning", "example.invalid has no DMARC record"));
    found(&findings, "mail.unsubscribe", ("ok", "https://bday.example.com"));
    assert_eq!(grade(&findings, "webhook.url"), "missing", "no kind uses the webhook");
    assert_no_secret(&findings);
    assert!(server.messages().is_empty());
    assert!(server.commands().iter().all(|(_, command)| !command.starts_with("MAIL")));

    server.on("AUTH", Act::Reply("535 5.7.8 authentication failed".to_owned()));
    let (code, findings) = examine(doctor(&mail)).await;
    assert_eq!(code, Some(1));
    found(&findings, "mail.login", ("failure", "535"));
    found(&findings, "mail.unsubscribe", ("warning", "http.public_url is empty"));
    assert_no_secret(&findings);

    let missing = [("CHANNELS__MAIL__URL", "file:/nonexistent"), from];
    found(&examine(doctor(&missing)).await.1, "mail.url", ("failure", "/nonexistent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_by_ses_is_checked_for_the_account_the_sender_and_the_feedback() {
    let (place, doctor) = place("mail").await;
    let ses = Server::start(|_| Ses::default()).await;
    let endpoint = format!("http://{}", ses.address());
    let answer = |path: &str, value: Value| {
        ses.service().0.lock().unwrap().insert(path.to_owned(), value);
    };
    let mail = [
        ("AWS_ENDPOINT_URL_SESV2", endpoint.as_str()),
        ("CHANNELS__MAIL__URL", "ses:"),
        ("CHANNELS__MAIL__FROM", "bday@example.invalid"),
    ];
    answer("/v2/email/account", json!({"SendingEnabled": true, "ProductionAccessEnabled": false}));
    let (_, findings) = examine(doctor(&mail)).await;
    found(&findings, "mail.account", ("warning", "sandbox"));
    found(&findings, "mail.sender", ("failure", "neither"));
    found(&findings, "mail.feedback", ("warning", "configuration_set is empty"));
    found(&findings, "mail.dmarc", ("warning", "example.invalid has no DMARC record"));
    for check in ["mail.spf", "mail.dkim"] {
        assert_eq!(grade(&findings, check), "missing", "SES reports DKIM, and has SPF of its own");
    }

    answer("/v2/email/account", json!({"SendingEnabled": false, "ProductionAccessEnabled": true}));
    let identity = |verified: bool, dkim: &str| json!({"VerifiedForSendingStatus": verified, "DkimAttributes": {"Status": dkim}});
    answer("/v2/email/identities/example.invalid", identity(false, "PENDING"));
    let mut with_set = mail.to_vec();
    with_set.push(("CHANNELS__MAIL__CONFIGURATION_SET", "bday"));
    let (_, findings) = examine(doctor(&with_set)).await;
    found(&findings, "mail.account", ("failure", "paused"));
    found(&findings, "mail.sender", ("failure", "example.invalid is not verified"));
    found(&findings, "mail.feedback", ("warning", "feedback_queue_url is empty"));

    answer("/v2/email/account", json!({"SendingEnabled": true, "ProductionAccessEnabled": true}));
    answer("/v2/email/identities/example.invalid", identity(true, "PENDING"));
    let queue = place.sqs.queue_url("feedback");
    with_set.push(("CHANNELS__MAIL__FEEDBACK_QUEUE_URL", &queue));
    let (_, findings) = examine(doctor(&with_set)).await;
    found(&findings, "mail.account", ("ok", "may send"));
    found(&findings, "mail.sender", ("warning", "DKIM"));
    found(&findings, "mail.feedback", ("failure", "feedback_queue_url"));

    place.sqs.client().create_queue().queue_name("feedback").send().await.unwrap();
    answer("/v2/email/identities/example.invalid", identity(true, "SUCCESS"));
    let (_, findings) = examine(doctor(&with_set)).await;
    found(&findings, "mail.sender", ("ok", "example.invalid is verified"));
    found(&findings, "mail.feedback", ("warning", "no dead-letter queue"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_checked_for_the_token_and_its_scopes() {
    let (_place, doctor) = place("slack").await;
    let slack = FakeSlack::start().await;
    let url = slack.bot_url();
    let bot = [("CHANNELS__SLACK__URL", url.as_str())];
    let (_, findings) = examine(doctor(&bot)).await;
    found(&findings, "slack.token", ("ok", "chat:write"));
    slack.set_scopes("chat:write,users:read");
    found(&examine(doctor(&bot)).await.1, "slack.token", ("warning", "lacks users:read.email"));
    slack.set_scopes("users:read.email");
    let (code, findings) = examine(doctor(&bot)).await;
    assert_eq!(code, Some(1));
    found(&findings, "slack.token", ("failure", "lacks chat:write"));
    assert_no_secret(&findings);
    assert!(slack.calls().iter().all(|call| call.method == "auth.test"));
    let (place_of_token, _) = url.split_once("xoxb").unwrap();
    let wrong = format!("{place_of_token}xoxb-other@{}", url.rsplit_once('@').unwrap().1);
    let (_, findings) = examine(doctor(&[("CHANNELS__SLACK__URL", &wrong)])).await;
    found(&findings, "slack.token", ("failure", "invalid_auth"));
    assert_no_secret(&findings);
    let incoming = slack.incoming_url();
    let hook = [("CHANNELS__SLACK__URL", incoming.as_str())];
    slack.calls();
    found(&examine(doctor(&hook)).await.1, "slack.url", ("ok", "not checked"));
    assert!(slack.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_is_checked_for_the_account_and_repeats_are_warned_of() {
    let (_place, doctor) = place("sms").await;
    let twilio = FakeTwilio::start().await;
    let url = twilio.url();
    let sms = [("CHANNELS__SMS__URL", url.as_str()), ("CHANNELS__SMS__FROM", SENDER)];
    let account = |status: &str, kind: &str| {
        let body = json!({"sid": SID, "status": status, "type": kind, "friendly_name": "Example"});
        let headers = "content-type: application/json\r\n".to_owned();
        twilio.next(Answer::Plain(200, headers, body.to_string().into_bytes()));
    };
    account("active", "Full");
    let (_, findings) = examine(doctor(&sms)).await;
    found(&findings, "sms.account", ("ok", "active"));
    found(&findings, "sms.callbacks", ("warning", "http.public_url is empty"));
    assert_eq!(grade(&findings, "sms.on_unknown"), "missing", "give_up is the default");
    account("active", "Trial");
    let retrying = [sms[0], sms[1], ("CHANNELS__SMS__ON_UNKNOWN", "retry")];
    let (_, findings) = examine(doctor(&retrying)).await;
    found(&findings, "sms.account", ("warning", "trial"));
    found(&findings, "sms.on_unknown", ("warning", "twice"));
    account("suspended", "Full");
    let (code, findings) = examine(doctor(&sms)).await;
    assert_eq!(code, Some(1));
    found(&findings, "sms.account", ("failure", "suspended"));
    let wrong = url.replace(ENCODED_TOKEN, "hunter2");
    let (_, findings) = examine(doctor(&[("CHANNELS__SMS__URL", &wrong), sms[1]])).await;
    found(&findings, "sms.account", ("failure", "refuses the account SID or its token"));
    assert_no_secret(&findings);
    found(&examine(doctor(&[("CHANNELS__SMS__URL", "aws:")])).await.1, "sms.url", ("ok", "not checked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatsapp_is_checked_as_sms() {
    let (_place, doctor) = place("whatsapp").await;
    let twilio = FakeTwilio::start().await;
    let url = twilio.url();
    let body = json!({"sid": SID, "status": "active", "type": "Full"}).to_string().into_bytes();
    twilio.next(Answer::Plain(200, "content-type: application/json\r\n".to_owned(), body));
    let whatsapp = [
        ("CHANNELS__WHATSAPP__URL", url.as_str()),
        ("CHANNELS__WHATSAPP__FROM", SENDER),
        ("CHANNELS__WHATSAPP__ON_UNKNOWN", "retry"),
        ("HTTP__PUBLIC_URL", "https://bday.example.com"),
    ];
    let (_, findings) = examine(doctor(&whatsapp)).await;
    found(&findings, "whatsapp.account", ("ok", "active"));
    found(&findings, "whatsapp.callbacks", ("ok", "https://bday.example.com"));
    found(&findings, "whatsapp.on_unknown", ("warning", "twice"));
}
