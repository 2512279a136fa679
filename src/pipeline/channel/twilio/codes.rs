//! Twilio's error codes (<https://www.twilio.com/docs/api/errors>). The code and the tests read the same rows.

use super::super::verdict::Verdict::{self, Bounced, ChannelDown, OptedOut, Rejected, Throttled, Unknown};
use crate::model::FeedbackType;

/// A code in the answer to a request.
#[derive(Debug, Clone, Copy)]
pub struct TwilioCode {
    pub code: u32,
    pub meaning: &'static str,
    pub verdict: Verdict,
}

/// A status of HTTP, for answers whose code has no row.
#[derive(Debug, Clone, Copy)]
pub struct TwilioStatus {
    pub status: u16,
    pub meaning: &'static str,
    pub verdict: Verdict,
}

/// A code in a status callback.
#[derive(Debug, Clone, Copy)]
pub struct CallbackCode {
    pub code: u32,
    pub meaning: &'static str,
    pub feedback: FeedbackType,
}

const fn code(code: u32, meaning: &'static str, verdict: Verdict) -> TwilioCode {
    TwilioCode { code, meaning, verdict }
}

const fn callback(code: u32, meaning: &'static str, feedback: FeedbackType) -> CallbackCode {
    CallbackCode { code, meaning, feedback }
}

const fn status(status: u16, meaning: &'static str, verdict: Verdict) -> TwilioStatus {
    TwilioStatus { status, meaning, verdict }
}

pub const CODES: &[TwilioCode] = &[
    code(20003, "authentication failed", ChannelDown),
    code(20005, "the account is not active", ChannelDown),
    code(20008, "test credentials", ChannelDown),
    code(20404, "the account does not exist", ChannelDown),
    code(20429, "too many requests; not processed", Throttled),
    code(20500, "internal error", Unknown),
    code(20503, "service unavailable", Unknown),
    code(21211, "invalid recipient", Bounced),
    code(21212, "invalid sender", ChannelDown),
    code(21217, "the number does not exist", Bounced),
    code(21265, "the recipient is a short code", Bounced),
    code(21266, "sender and recipient are the same", Rejected),
    code(21267, "trial accounts cannot use a sender id", ChannelDown),
    code(21268, "the recipient is a premium number", Bounced),
    code(21408, "the region is not enabled for the account", ChannelDown),
    code(21602, "the message is empty", Rejected),
    code(21603, "no sender", ChannelDown),
    code(21605, "the message is too long", Rejected),
    code(21606, "the sender does not belong to the account or cannot send SMS", ChannelDown),
    code(21608, "trial accounts send to verified numbers only", ChannelDown),
    code(21610, "the person opted out (STOP)", OptedOut),
    code(21611, "the queue of the sender is full", Throttled),
    code(21612, "the sender cannot reach this recipient", Rejected),
    code(21614, "the recipient is not a mobile number", Bounced),
    code(21617, "the message is longer than 1,600 characters", Rejected),
    code(21619, "the message has no text and no template", Rejected),
    code(21635, "the recipient is a landline", Bounced),
    code(21655, "the content template is invalid", ChannelDown),
    code(21656, "the variables of the content template are invalid", Rejected),
    code(21659, "the sender is not a number of Twilio", ChannelDown),
    code(21660, "the sender belongs to another account", ChannelDown),
    code(21661, "the sender cannot send SMS", ChannelDown),
    code(21703, "the messaging service has no sender", ChannelDown),
    code(21705, "the messaging service does not exist", ChannelDown),
    code(30002, "the account is suspended", ChannelDown),
    code(63003, "the recipient does not use WhatsApp", Bounced),
    code(63007, "the sender is not registered with WhatsApp", ChannelDown),
    code(63014, "the person blocked the sender or opted out", OptedOut),
    code(63015, "the WhatsApp sandbox sends to numbers that joined it only", ChannelDown),
    code(63016, "without a content template, outside 24 hours after a message of the person", ChannelDown),
    code(63018, "too many requests to WhatsApp", Throttled),
    code(63021, "the content of the template is invalid", Rejected),
    code(63024, "the recipient cannot receive WhatsApp messages", Bounced),
    code(63051, "the WhatsApp account is restricted", ChannelDown),
];

/// A code without a row is decided by the status of HTTP. The last row is for all other statuses.
pub const STATUSES: &[TwilioStatus] = &[
    status(400, "another error of this message", Rejected),
    status(401, "wrong credentials", ChannelDown),
    status(403, "not permitted", ChannelDown),
    status(404, "not found", ChannelDown),
    status(429, "too many requests; not processed", Throttled),
    status(500, "server error", Unknown),
    status(502, "server error", Unknown),
    status(503, "server error", Unknown),
    status(504, "server error", Unknown),
    status(0, "another status", ChannelDown),
];

/// Codes that come after Twilio accepted a message. A code without a row is stored as `failed`.
pub const CALLBACK_CODES: &[CallbackCode] = &[
    callback(21211, "invalid recipient", FeedbackType::Bounced),
    callback(21610, "the person opted out (STOP)", FeedbackType::OptedOut),
    callback(21614, "the recipient is not a mobile number", FeedbackType::Bounced),
    callback(30003, "the telephone is off or out of reach", FeedbackType::Failed),
    callback(30004, "blocked by the carrier or on the telephone", FeedbackType::Failed),
    callback(30005, "unknown or inactive number", FeedbackType::Bounced),
    callback(30006, "a landline, or a carrier that cannot be reached", FeedbackType::Bounced),
    callback(30007, "filtered by the carrier", FeedbackType::Failed),
    callback(30008, "unknown error of the carrier", FeedbackType::Failed),
    callback(63003, "the recipient does not use WhatsApp", FeedbackType::Bounced),
    callback(63013, "rejected by the rules of WhatsApp", FeedbackType::Failed),
    callback(63014, "the person blocked the sender or opted out", FeedbackType::OptedOut),
    callback(
        63016,
        "without a content template, outside 24 hours after a message of the person",
        FeedbackType::Failed,
    ),
    callback(63024, "the recipient cannot receive WhatsApp messages", FeedbackType::Bounced),
    callback(63049, "WhatsApp did not deliver a marketing message", FeedbackType::Failed),
];

/// Returns the row of `code`, if it has one.
pub(super) fn of_code(code: u32) -> Option<&'static TwilioCode> {
    CODES.iter().find(|row| row.code == code)
}

/// Returns the row of `status`, or the one for all others. Every 5xx is a server error.
pub(super) fn of_status(status: u16) -> &'static TwilioStatus {
    let known = if (500..600).contains(&status) { 500 } else { status };
    STATUSES.iter().find(|row| row.status == known).unwrap_or(&STATUSES[STATUSES.len() - 1])
}

/// Returns what the callback of an undelivered message means.
#[must_use]
pub fn of_callback(code: Option<u32>) -> FeedbackType {
    let row = CALLBACK_CODES.iter().find(|row| Some(row.code) == code);
    row.map_or(FeedbackType::Failed, |row| row.feedback)
}
