//! SMS by AWS End User Messaging (`SendTextMessage`).

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_pinpointsmsvoicev2::Client;
use aws_sdk_pinpointsmsvoicev2::error::SdkError;
use aws_sdk_pinpointsmsvoicev2::operation::send_text_message::SendTextMessageError;
use aws_sdk_pinpointsmsvoicev2::types::error::ValidationException;
use aws_sdk_pinpointsmsvoicev2::types::{
    AccessDeniedExceptionReason, ConflictExceptionReason, MessageType, ServiceQuotaExceededExceptionReason,
    ValidationExceptionReason,
};

use super::super::aws_error::{AwsCode, classify, row, sdk_config};
use super::super::verdict::Verdict::{self, Bounced, ChannelDown, OptedOut, Rejected, Throttled, Unknown};
use super::super::{Channel, Greeting, SendResult};

/// How long AWS tries to hand a message on: a greeting that arrives on the next day is worse than none.
const TIME_TO_LIVE_SECS: i32 = 12 * 3600;
/// The key of the event id in the events of a configuration set.
const CONTEXT_EVENT: &str = "bday-event";
/// The field that a `ValidationException` names.
const RECIPIENT_FIELD: &str = "DestinationPhoneNumber";

const CONFLICT: &str = "ConflictException";
const VALIDATION: &str = "ValidationException";
const QUOTA: &str = "ServiceQuotaExceededException";

/// <https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html>
pub const CODES: &[AwsCode] = &[
    row(CONFLICT, "DESTINATION_PHONE_NUMBER_OPTED_OUT", "the person opted out (STOP)", OptedOut),
    row(
        CONFLICT,
        "DESTINATION_PHONE_NUMBER_NOT_VERIFIED",
        "the account is in the sandbox, which sends to verified numbers only",
        ChannelDown,
    ),
    row(
        CONFLICT,
        "DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROTECT_NUMBER_OVERRIDE",
        "the protect configuration blocks the number",
        Rejected,
    ),
    row(
        CONFLICT,
        "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION",
        "the protect configuration blocks the country",
        Rejected,
    ),
    row(CONFLICT, "", "the sender is missing, inactive or not registered", ChannelDown),
    row(VALIDATION, RECIPIENT_FIELD, "invalid recipient", Bounced),
    row(VALIDATION, "DESTINATION_COUNTRY_BLOCKED", "the account blocks the country", Rejected),
    row(VALIDATION, "COUNTRY_NOT_ENABLED", "the account does not enable the country", Rejected),
    row(
        VALIDATION,
        "INVALID_IDENTITY_FOR_DESTINATION_COUNTRY",
        "the sender cannot reach this country",
        Rejected,
    ),
    row(VALIDATION, "INTERNATIONAL_SENDING_NOT_SUPPORTED", "the sender cannot reach this country", Rejected),
    row(VALIDATION, "SENDER_ID_NOT_SUPPORTED", "the country does not permit sender ids", Rejected),
    row(VALIDATION, "SENDER_ID_NOT_REGISTERED", "the sender id is not registered", ChannelDown),
    row(VALIDATION, "SENDER_ID_REQUIRES_REGISTRATION", "the sender id is not registered", ChannelDown),
    row(VALIDATION, "PRICE_OVER_THRESHOLD", "the price limit is too low", Rejected),
    row(VALIDATION, "", "another error of this message", Rejected),
    row("AccessDeniedException", "ACCOUNT_DISABLED", "the account is disabled", ChannelDown),
    row(
        "AccessDeniedException",
        "INSUFFICIENT_ACCOUNT_REPUTATION",
        "the reputation of the account is too low",
        ChannelDown,
    ),
    row("ResourceNotFoundException", "", "the sender does not exist", ChannelDown),
    row(QUOTA, "DAILY_DESTINATION_CALL_LIMIT", "too many messages to this number today", Throttled),
    row(QUOTA, "", "the spend limit or a quota is used up", ChannelDown),
    row("InternalServerException", "", "internal error", Unknown),
];

#[derive(Debug)]
pub struct AwsSms {
    client: Client,
    /// A number, a sender id, the id of a pool, or an ARN. Empty: AWS chooses.
    from: String,
}

impl AwsSms {
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
impl Channel for AwsSms {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        let Some(recipient) = &greeting.recipient else {
            return Verdict::Rejected.result("the greeting has no telephone number".to_owned(), None);
        };
        let sent = self
            .client
            .send_text_message()
            .destination_phone_number(&recipient.address)
            .set_origination_identity((!self.from.is_empty()).then(|| self.from.clone()))
            .message_body(&greeting.message.text)
            .message_type(MessageType::Transactional)
            .time_to_live(TIME_TO_LIVE_SECS)
            .context(CONTEXT_EVENT, greeting.event_id.to_string())
            .send()
            .await;
        match sent {
            Ok(accepted) => SendResult { provider_id: accepted.message_id, ..SendResult::delivered(200) },
            Err(error) => classify(&error, detail(&error), CODES),
        }
    }
}

/// Returns the reason or the field that the error names.
fn detail<R>(error: &SdkError<SendTextMessageError, R>) -> &str {
    use SendTextMessageError as E;
    let reason = match error.as_service_error() {
        Some(E::ConflictException(error)) => error.reason().map(ConflictExceptionReason::as_str),
        Some(E::AccessDeniedException(error)) => error.reason().map(AccessDeniedExceptionReason::as_str),
        Some(E::ServiceQuotaExceededException(error)) => {
            error.reason().map(ServiceQuotaExceededExceptionReason::as_str)
        }
        Some(E::ValidationException(error)) => validation_detail(error),
        _ => None,
    };
    reason.unwrap_or_default()
}

fn validation_detail(error: &ValidationException) -> Option<&str> {
    let names_recipient = error.fields().iter().any(|field| field.name() == RECIPIENT_FIELD);
    if names_recipient {
        Some(RECIPIENT_FIELD)
    } else {
        error.reason().map(ValidationExceptionReason::as_str)
    }
}
