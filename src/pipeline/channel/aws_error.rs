//! What an error of the AWS SDK means.

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_sns::config::http::HttpResponse;
use aws_sdk_sns::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use hyper_util::client::legacy;

use super::verdict::Verdict::{self, ChannelDown, Throttled, Unknown};
use super::{Disposition, SendResult, excerpt};
use crate::model::{AttemptOutcome, Reason};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A code of an AWS service. The first row that fits is used.
#[derive(Debug, Clone, Copy)]
pub struct AwsCode {
    /// The name of the exception.
    pub code: &'static str,
    /// The reason or the field that the exception names; empty: any.
    pub detail: &'static str,
    pub meaning: &'static str,
    pub verdict: Verdict,
}

pub(super) const fn row(
    code: &'static str,
    detail: &'static str,
    meaning: &'static str,
    verdict: Verdict,
) -> AwsCode {
    AwsCode { code, detail, meaning, verdict }
}

/// Codes that every AWS service answers with
/// (<https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>).
pub const COMMON_CODES: &[AwsCode] = &[
    row("AccessDenied", "", "not permitted by IAM", ChannelDown),
    row("AccessDeniedException", "", "not permitted by IAM", ChannelDown),
    row("ExpiredTokenException", "", "expired credentials", ChannelDown),
    row("ExpiredToken", "", "expired credentials", ChannelDown),
    row("IncompleteSignature", "", "wrong credentials", ChannelDown),
    row("InvalidClientTokenId", "", "wrong credentials", ChannelDown),
    row("InvalidSignatureException", "", "wrong credentials, or a wrong clock", ChannelDown),
    row("SignatureDoesNotMatch", "", "wrong credentials, or a wrong clock", ChannelDown),
    row("UnrecognizedClientException", "", "wrong credentials", ChannelDown),
    row("OptInRequired", "", "the account does not use the service", ChannelDown),
    row("RequestLimitExceeded", "", "too many requests", Throttled),
    row("Throttling", "", "too many requests", Throttled),
    row("ThrottlingException", "", "too many requests", Throttled),
    row("TooManyRequestsException", "", "too many requests", Throttled),
    row("InternalFailure", "", "internal error", Unknown),
    row("ServiceUnavailable", "", "service unavailable", Unknown),
];

/// Loads region, endpoint and credentials from the standard AWS environment. A request is sent once, within `timeout`.
pub async fn sdk_config(timeout: Duration) -> SdkConfig {
    sdk_config_from(aws_config::defaults(BehaviorVersion::latest()), timeout).await
}

/// As [`sdk_config`], with what `loader` already has.
pub async fn sdk_config_from(loader: ConfigLoader, timeout: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .operation_timeout(timeout)
        .operation_attempt_timeout(timeout)
        .build();
    loader
        .timeout_config(timeouts)
        // A repeat may send the message twice, so that the record stage decides about it.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .load()
        .await
}

/// `detail`: the reason or the field that the error names. `rows` take precedence over [`COMMON_CODES`].
pub(super) fn classify<E>(error: &SdkError<E, HttpResponse>, detail: &str, rows: &[AwsCode]) -> SendResult
where
    E: ProvideErrorMetadata,
{
    let unknown = |reason, text: &str| {
        SendResult::failed(AttemptOutcome::Unknown, Disposition::Retry(None), reason, text.to_owned())
    };
    match error {
        // The SDK reports an unreadable body of a success as an error of the service.
        SdkError::ServiceError(answer) if answer.raw().status().is_success() => {
            unknown(Reason::Broken, "unreadable response of AWS")
        }
        SdkError::ServiceError(refused) => {
            let status = refused.raw().status().as_u16();
            let failed = classify_code(refused.err().code(), detail, status, rows);
            let response = refused.raw().body().bytes().filter(|body| !body.is_empty()).map(excerpt);
            SendResult { status: Some(status), response, ..failed }
        }
        SdkError::TimeoutError(_) => unknown(Reason::Timeout, "no response from AWS in time"),
        SdkError::DispatchFailure(failure) => {
            match failure.as_connector_error().map_or(Connection::Broken, connection) {
                Connection::None => SendResult::failed(
                    AttemptOutcome::Failed,
                    Disposition::Retry(None),
                    Reason::Connect,
                    "no connection to AWS".to_owned(),
                ),
                Connection::Broken => unknown(Reason::Broken, "connection to AWS lost"),
                Connection::NotTried => ChannelDown.result(
                    "AWS request not sent: check region and credentials of the environment".to_owned(),
                    None,
                ),
            }
        }
        SdkError::ResponseError(_) => unknown(Reason::Broken, "unreadable response of AWS"),
        // A construction failure; the enumeration may grow.
        _ => ChannelDown.result(
            "AWS request not built: check region and credentials of the environment".to_owned(),
            None,
        ),
    }
}

/// The provider's own words are not repeated: they may hold the number.
fn classify_code(code: Option<&str>, detail: &str, status: u16, rows: &[AwsCode]) -> SendResult {
    let code = code.unwrap_or("without a code");
    let fits = |row: &&AwsCode| row.code == code && (row.detail.is_empty() || row.detail == detail);
    let Some(row) = rows.iter().chain(COMMON_CODES).find(fits) else {
        // No event dies of a code that is not in the tables.
        let verdict = match status {
            429 => Throttled,
            500.. => Unknown,
            _ => ChannelDown,
        };
        return verdict.result(format!("AWS error {} with status {status}", excerpt(code.as_bytes())), None);
    };
    let detail = if row.detail.is_empty() { String::new() } else { format!(" ({})", row.detail) };
    row.verdict.result(format!("AWS error {code}{detail}: {}", row.meaning), None)
}

enum Connection {
    /// Connecting failed: nothing was sent.
    None,
    /// It broke after the request may have been sent.
    Broken,
    /// The request was not sent, for example without credentials.
    NotTried,
}

/// The SDK sets no timeout of a dispatch but that of connecting.
fn connection(error: &ConnectorError) -> Connection {
    let mut chain = std::iter::successors(error.source(), |&cause| cause.source());
    let client_error = chain.find_map(|cause| cause.downcast_ref::<legacy::Error>());
    match client_error {
        _ if error.is_timeout() => Connection::None,
        Some(client_error) if client_error.is_connect() => Connection::None,
        None if error.is_user() || error.is_other() => Connection::NotTried,
        _ => Connection::Broken,
    }
}
