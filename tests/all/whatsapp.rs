//! `WhatsApp` by Twilio.

use std::collections::BTreeMap;

use bday::pipeline::channel::verdict::Verdict;
use bday::pipeline::channel::whatsapp::Whatsapp;
use bday::pipeline::channel::{Channel as _, ContentTemplate, Disposition, Greeting, Message};
use serde_json::{Value, json};

use crate::sms_twilio::assert_verdict;
use crate::support::twilio::{Answer, FakeTwilio, RECIPIENT, SENDER, SERVICE, field, text_greeting};

const TEMPLATE: &str = "HXaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn with_content(variables: &[(&str, &str)]) -> Greeting {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let content = Some(ContentTemplate { sid: TEMPLATE.to_owned(), variables });
    Greeting { message: Message { content, ..Message::of_text("Hey") }, ..text_greeting() }
}

#[tokio::test]
async fn a_content_template_and_its_variables_replace_the_text() {
    let twilio = FakeTwilio::start().await;
    let whatsapp = Whatsapp::new(twilio.client(SENDER));
    let name = "Zoë \"Z\" & Co \\ {{1}}";
    let result = whatsapp.send(&with_content(&[("1", name), ("years", "30")])).await;
    assert_eq!(result.disposition, Disposition::Delivered);
    let [form] = &twilio.messages()[..] else { panic!("not one message") };
    assert_eq!(field(form, "To"), format!("whatsapp:{RECIPIENT}"));
    assert_eq!(field(form, "From"), format!("whatsapp:{SENDER}"));
    assert_eq!((field(form, "ContentSid"), field(form, "Body")), (TEMPLATE, ""));
    let variables: Value = serde_json::from_str(field(form, "ContentVariables")).unwrap();
    assert_eq!(variables, json!({ "1": name, "years": "30" }));
}

#[tokio::test]
async fn a_template_without_variables_has_none() {
    let twilio = FakeTwilio::start().await;
    Whatsapp::new(twilio.client(SERVICE)).send(&with_content(&[])).await;
    let [form] = &twilio.messages()[..] else { panic!("not one message") };
    assert_eq!((field(form, "ContentSid"), field(form, "ContentVariables")), (TEMPLATE, ""));
    assert_eq!(field(form, "MessagingServiceSid"), SERVICE);
}

#[tokio::test]
async fn without_a_template_the_text_is_sent() {
    let twilio = FakeTwilio::start().await;
    let whatsapp = Whatsapp::new(twilio.client(SENDER));
    assert_eq!(whatsapp.send(&text_greeting()).await.disposition, Disposition::Delivered);
    assert_eq!(field(&twilio.messages()[0], "Body"), "Hey");
    // WhatsApp accepts free text only within 24 hours after a message of the person: the configuration is at fault.
    twilio.next(Answer::Refuse { status: 400, code: 63016 });
    assert_verdict(&whatsapp.send(&text_greeting()).await, Verdict::ChannelDown, "63016");
}
