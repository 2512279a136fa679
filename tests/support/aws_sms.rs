//! The endpoints of `SendTextMessage` and of SNS `Publish`, with scripted errors. They check every request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::Credentials;
use bday::pipeline::channel::aws_error::sdk_config_from;
use serde_json::{Value, json};

use super::http::{Reply, Request, Server, Service, Step};

/// The response to requests.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Accept,
    /// An error of `SendTextMessage`: status, exception, and its reason or the field that is invalid.
    Sms(u16, String, String),
    /// An error of SNS: status, code and message.
    Sns(u16, String, String),
    Hang,
    Reset,
    Garbage,
}

pub(crate) struct Fake {
    answer: Mutex<Answer>,
    bodies: Mutex<Vec<String>>,
}

pub(crate) struct FakeAws(Server<Fake>);

impl FakeAws {
    pub(crate) async fn start() -> Self {
        let fake = Fake { answer: Mutex::new(Answer::Accept), bodies: Mutex::default() };
        Self(Server::start(|_| fake).await)
    }

    /// Returns the configuration of the daemon, for this endpoint.
    pub(crate) async fn config(&self) -> SdkConfig {
        config_for(&format!("http://{}", self.0.address())).await
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.0.service().answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Returns the bodies of all requests.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.0.service().bodies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn shut(&self) {
        self.0.shut().await;
    }
}

pub(crate) async fn config_for(endpoint: &str) -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"));
    sdk_config_from(loader, Duration::from_secs(2)).await
}

impl Service for Fake {
    async fn call(&self, request: Request<'_>) -> Reply {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        assert_eq!((request.method, request.path), ("POST", "/"));
        assert!(request.header("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 "));
        let target = request.header("x-amz-target");
        let is_sms = target == Some("PinpointSMSVoiceV2.SendTextMessage");
        assert!(is_sms || target.is_none() && body.contains("Action=Publish&Version=2010-03-31"), "{body}");
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match answer {
            Answer::Accept if is_sms => json_reply(200, &json!({ "MessageId": "message-1" })),
            Answer::Accept => xml_reply(
                200,
                "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
                 <MessageId>message-1</MessageId></PublishResult></PublishResponse>",
            ),
            Answer::Sms(status, exception, detail) => json_reply(status, &sms_error(&exception, &detail)),
            Answer::Sns(status, code, message) => xml_reply(
                status,
                &format!(
                    "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
                     <Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
                ),
            ),
            Answer::Hang => Reply::Steps(vec![Step::Hang]),
            Answer::Reset => Reply::Steps(vec![Step::Reset]),
            Answer::Garbage => xml_reply(200, "<html>a proxy"),
        }
    }
}

fn sms_error(exception: &str, detail: &str) -> Value {
    let mut error = json!({
        "__type": exception,
        "Message": "+15558675310 cannot be sent to",
        "Reason": if detail == "DestinationPhoneNumber" { "FIELD_VALIDATION_FAILED" } else { detail },
    });
    if detail == "DestinationPhoneNumber" {
        error["Fields"] = json!([{ "Name": detail, "Message": "+15558675310 is invalid" }]);
    }
    error
}

fn json_reply(status: u16, body: &Value) -> Reply {
    let headers = "content-type: application/x-amz-json-1.0\r\n".to_owned();
    Reply::Whole { status, headers, body: body.to_string().into_bytes() }
}

fn xml_reply(status: u16, body: &str) -> Reply {
    Reply::Whole { status, headers: "content-type: text/xml\r\n".to_owned(), body: body.as_bytes().to_vec() }
}
