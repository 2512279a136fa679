//! `bday serve` with a mail server (Postfix), a mail catcher (`MailDev`) and Amazon SES (moto).

use bday::model::EventState::{Delivered, Pending};
use serde_json::{Value, json};

use super::endpoint;
use crate::channels_serve::{Site, header, until_metric};
use crate::support::receiver::Receiver;
use crate::support::wait::eventually;

const PUBLIC_URL: &str = "https://bday.example.org";

/// Waits for the only file in a folder, and returns it.
async fn only_mail(folder: &str) -> String {
    eventually("a mail in the mailbox", async || {
        let mut files: Vec<_> = std::fs::read_dir(folder).ok()?.map(|file| file.unwrap().path()).collect();
        assert!(files.len() <= 1, "{files:?}");
        std::fs::read_to_string(files.pop()?).ok()
    })
    .await
}

fn assert_headers(mail: &str, event_id: &str) {
    let unsubscribe = header(mail, "List-Unsubscribe");
    for (name, value) in [
        ("Return-Path", "<greetings@example.com>"),
        ("Delivered-To", "ada@example.org"),
        ("From", "\"Example Ltd\" <greetings@example.com>"),
        ("To", "ada@example.org"),
        ("Message-ID", &format!("<{event_id}@example.com>")),
        ("Auto-Submitted", "auto-generated"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ] {
        assert_eq!(header(mail, name), value, "{name}");
    }
    assert!(header(mail, "Subject").contains("Alles Gute, ") && !mail.contains("zoë"), "{mail}");
    assert!(unsubscribe.starts_with(&format!("<{PUBLIC_URL}/unsubscribe/")), "{unsubscribe}");
}

fn assert_bounced_and_sent_by_webhook(event: &Value) {
    let attempts = event["attempts"].as_array().unwrap();
    assert_eq!((&event["channel"], attempts.len()), (&json!("webhook"), 2));
    let refused = &attempts[0];
    assert_eq!(
        (&refused["channel"], &refused["status"], &refused["reason"]),
        (&json!("mail"), &json!(550), &json!("bounced"))
    );
    assert!(refused["response"].as_str().unwrap().contains("5.1.1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make providers-test"]
async fn postfix_delivers_to_a_mailbox_and_refuses_an_unknown_one() {
    let receiver = Receiver::start().await;
    let site = Site::new(&[
        ("KINDS__BIRTHDAY__CHANNELS", "mail,webhook"),
        ("KINDS__BIRTHDAY__MAIL__SUBJECT", "Alles Gute, {{ first_name }}!"),
        ("CHANNELS__MAIL__URL", &format!("smtp://{}", endpoint("BDAY_TEST_POSTFIX"))),
        ("WEBHOOK__URL", &receiver.url()),
        ("HTTP__PUBLIC_URL", PUBLIC_URL),
    ])
    .await;
    site.add(&[("zoë", "email", "ada@example.org"), ("bob", "email", "unknown@example.org")]).await;
    let daemon = site.serve();

    let zoe = site.until("zoë", Delivered).await;
    let id = zoe["id"].as_str().unwrap();
    let provider_id = zoe["attempts"][0]["providerId"].as_str().unwrap();
    assert_eq!((&zoe["channel"], &zoe["attempts"][0]["status"]), (&json!("mail"), &json!(250)));
    assert!(provider_id.starts_with("2.0.0 Ok: queued as "), "{provider_id}");
    let mail = only_mail(&endpoint("BDAY_TEST_MAILBOX")).await;
    assert_headers(&mail, id);

    let bob = site.until("bob", Delivered).await;
    assert_bounced_and_sent_by_webhook(&bob);
    let accepted: Vec<_> = receiver.accepted().into_iter().collect();
    assert_eq!(accepted, [(bob["id"].as_str().unwrap().to_owned(), 1)]);
    let user = site.bday(&["user", "show", "bob", "--json"]).finish().await.succeeded();
    let user: Value = serde_json::from_str(&user).unwrap();
    let contact = user["contacts"].as_array().unwrap().iter().find(|contact| contact["channel"] == "mail");
    assert_eq!(contact.unwrap()["status"], "bounced");
    for channel in ["mail", "webhook"] {
        let sample = format!("bday_events_delivered_total{{kind=\"birthday\",channel=\"{channel}\"}} 1");
        until_metric(&daemon, &sample).await;
    }
    assert!(!daemon.lines().join("\n").contains("@example.org"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make providers-test"]
async fn maildev_shows_subject_and_html_as_rendered() {
    let web = endpoint("BDAY_TEST_MAILDEV_WEB");
    let site = Site::new(&[
        ("KINDS__BIRTHDAY__CHANNELS", "mail"),
        ("KINDS__BIRTHDAY__MAIL__SUBJECT", "Alles Gute, {{ first_name }}!"),
        ("KINDS__BIRTHDAY__MAIL__TEXT", "Hey, {{ first_name }} 🎂"),
        ("KINDS__BIRTHDAY__MAIL__HTML", "<p>Hey, <b>{{ first_name }}</b> 🎂</p>"),
        ("CHANNELS__MAIL__URL", &format!("smtp://{}", endpoint("BDAY_TEST_MAILDEV"))),
    ])
    .await;
    site.add(&[("Jürgen <&>", "email", "juergen@example.org")]).await;
    let _daemon = site.serve();
    let event = site.until("Jürgen <&>", Delivered).await;
    let mails: Value = reqwest::get(format!("{web}/api/email")).await.unwrap().json().await.unwrap();
    let mails = mails.as_array().unwrap();
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mail = &mails[0];
    let text = |value: &Value| value.as_str().unwrap_or_default().trim_end().to_owned();
    assert_eq!(mail["subject"], "Alles Gute, Jürgen <&>!");
    assert_eq!(text(&mail["text"]), "Hey, Jürgen <&> 🎂");
    assert_eq!(text(&mail["html"]), "<p>Hey, <b>Jürgen &lt;&amp;&gt;</b> 🎂</p>");
    assert_eq!(mail["from"], json!([{ "address": "greetings@example.com", "name": "Example Ltd" }]));
    assert_eq!(mail["to"], json!([{ "address": "juergen@example.org", "name": "" }]));
    let id = format!("<{}@example.com>", event["id"].as_str().unwrap());
    assert_eq!(mail["headers"]["message-id"], json!(id));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make providers-test"]
async fn ses_defers_mail_until_the_sender_is_verified() {
    let moto = endpoint("BDAY_TEST_MOTO");
    let site = Site::new(&[
        ("KINDS__BIRTHDAY__CHANNELS", "mail"),
        ("CHANNELS__MAIL__URL", "ses:"),
        ("AWS_ENDPOINT_URL_SESV2", &moto),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ])
    .await;
    site.add(&[("ada", "email", "ada@example.org")]).await;
    let daemon = site.serve();
    let deferred = site.until_attempt("ada", "channel_down").await;
    assert!(deferred["lastError"].as_str().unwrap().contains("not verified"), "{deferred}");
    assert!(site.until("ada", Pending).await["reason"].is_null());

    let identity = json!({ "EmailIdentity": "greetings@example.com" });
    let verify = reqwest::Client::new().post(format!("{moto}/v2/email/identities")).json(&identity);
    // moto names the service by the signature.
    let signed = "AWS4-HMAC-SHA256 Credential=test/20261210/eu-central-1/ses/aws4_request";
    verify.header("authorization", signed).send().await.unwrap().error_for_status().unwrap();
    let ada = site.until("ada", Delivered).await;
    let attempts = ada["attempts"].as_array().unwrap();
    let last = attempts.last().unwrap();
    assert_eq!((&last["channel"], &last["status"]), (&json!("mail"), &json!(200)));
    assert!(!last["providerId"].as_str().unwrap().is_empty(), "{last}");
    assert!(attempts[..attempts.len() - 1].iter().all(|attempt| attempt["reason"] == "channel_down"));
    until_metric(&daemon, "bday_events_delivered_total{kind=\"birthday\",channel=\"mail\"} 1").await;
}
