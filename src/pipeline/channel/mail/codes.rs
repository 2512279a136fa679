//! What a reply of an SMTP server means: a table, which the code, the tests and the documentation share.
//!
//! A reply has a code (RFC 5321 section 4.2) and often an enhanced code (RFC 3463). The first row that matches applies.

use crate::model::{ContactStatus, Reason};
use crate::pipeline::channel::Disposition;

/// How far a conversation was when the reply arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Greeting, EHLO and STARTTLS.
    Connect,
    Auth,
    /// MAIL FROM: the reply concerns the sender.
    Mail,
    /// RCPT TO: the reply concerns the recipient.
    Rcpt,
    /// DATA and the message.
    Data,
}

impl Phase {
    pub const ALL: [Self; 5] = [Self::Connect, Self::Auth, Self::Mail, Self::Rcpt, Self::Data];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpRow {
    /// Empty: all.
    pub phases: &'static [Phase],
    /// Three digits; `x` is any digit.
    pub code: &'static str,
    /// The enhanced code; `x` is any number. `none`: the reply has none. Empty: any or none.
    pub enhanced: &'static str,
    pub meaning: &'static str,
    pub disposition: Disposition,
    pub reason: Reason,
}

const THROTTLED: (Disposition, Reason) = (Disposition::Defer(None), Reason::Throttled);
const CHANNEL_DOWN: (Disposition, Reason) = (Disposition::Defer(None), Reason::ChannelDown);
const RETRY: (Disposition, Reason) = (Disposition::Retry(None), Reason::Status);
const BOUNCED: (Disposition, Reason) = (Disposition::Unreachable(ContactStatus::Bounced), Reason::Bounced);
const REJECTED: (Disposition, Reason) = (Disposition::Dead, Reason::Rejected);

const CONNECT: &[Phase] = &[Phase::Connect];
const AUTH: &[Phase] = &[Phase::Auth];
const MAIL: &[Phase] = &[Phase::Mail];
const RCPT: &[Phase] = &[Phase::Rcpt];
const DATA: &[Phase] = &[Phase::Data];
const RCPT_DATA: &[Phase] = &[Phase::Rcpt, Phase::Data];

const fn row(
    phases: &'static [Phase],
    code: &'static str,
    enhanced: &'static str,
    (disposition, reason): (Disposition, Reason),
    meaning: &'static str,
) -> SmtpRow {
    SmtpRow { phases, code, enhanced, meaning, disposition, reason }
}

pub const SMTP_ROWS: &[SmtpRow] = &[
    row(&[], "421", "", THROTTLED, "the server closes the connection: overloaded, or too many connections"),
    row(CONNECT, "xxx", "", CHANNEL_DOWN, "the server refuses this client, or STARTTLS fails"),
    row(AUTH, "xxx", "", CHANNEL_DOWN, "the server does not accept user and password"),
    row(&[], "530", "", CHANNEL_DOWN, "the server requires authentication"),
    row(&[], "534", "", CHANNEL_DOWN, "the mechanism of authentication is too weak"),
    row(&[], "535", "", CHANNEL_DOWN, "the server does not accept user and password"),
    row(&[], "538", "", CHANNEL_DOWN, "authentication requires encryption"),
    row(&[], "4xx", "4.7.x", THROTTLED, "a rate limit, or greylisting"),
    row(&[], "4xx", "4.3.x", CHANNEL_DOWN, "the mail system has a fault, or is full"),
    row(&[], "450", "", RETRY, "the mailbox is busy"),
    row(&[], "451", "", RETRY, "an error in processing"),
    row(&[], "452", "4.2.2", RETRY, "the mailbox is full"),
    row(&[], "452", "", RETRY, "too little storage"),
    row(&[], "4xx", "", RETRY, "another temporary error"),
    row(&[], "552", "5.2.2", RETRY, "the mailbox is full"),
    row(&[], "5xx", "5.2.2", RETRY, "the mailbox is full"),
    row(MAIL, "5xx", "5.1.x", CHANNEL_DOWN, "the sender's address is invalid or unknown"),
    row(&[], "5xx", "5.1.7", CHANNEL_DOWN, "the sender's address is invalid"),
    row(&[], "5xx", "5.1.8", CHANNEL_DOWN, "the sender's domain is unknown"),
    row(RCPT_DATA, "5xx", "5.1.x", BOUNCED, "the address does not exist"),
    row(RCPT_DATA, "5xx", "5.2.1", BOUNCED, "the mailbox is disabled"),
    row(RCPT_DATA, "5xx", "5.4.1", BOUNCED, "the domain does not accept the address"),
    row(RCPT_DATA, "5xx", "5.4.4", BOUNCED, "the domain does not exist"),
    row(&[], "5xx", "5.2.3", REJECTED, "the message is too big for the mailbox"),
    row(&[], "5xx", "5.3.4", REJECTED, "the message is too big"),
    row(&[], "552", "", REJECTED, "the message is too big"),
    row(&[], "5xx", "5.6.x", REJECTED, "the content is not accepted"),
    row(DATA, "5xx", "5.7.0", REJECTED, "the content is refused, for example as spam"),
    row(DATA, "5xx", "5.7.1", REJECTED, "the content is refused, for example as spam"),
    row(&[], "5xx", "5.7.x", CHANNEL_DOWN, "a policy: the sender may not send, or SPF or DKIM fails"),
    row(&[], "5xx", "5.3.x", CHANNEL_DOWN, "the mail system does not accept mail"),
    row(MAIL, "5xx", "", CHANNEL_DOWN, "the server refuses the sender"),
    row(RCPT, "550", "none", BOUNCED, "the address does not exist"),
    row(RCPT, "551", "none", BOUNCED, "the mailbox has moved"),
    row(RCPT, "553", "none", BOUNCED, "the address is invalid"),
    row(RCPT, "554", "none", CHANNEL_DOWN, "the server relays no mail for this client"),
    row(DATA, "554", "", REJECTED, "the content is refused"),
    row(&[], "50x", "", CHANNEL_DOWN, "the server does not support a command"),
    row(&[], "5xx", "", REJECTED, "another permanent error"),
];

/// A code that no row has, which no SMTP server may send.
const OTHER: SmtpRow = row(&[], "xxx", "", RETRY, "an unknown code");

impl SmtpRow {
    #[must_use]
    pub fn of(phase: Phase, code: u16, text: &str) -> &'static Self {
        let enhanced = enhanced_code(code, text);
        SMTP_ROWS.iter().find(|row| row.matches(phase, code, enhanced)).unwrap_or(&OTHER)
    }

