//! Amazon SES v2, `SendEmail`.
//!
//! SES replaces the Message-ID, so the event's id is a tag: the events of the configuration set repeat it.

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::error::{BuildError, ProvideErrorMetadata as _, SdkError};
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::operation::send_email::builders::SendEmailFluentBuilder;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageHeader, MessageTag};
use hyper_util::client::legacy::Error as LegacyError;
use tokio::sync::OnceCell;

use super::compose::{MailSender, extra_headers, subject};
use super::ses_codes::SesRow;
use crate::model::{AttemptOutcome, Reason};
use crate::pipeline::channel::{Disposition, Greeting, SendResult, excerpt};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The tag with the event's id.
pub const EVENT_TAG: &str = "bday-event";

type SendError = SdkError<SendEmailError>;

#[derive(Debug)]
pub(super) struct SesClient {
    client: OnceCell<Client>,
    configuration_set: String,
    timeout: Duration,
}

impl SesClient {
    /// `client`: none for one from the usual AWS variables.
    pub(super) fn new(client: Option<Client>, configuration_set: String, timeout: Duration) -> Self {
        Self { client: OnceCell::new_with(client), configuration_set, timeout }
    }

    pub(super) async fn client(&self) -> &Client {
        let connect = async || {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT.min(self.timeout))
                .operation_timeout(self.timeout)
                .build();
            let shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
                // The record stage retries. The SDK would also repeat requests that SES may have accepted.
                .retry_config(RetryConfig::disabled())
                .timeout_config(timeouts)
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                .load()
                .await;
            Client::new(&shared)
        };
        self.client.get_or_init(connect).await
    }

    pub(super) async fn send(&self, sender: &MailSender, to: &str, greeting: &Greeting) -> SendResult {
        let call = match self.call(sender, to, greeting).await {
            Ok(call) => call,
            Err(error) => {
                let text = format!("the request to SES cannot be built: {error}");
                return SendResult::failed(AttemptOutcome::Failed, Disposition::Dead, Reason::Rejected, text);
            }
        };
        // The SDK's own timeout does not include the credentials.
        match tokio::time::timeout(self.timeout + Duration::from_secs(1), call.send()).await {
            Ok(Ok(accepted)) => {
                let provider_id = accepted.message_id().map(ToOwned::to_owned);
                SendResult { provider_id, ..SendResult::delivered(200) }
            }
            Ok(Err(error)) => classify(&error),
            Err(_) => timed_out(),
        }
    }

    async fn call(
        &self,
        sender: &MailSender,
        to: &str,
        greeting: &Greeting,
    ) -> Result<SendEmailFluentBuilder, BuildError> {
        let message = &greeting.message;
        let html = message.html.as_deref().map(utf8).transpose()?;
        let body = Body::builder().text(utf8(&message.text)?).set_html(html).build();
        let mut content = Message::builder().subject(utf8(&subject(greeting))?).body(body);
        for (name, value) in extra_headers(greeting) {
            content = content.headers(MessageHeader::builder().name(name).value(value).build()?);
        }
        let tag = MessageTag::builder().name(EVENT_TAG).value(greeting.event_id.to_string()).build()?;
        let set = Some(self.configuration_set.clone()).filter(|set| !set.is_empty());
        let call = self.client().await.send_email();
        Ok(call
            .from_email_address(header_text(&sender.from))
            .set_reply_to_addresses(sender.reply_to.as_ref().map(|reply_to| vec![header_text(reply_to)]))
            .destination(Destination::builder().to_addresses(to).build())
            .content(EmailContent::builder().simple(content.build()).build())
            .email_tags(tag)
            .set_configuration_set_name(set))
    }
}

fn utf8(text: &str) -> Result<Content, BuildError> {
    Content::builder().data(text).charset("UTF-8").build()
}

/// Returns a mailbox as in a header. SES requires names in ASCII: others are encoded (RFC 2047).
fn header_text(mailbox: &lettre::message::Mailbox) -> String {
    let message =
        lettre::message::header::From::from(lettre::message::Mailboxes::new().with(mailbox.clone()));
    let mut headers = lettre::message::header::Headers::new();
    headers.set(message);
    let line = headers.to_string();
    let value = line.strip_prefix("From: ").unwrap_or(&line);
    value.replace("\r\n", "")
}

fn classify(error: &SendError) -> SendResult {
    match error {
        SdkError::ServiceError(refused) => {
            let status = refused.raw().status().as_u16();
            let code = refused.err().code().unwrap_or_default();
            let text = refused.err().message().unwrap_or_default();
            let row = SesRow::of(status, code, text);
            let error = format!("SES answered {status} {}: {}", excerpt(code.as_bytes()), row.meaning);
            let failed = SendResult::failed(row.outcome, row.disposition, row.reason, error);
            let response = (!text.is_empty()).then(|| excerpt(text.as_bytes()));
            SendResult { status: Some(status), response, ..failed }
        }
        SdkError::TimeoutError(_) => timed_out(),
        SdkError::DispatchFailure(failure) => dispatch_failure(error, failure.is_timeout()),
        SdkError::ResponseError(_) => broken(error),
        _ => not_sent(error),
    }
}

fn dispatch_failure(error: &SendError, is_connect_timeout: bool) -> SendResult {
    let refused = find::<LegacyError>(error).is_some_and(LegacyError::is_connect);
    if is_connect_timeout || refused {
        let text = format!("no connection to SES: {}", root_cause(error));
        let (outcome, disposition) = (AttemptOutcome::Failed, Disposition::Retry(None));
        return SendResult::failed(outcome, disposition, Reason::Connect, text);
    }
    if find::<hyper::Error>(error).is_some() || find::<std::io::Error>(error).is_some() {
        return broken(error);
    }
    not_sent(error)
}

/// Without credentials or a region, there is no request.
fn not_sent(error: &SendError) -> SendResult {
    let text = format!("SES was not called: {}; check the AWS variables and the role", root_cause(error));
    let (outcome, disposition) = (AttemptOutcome::Failed, Disposition::Defer(None));
    SendResult::failed(outcome, disposition, Reason::ChannelDown, text)
}

fn broken(error: &SendError) -> SendResult {
    let text = format!("connection to SES lost: {}", root_cause(error));
    let (outcome, disposition) = (AttemptOutcome::Unknown, Disposition::Retry(None));
    SendResult::failed(outcome, disposition, Reason::Broken, text)
}

fn timed_out() -> SendResult {
    let text = "no response of SES within channels.mail.timeout_secs".to_owned();
    let (outcome, disposition) = (AttemptOutcome::Unknown, Disposition::Retry(None));
    SendResult::failed(outcome, disposition, Reason::Timeout, text)
}

fn find<E: Error + 'static>(error: &SendError) -> Option<&E> {
    std::iter::successors(error.source(), |&cause| cause.source()).find_map(|cause| cause.downcast_ref())
}

fn root_cause(error: &SendError) -> String {
    let last = std::iter::successors(error.source(), |&cause| cause.source()).last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}
