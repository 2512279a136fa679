//! SMS by AWS End User Messaging and by SNS: the request, and what each error means.

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_sdk_sns::config::SharedCredentialsProvider;
use bday::model::{AttemptOutcome, Reason};
use bday::pipeline::channel::aws_error::{AwsCode, COMMON_CODES};
use bday::pipeline::channel::sms::aws::{self, AwsSms};
use bday::pipeline::channel::sms::sns::{self, SnsSms};
use bday::pipeline::channel::verdict::Verdict;
use bday::pipeline::channel::{Channel, Disposition};
use serde_json::{Value, json};

use crate::sms_twilio::{assert_documented, assert_verdict};
use crate::support::aws_sms::{Answer, FakeAws};
use crate::support::twilio::{RECIPIENT, text_greeting};

async fn sms(fake: &FakeAws, from: &str) -> AwsSms {
    AwsSms::new(aws_sdk_pinpointsmsvoicev2::Client::new(&fake.config().await), from.to_owned())
}

async fn sns(fake: &FakeAws, from: &str) -> SnsSms {
    SnsSms::new(aws_sdk_sns::Client::new(&fake.config().await), from.to_owned())
}

/// Returns the status that goes with a row.
fn status(row: &AwsCode) -> u16 {
    if row.verdict == Verdict::Unknown { 500 } else { 400 }
}

/// Returns a detail that the row is for, and that no row names if the row is for any.
fn detail(row: &AwsCode) -> String {
    if row.detail.is_empty() { "SOMETHING_ELSE".to_owned() } else { row.detail.to_owned() }
}

#[tokio::test]
async fn send_text_message_has_the_event_and_ends_with_the_day() {
    let fake = FakeAws::start().await;
    let greeting = text_greeting();
    let result = sms(&fake, "EXAMPLE").await.send(&greeting).await;
    assert_eq!(result.disposition, Disposition::Delivered);
    assert_eq!(result.provider_id.as_deref(), Some("message-1"));
    sms(&fake, "").await.send(&greeting).await;
    let bodies: Vec<Value> = fake.bodies().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    let mut expected = json!({
        "DestinationPhoneNumber": RECIPIENT,
        "OriginationIdentity": "EXAMPLE",
        "MessageBody": "Hey",
        "MessageType": "TRANSACTIONAL",
        "TimeToLive": 43_200,
        "Context": { "bday-event": greeting.event_id.to_string() },
    });
    assert_eq!(bodies[0], expected);
    expected.as_object_mut().unwrap().remove("OriginationIdentity");
    assert_eq!(bodies[1], expected);
}

#[tokio::test]
async fn each_code_of_send_text_message_has_the_effect_of_its_row() {
    let fake = FakeAws::start().await;
    let channel = sms(&fake, "").await;
    for row in aws::CODES.iter().chain(COMMON_CODES) {
        // A row of the service takes precedence over a common one.
        fake.answer(Answer::Sms(status(row), row.code.to_owned(), detail(row)));
        let of = format!("{} {}", row.code, row.detail);
        let result = channel.send(&text_greeting()).await;
        assert_verdict(&result, row.verdict, &of);
        assert!(result.error.unwrap().contains(row.meaning), "{of}");
        assert!(result.response.unwrap().contains("cannot be sent to"), "{of}");
    }
}

#[tokio::test]
async fn each_code_of_sns_has_the_effect_of_its_row() {
    let fake = FakeAws::start().await;
    let channel = sns(&fake, "").await;
    for row in sns::CODES.iter().chain(COMMON_CODES) {
        let message = match row.detail {
            "" => "Invalid parameter: Message".to_owned(),
            detail => format!("Invalid parameter: {detail} Reason: {RECIPIENT} is not valid to publish to"),
        };
        fake.answer(Answer::Sns(status(row), row.code.to_owned(), message));
        let of = format!("{} {}", row.code, row.detail);
        let result = channel.send(&text_greeting()).await;
        assert_verdict(&result, row.verdict, &of);
        assert!(result.error.unwrap().contains(row.meaning), "{of}");
    }
}