    fn matches(&self, phase: Phase, code: u16, enhanced: Option<&str>) -> bool {
        let code = code.to_string();
        (self.phases.is_empty() || self.phases.contains(&phase))
            && self.code.len() == code.len()
            && self.code.chars().zip(code.chars()).all(|(pattern, digit)| pattern == 'x' || pattern == digit)
            && match (self.enhanced, enhanced) {
                ("", _) | ("none", None) => true,
                ("none", Some(_)) | (_, None) => false,
                (pattern, Some(found)) => {
                    pattern.split('.').zip(found.split('.')).all(|(a, b)| a == "x" || a == b)
                }
            }
    }
}

/// Returns the enhanced code at the beginning of `text`, if its class is that of `code`.
fn enhanced_code(code: u16, text: &str) -> Option<&str> {
    let word = text.split_whitespace().next()?;
    let mut numbers = word.split('.');
    let class: u16 = numbers.next()?.parse().ok()?;
    let is_number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let rest: Vec<&str> = numbers.collect();
    (class == code / 100 && rest.len() == 2 && rest.into_iter().all(is_number)).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enhanced_code_is_at_the_beginning_and_of_the_same_class() {
        assert_eq!(enhanced_code(550, "5.1.1 <ada@example.org>: unknown"), Some("5.1.1"));
        assert_eq!(enhanced_code(550, "5.7.515 Access denied"), Some("5.7.515"));
        assert_eq!(enhanced_code(450, "5.1.1 unknown"), None);
        assert_eq!(enhanced_code(550, "unknown 5.1.1"), None);
        assert_eq!(enhanced_code(550, "5.1.1.1 unknown"), None);
        assert_eq!(enhanced_code(550, "5.1 unknown"), None);
        assert_eq!(enhanced_code(550, "5.1.1111 unknown"), None);
        assert_eq!(enhanced_code(550, ""), None);
    }

    #[test]
    fn a_reply_without_a_row_is_retried() {
        assert_eq!(SmtpRow::of(Phase::Rcpt, 600, ""), &OTHER);
    }
}
