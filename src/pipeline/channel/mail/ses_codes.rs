//! What an error of Amazon SES means: a table, which the code, the tests and the documentation share.
//!
//! Codes: API reference of SES v2, `SendEmail`, and its common errors.

use std::time::Duration;

use crate::model::{AttemptOutcome, Reason};
use crate::pipeline::channel::Disposition;

/// How long to wait when the daily quota is used up: it is freed bit by bit, over 24 hours.
const QUOTA_WAIT: Duration = Duration::from_mins(10);

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SesRow {
    /// Without the suffix `Exception`. Empty: any code.
    pub code: &'static str,
    /// A part of the error's text, in lower case. Empty: any text.
    pub text: &'static str,
    /// The first digit of the HTTP status; 0: any status.
    pub class: u16,
    pub meaning: &'static str,
    pub outcome: AttemptOutcome,
    pub disposition: Disposition,
    pub reason: Reason,
}

type Answer = (AttemptOutcome, Disposition, Reason);

const THROTTLED: Answer = (AttemptOutcome::Failed, Disposition::Defer(None), Reason::Throttled);
const QUOTA: Answer = (AttemptOutcome::Failed, Disposition::Defer(Some(QUOTA_WAIT)), Reason::Throttled);
const CHANNEL_DOWN: Answer = (AttemptOutcome::Failed, Disposition::Defer(None), Reason::ChannelDown);
const REJECTED: Answer = (AttemptOutcome::Failed, Disposition::Dead, Reason::Rejected);
const RETRY: Answer = (AttemptOutcome::Failed, Disposition::Retry(None), Reason::Status);
const UNKNOWN: Answer = (AttemptOutcome::Unknown, Disposition::Retry(None), Reason::Status);

const fn row(
    code: &'static str,
    text: &'static str,
    (outcome, disposition, reason): Answer,
    meaning: &'static str,
) -> SesRow {
    SesRow { code, text, class: 0, meaning, outcome, disposition, reason }
}

/// The first row that matches applies.
pub const SES_ROWS: &[SesRow] = &[
    row("AccountSuspended", "", CHANNEL_DOWN, "the account may not send any more"),
    row("SendingPaused", "", CHANNEL_DOWN, "sending is paused for the account or the configuration set"),
    row("MailFromDomainNotVerified", "", CHANNEL_DOWN, "the sender's domain is not verified"),
    row(
        "MessageRejected",
        "not verified",
        CHANNEL_DOWN,
        "the sender is not verified; in the sandbox, the recipient",
    ),
    row("MessageRejected", "paused", CHANNEL_DOWN, "sending is paused for the account"),
    row("MessageRejected", "", REJECTED, "the content is not accepted"),
    row("BadRequest", "", REJECTED, "the request is invalid, for example its address"),
    row("NotFound", "", CHANNEL_DOWN, "the configuration set does not exist"),
    row("LimitExceeded", "quota", QUOTA, "the daily quota is used up"),
    row("LimitExceeded", "", THROTTLED, "a limit is exceeded"),
    row("TooManyRequests", "quota", QUOTA, "the daily quota is used up"),
    row("TooManyRequests", "", THROTTLED, "too many messages per second"),
    row("Throttling", "quota", QUOTA, "the daily quota is used up"),
    row("Throttling", "", THROTTLED, "too many messages per second"),
    row("AccessDenied", "", CHANNEL_DOWN, "the role may not call ses:SendEmail"),
    row("NotAuthorized", "", CHANNEL_DOWN, "the role may not call ses:SendEmail"),
    row("OptInRequired", "", CHANNEL_DOWN, "the account is not activated for SES"),
    row("UnrecognizedClient", "", CHANNEL_DOWN, "the access key is unknown"),
    row("InvalidClientTokenId", "", CHANNEL_DOWN, "the access key is unknown"),
    row("MissingAuthenticationToken", "", CHANNEL_DOWN, "the request has no credentials"),
    row("IncompleteSignature", "", CHANNEL_DOWN, "the credentials are incomplete"),
    row("InvalidSignature", "", CHANNEL_DOWN, "the secret key is wrong, or the clock is"),
    row("SignatureDoesNotMatch", "", CHANNEL_DOWN, "the secret key is wrong, or the clock is"),
    row("RequestExpired", "", CHANNEL_DOWN, "the clock is wrong"),
    row("ExpiredToken", "", CHANNEL_DOWN, "the session has expired"),
    row("ServiceUnavailable", "", RETRY, "SES is not available"),
    row("InternalFailure", "", UNKNOWN, "an error of SES, which may have accepted the message"),
    row("InternalServerError", "", UNKNOWN, "an error of SES, which may have accepted the message"),
    SesRow {
        class: 5,
        ..row("", "", UNKNOWN, "an unknown error of SES, which may have accepted the message")
    },
    row("", "", RETRY, "an unknown error"),
];

/// Applies if the table had no last row.
const OTHER: SesRow = row("", "", RETRY, "an unknown error");

impl SesRow {
    #[must_use]
    pub fn of(status: u16, code: &str, text: &str) -> &'static Self {
        let code = code.strip_suffix("Exception").unwrap_or(code);
        let text = text.to_lowercase();
        let matches = |row: &&Self| {
            (row.code.is_empty() || row.code == code)
                && text.contains(row.text)
                && (row.class == 0 || row.class == status / 100)
        };
        SES_ROWS.iter().find(matches).unwrap_or(&OTHER)
    }
}