#[tokio::test]
async fn no_event_dies_of_an_unknown_code() {
    let fake = FakeAws::start().await;
    let (sms, sns) = (sms(&fake, "").await, sns(&fake, "").await);
    for (status, verdict) in [
        (400, Verdict::ChannelDown),
        (429, Verdict::Throttled),
        (500, Verdict::Unknown),
        (503, Verdict::Unknown),
    ] {
        fake.answer(Answer::Sms(status, "NewException".to_owned(), String::new()));
        assert_verdict(&sms.send(&text_greeting()).await, verdict, &status.to_string());
        fake.answer(Answer::Sns(status, "NewException".to_owned(), "new".to_owned()));
        assert_verdict(&sns.send(&text_greeting()).await, verdict, &status.to_string());
    }
}

#[tokio::test]
async fn an_outcome_is_unknown_only_after_the_request_left() {
    use AttemptOutcome::{Failed, Unknown};
    let fake = FakeAws::start().await;
    let channels: [Box<dyn Channel>; 2] = [Box::new(sms(&fake, "").await), Box::new(sns(&fake, "").await)];
    for channel in &channels {
        for (answer, reason) in [
            (Answer::Hang, Reason::Timeout),
            (Answer::Reset, Reason::Broken),
            (Answer::Garbage, Reason::Broken),
        ] {
            fake.answer(answer.clone());
            let result = channel.send(&text_greeting()).await;
            let actual = (result.outcome, result.disposition, result.reason);
            assert_eq!(actual, (Unknown, Disposition::Retry(None), Some(reason)), "{answer:?}");
        }
    }
    assert_eq!(fake.bodies().len(), 6, "each request is sent once");
    fake.shut().await;
    for channel in &channels {
        let result = channel.send(&text_greeting()).await;
        let actual = (result.outcome, result.disposition, result.reason);
        assert_eq!(actual, (Failed, Disposition::Retry(None), Some(Reason::Connect)));
    }
}

#[tokio::test]
async fn without_credentials_the_channel_is_down() {
    let fake = FakeAws::start().await;
    let missing = ProfileFileCredentialsProvider::builder().profile_name("bday-no-such-profile").build();
    let missing = SharedCredentialsProvider::new(missing);
    let config = fake.config().await.into_builder().credentials_provider(missing).build();
    let sns = SnsSms::new(aws_sdk_sns::Client::new(&config), String::new());
    assert_verdict(&sns.send(&text_greeting()).await, Verdict::ChannelDown, "no credentials");
    assert!(fake.bodies().is_empty());
}

fn form(body: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn publish_names_the_sender_by_its_kind() {
    let fake = FakeAws::start().await;
    for from in ["", "Example", "+15005550006"] {
        let result = sns(&fake, from).await.send(&text_greeting()).await;
        assert_eq!(result.disposition, Disposition::Delivered);
        assert_eq!(result.provider_id.as_deref(), Some("message-1"));
    }
    let attributes: Vec<Vec<(String, String)>> = fake
        .bodies()
        .iter()
        .map(|body| {
            let form = form(body);
            let value =
                |name: &str| form.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
            assert_eq!(value("PhoneNumber").as_deref(), Some(RECIPIENT));
            assert_eq!(value("Message").as_deref(), Some("Hey"));
            let mut all: Vec<_> = (1..=3)
                .filter_map(|n| {
                    let prefix = format!("MessageAttributes.entry.{n}.");
                    let text = value(&format!("{prefix}Value.StringValue"))?;
                    Some((value(&format!("{prefix}Name"))?, text))
                })
                .collect();
            all.sort();
            all
        })
        .collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let kind = pair("AWS.SNS.SMS.SMSType", "Transactional");
    assert_eq!(
        attributes,
        [
            vec![kind.clone()],
            vec![kind.clone(), pair("AWS.SNS.SMS.SenderID", "Example")],
            vec![pair("AWS.MM.SMS.OriginationNumber", "+15005550006"), kind],
        ]
    );
}

#[test]
fn each_row_is_documented() {
    let rows = |codes: &[AwsCode]| -> Vec<String> {
        codes
            .iter()
            .map(|row| {
                let detail = if row.detail.is_empty() { String::new() } else { format!(" {}", row.detail) };
                let (effect, reason) = (row.verdict.effect(), row.verdict.reason());
                format!("| {}{detail} | {} | {effect} | `{reason}` |", row.code, row.meaning)
            })
            .collect()
    };
    assert_documented(&[rows(aws::CODES), rows(sns::CODES), rows(COMMON_CODES)].concat());
}
