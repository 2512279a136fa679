//! SMS by Amazon SNS (`Publish` to a number).
//!
//! SNS accepts messages to persons who opted out, and does not send them: `aws:` reports an opt-out, `sns:` does not.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{BuildError, ProvideErrorMetadata as _};
use aws_sdk_sns::types::MessageAttributeValue;

use super::super::aws_error::{AwsCode, classify, row, sdk_config};
use super::super::verdict::Verdict::{self, ChannelDown, OptedOut, Rejected, Throttled, Unknown};
use super::super::{Channel, Greeting, SendResult};

const SMS_TYPE: &str = "AWS.SNS.SMS.SMSType";
const SENDER_ID: &str = "AWS.SNS.SMS.SenderID";
const ORIGINATION_NUMBER: &str = "AWS.MM.SMS.OriginationNumber";
/// The parameter that the message of an `InvalidParameter` names.
const RECIPIENT_PARAMETER: &str = "PhoneNumber";

/// <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>
pub const CODES: &[AwsCode] = &[
    row("OptedOut", "", "the person opted out (STOP)", OptedOut),
    // Regions without SMS give the same answer for every number, so it does not prove that the contact is invalid.
    row("InvalidParameter", RECIPIENT_PARAMETER, "invalid recipient, or a region without SMS", Rejected),
    row("InvalidParameter", "", "another error of this message", Rejected),
    row("ParameterValueInvalid", "", "another error of this message", Rejected),
    row("ValidationException", "", "another error of this message", Rejected),
    row("AuthorizationError", "", "not permitted by IAM", ChannelDown),
    row("InvalidSecurity", "", "wrong credentials", ChannelDown),
    row("KMSAccessDenied", "", "the encryption key cannot be used", ChannelDown),
    row("KMSDisabled", "", "the encryption key cannot be used", ChannelDown),
    row("KMSInvalidState", "", "the encryption key cannot be used", ChannelDown),
    row("KMSNotFound", "", "the encryption key cannot be used", ChannelDown),
    row("KMSOptInRequired", "", "the encryption key cannot be used", ChannelDown),
    row("KMSThrottling", "", "too many requests", Throttled),
    row("Throttled", "", "too many requests", Throttled),
    row("InternalError", "", "internal error", Unknown),
];

#[derive(Debug)]
pub struct SnsSms {
    client: Client,
    /// A number or a sender id. Empty: SNS chooses.
    from: String,
}

impl SnsSms {
    /// `timeout` applies to a request.
    pub async fn connect(from: String, timeout: Duration) -> Self {
        Self::new(Client::new(&sdk_config(timeout).await), from)
    }

    #[must_use]
    pub fn new(client: Client, from: String) -> Self {
        Self { client, from }
    }
}

#[async_trait]
impl Channel for SnsSms {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        let Some(recipient) = &greeting.recipient else {
            return Verdict::Rejected.result("the greeting has no telephone number".to_owned(), None);
        };
        let mut call = self.client.publish().phone_number(&recipient.address).message(&greeting.message.text);
        let sender = if self.from.starts_with('+') { ORIGINATION_NUMBER } else { SENDER_ID };
        for (name, value) in [(SMS_TYPE, "Transactional"), (sender, &self.from)] {
            // Fails only without a type.
            if let (false, Ok(value)) = (value.is_empty(), attribute(value)) {
                call = call.message_attributes(name, value);
            }
        }
        match call.send().await {
            Ok(accepted) => SendResult { provider_id: accepted.message_id, ..SendResult::delivered(200) },
            Err(error) => {
                let names_recipient =
                    error.message().is_some_and(|message| message.contains(RECIPIENT_PARAMETER));
                classify(&error, if names_recipient { RECIPIENT_PARAMETER } else { "" }, CODES)
            }
        }
    }
}

fn attribute(value: &str) -> Result<MessageAttributeValue, BuildError> {
    MessageAttributeValue::builder().data_type("String").string_value(value).build()
}
