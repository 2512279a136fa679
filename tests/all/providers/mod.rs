//! Channels against servers and emulators that others wrote. `make providers-test` starts them.
//!
//! The daemon sends mail to Postfix, to `MailDev` and to moto (SES). The channels alone send SMS to moto (SNS), and SMS and `WhatsApp` to
//! Prism with Twilio's API description.

mod daemon;

use std::collections::BTreeMap;

use bday::config::twilio::parse_twilio_url;
use bday::pipeline::channel::sms::TwilioSms;
use bday::pipeline::channel::sms::sns::SnsSms;
use bday::pipeline::channel::twilio::Twilio;
use bday::pipeline::channel::verdict::Verdict;
use bday::pipeline::channel::whatsapp::Whatsapp;
use bday::pipeline::channel::{Channel as _, ContentTemplate, Disposition, Greeting, Message, Recipient};
use tokio::sync::watch;

use crate::sms_twilio::assert_verdict;
use crate::support::aws_sms::config_for;
use crate::support::twilio::{ENCODED_TOKEN, RECIPIENT, SENDER, SERVICE, SID, client_with, text_greeting};

fn endpoint(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run make providers-test"))
}

#[tokio::test]
#[ignore = "make providers-test"]
async fn moto_accepts_a_message_and_refuses_a_wrong_number() {
    let moto = endpoint("BDAY_TEST_MOTO");
    let config = config_for(&moto).await;
    let sns = SnsSms::new(aws_sdk_sns::Client::new(&config), "Example".to_owned());
    let result = sns.send(&text_greeting()).await;
    assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
    assert_eq!(result.provider_id.unwrap().len(), 36);
    let kept = reqwest::get(format!("{moto}/moto-api/data.json")).await.unwrap().text().await.unwrap();
    assert!(kept.contains(RECIPIENT), "{kept}");
    let recipient = Recipient { address: "no number".to_owned(), address_hash: vec![7; 32] };
    let result = sns.send(&Greeting { recipient: Some(recipient), ..text_greeting() }).await;
    assert_verdict(&result, Verdict::Rejected, "no number");
    assert!(result.error.unwrap().contains("InvalidParameter"));
}

fn twilio(from: &str) -> Twilio {
    let server = endpoint("BDAY_TEST_PRISM");
    let account = parse_twilio_url(&format!("twilio+http://{SID}:{ENCODED_TOKEN}@{server}")).unwrap();
    client_with(from, watch::channel(account).1, Some("https://bday.example.org"))
}

#[tokio::test]
#[ignore = "make providers-test"]
async fn messages_are_as_twilios_description_requires() {
    for from in [SENDER, SERVICE] {
        let result = TwilioSms::new(twilio(from)).send(&text_greeting()).await;
        assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
        assert!(result.provider_id.unwrap().starts_with("SM"));
    }
    for (sid, is_valid) in [("HXaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true), ("HX-none", false)] {
        let variables = BTreeMap::from([("1".to_owned(), "Zoë".to_owned())]);
        let content = Some(ContentTemplate { sid: sid.to_owned(), variables });
        let greeting =
            Greeting { message: Message { content, ..Message::of_text("Hey") }, ..text_greeting() };
        let result = Whatsapp::new(twilio(SENDER)).send(&greeting).await;
        assert_eq!(result.disposition == Disposition::Delivered, is_valid, "{result:?}");
    }
}
