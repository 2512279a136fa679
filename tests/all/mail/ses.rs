//! Amazon SES: moto, and an endpoint that answers with each error of the table.

use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::config::{
    BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig,
};
use bday::model::{AttemptOutcome, Reason};
use bday::pipeline::channel::mail::{EVENT_TAG, Mail, MailOptions, MailUrl, SES_ROWS, SesRow};
use bday::pipeline::channel::{Channel as _, Disposition, Message};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{EVENT, ada, following, greeting, options};
use crate::support::http::{Reply, Request, Server, Service, Step};
use crate::support::python::PythonServer;
use crate::support::wait::eventually;

/// Long enough for moto, which loads a service at its first request.
const TIMEOUT: Duration = Duration::from_secs(30);

fn client(endpoint: &str, timeout: Duration) -> Client {
    let config = aws_sdk_sesv2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(timeout).build());
    Client::from_conf(config.build())
}

fn mail(endpoint: &str, more: MailOptions) -> Mail {
    following(
        MailOptions { ses: Some(client(endpoint, more.timeout)), ..more },
        watch::channel(MailUrl::Ses).1,
    )
}

/// Answers every request in the same way.
struct Fake {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<Value>>,
}

#[derive(Clone)]
enum Answer {
    Error(u16, String, String),
    Steps(Vec<Step>),
    Accept,
}

impl Service for Fake {
    async fn call(&self, request: Request<'_>) -> Reply {
        assert_eq!((request.method, request.path), ("POST", "/v2/email/outbound-emails"));
        self.requests.lock().unwrap().push(serde_json::from_slice(request.body).unwrap());
        match self.answer.lock().unwrap().clone() {
            Answer::Steps(steps) => Reply::Steps(steps),
            Answer::Accept => Reply::Whole {
                status: 200,
                headers: "content-type: application/json\r\n".to_owned(),
                body: br#"{"MessageId":"0107019a"}"#.to_vec(),
            },
            Answer::Error(status, code, text) => Reply::Whole {
                status,
                headers: format!("content-type: application/json\r\nx-amzn-errortype: {code}\r\n"),
                body: json!({ "message": text }).to_string().into_bytes(),
            },
        }
    }
}

async fn fake(answer: Answer) -> Server<Fake> {
    Server::start(|_| Fake { answer: Mutex::new(answer), requests: Mutex::default() }).await
}

#[tokio::test]
async fn a_request_has_the_message_its_headers_and_the_event_as_a_tag() {
    let server = fake(Answer::Accept).await;
    let mut more = MailOptions { configuration_set: "bday".to_owned(), ..options() };
    more.sender.reply_to = Some("people@example.com".parse().unwrap());
    let mail = mail(&format!("http://{}", server.address()), more);
    let message = Message {
        subject: Some("Hey,\r\nJürgen".to_owned()),
        html: Some("<p>Hey</p>".to_owned()),
        ..Message::of_text("Hey, Jürgen")
    };
    let result = mail.send(&greeting("juergen@example.org", message)).await;
    assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
    assert_eq!((result.status, result.provider_id.as_deref()), (Some(200), Some("0107019a")));
    let content = |text: &str| json!({ "Data": text, "Charset": "UTF-8" });
    let request = server.service().requests.lock().unwrap()[0].clone();
    let from = request["FromEmailAddress"].as_str().unwrap().to_owned();
    // The name as in RFC 2047.
    assert!(
        from.is_ascii() && from.ends_with(" <greetings@example.com>") && from.contains("=?utf-8?b?"),
        "{from}"
    );
    assert_eq!(
        request,
        json!({
            "FromEmailAddress": from,
            "ReplyToAddresses": ["people@example.com"],
            "Destination": { "ToAddresses": ["juergen@example.org"] },
            "Content": { "Simple": {
                "Subject": content("Hey, Jürgen"),
                "Body": { "Text": content("Hey, Jürgen"), "Html": content("<p>Hey</p>") },
                "Headers": [{ "Name": "Auto-Submitted", "Value": "auto-generated" }],
            } },
            "EmailTags": [{ "Name": EVENT_TAG, "Value": EVENT.to_string() }],
            "ConfigurationSetName": "bday",
        })
    );
}

#[tokio::test]
async fn each_error_of_the_table_has_its_outcome() {
    for row in SES_ROWS {
        let code = if row.code.is_empty() { "UnheardOf" } else { row.code };
        let status = if row.class == 5 || row.outcome == AttemptOutcome::Unknown { 500 } else { 400 };
        let text = format!("Secret words for ada@example.org, {}", row.text.to_uppercase());
        assert_eq!(SesRow::of(status, code, &text), row, "another row is before it");
        for code in [code.to_owned(), format!("{code}Exception")] {
            let server = fake(Answer::Error(status, code, text.clone())).await;
            let result = mail(&format!("http://{}", server.address()), options()).send(&ada()).await;
            assert_eq!(result.outcome, row.outcome, "{row:?}: {result:?}");
            assert_eq!(result.disposition, row.disposition, "{row:?}: {result:?}");
            assert_eq!(result.reason, Some(row.reason), "{row:?}: {result:?}");
            assert_eq!(result.status, Some(status), "{row:?}: {result:?}");
            assert_eq!(result.response.as_deref(), Some(text.as_str()), "{row:?}");
            let error = result.error.unwrap();
            assert!(error.contains(row.meaning) && !error.contains("ada@"), "{error}");
            assert_eq!(server.service().requests.lock().unwrap().len(), 1, "the SDK retried: {row:?}");
        }
    }
}

#[tokio::test]
async fn a_request_without_a_response_is_unknown_and_one_that_did_not_leave_is_a_failure() {
    for (what, steps, reason) in [
        ("hangs", vec![Step::Hang], Reason::Timeout),
        ("resets", vec![Step::Reset], Reason::Broken),
        ("breaks off", vec![Step::Write(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec())], Reason::Broken),
        ("is no HTTP", vec![Step::Write(b"hello\r\n\r\n".to_vec())], Reason::Broken),
    ] {
        let server = fake(Answer::Steps(steps)).await;
        let short = MailOptions { timeout: Duration::from_secs(2), ..options() };
        let result = mail(&format!("http://{}", server.address()), short).send(&ada()).await;
        assert_eq!(result.outcome, AttemptOutcome::Unknown, "{what}: {result:?}");
        assert_eq!(result.reason, Some(reason), "{what}: {result:?}");
        assert_eq!(server.service().requests.lock().unwrap().len(), 1, "{what}");
    }
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    for endpoint in [format!("http://{closed}"), "http://nowhere.invalid".to_owned()] {
        let result = mail(&endpoint, options()).send(&ada()).await;
        assert_eq!(result.outcome, AttemptOutcome::Failed, "{endpoint}: {result:?}");
        assert_eq!(result.reason, Some(Reason::Connect), "{endpoint}: {result:?}");
        assert_eq!(result.disposition, Disposition::Retry(None), "{endpoint}");
    }
    let without_credentials = aws_sdk_sesv2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url("http://127.0.0.1:9")
        .region(Region::new("eu-central-1"));
    let ses = Some(Client::from_conf(without_credentials.build()));
    let result =
        following(MailOptions { ses, ..options() }, watch::channel(MailUrl::Ses).1).send(&ada()).await;
    assert_eq!(result.outcome, AttemptOutcome::Failed, "{result:?}");
    assert_eq!((result.disposition, result.reason), (Disposition::Defer(None), Some(Reason::ChannelDown)));
}

#[tokio::test]
async fn moto_accepts_a_verified_sender_and_rejects_another() {
    let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    let _moto = PythonServer::start(&["-m", "moto.server", "-p", &port.to_string()]);
    eventually("moto to listen", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
    let endpoint = format!("http://127.0.0.1:{port}");
    let mail = mail(&endpoint, options());
    let result = mail.send(&ada()).await;
    assert_eq!(
        (result.disposition, result.reason),
        (Disposition::Defer(None), Some(Reason::ChannelDown)),
        "{result:?}"
    );
    assert!(result.error.unwrap().contains("not verified"));
    let identity = client(&endpoint, TIMEOUT).create_email_identity().email_identity("greetings@example.com");
    identity.send().await.unwrap();
    let result = mail.send(&ada()).await;
    assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
    assert!(result.provider_id.is_some_and(|id| !id.is_empty()));
}
