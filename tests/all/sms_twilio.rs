//! SMS by Twilio: the request, and what each answer means.

use std::collections::BTreeSet;
use std::time::Duration;

use bday::config::twilio::parse_twilio_url;
use bday::model::{AttemptOutcome, ContactStatus, FeedbackType, Reason};
use bday::pipeline::channel::sms::TwilioSms;
use bday::pipeline::channel::twilio::codes::{CALLBACK_CODES, CODES, STATUSES};
use bday::pipeline::channel::verdict::Verdict;
use bday::pipeline::channel::{Channel as _, Disposition, Message, SendResult};
use tokio::sync::watch;

use crate::support::twilio::{
    Answer, FakeTwilio, RECIPIENT, SENDER, SERVICE, SID, TOKEN, client_with, field, text_greeting,
};

async fn send(twilio: &FakeTwilio) -> SendResult {
    TwilioSms::new(twilio.client(SENDER)).send(&text_greeting()).await
}

/// Returns what each verdict means, written out once more.
fn expected(verdict: Verdict) -> (AttemptOutcome, Disposition, Reason) {
    use AttemptOutcome::{Failed, Unknown};
    match verdict {
        Verdict::Bounced => (Failed, Disposition::Unreachable(ContactStatus::Bounced), Reason::Bounced),
        Verdict::OptedOut => (Failed, Disposition::Unreachable(ContactStatus::OptedOut), Reason::OptedOut),
        Verdict::Rejected => (Failed, Disposition::Dead, Reason::Rejected),
        Verdict::ChannelDown => (Failed, Disposition::Defer(None), Reason::ChannelDown),
        Verdict::Throttled => (Failed, Disposition::Defer(None), Reason::Throttled),
        Verdict::Unknown => (Unknown, Disposition::Retry(None), Reason::Status),
    }
}

pub(crate) fn assert_verdict(result: &SendResult, verdict: Verdict, of: &str) {
    let actual = (result.outcome, result.disposition, result.reason.unwrap());
    assert_eq!(actual, expected(verdict), "{of}");
    let error = result.error.as_deref().unwrap();
    for secret in [RECIPIENT, &RECIPIENT[1..], TOKEN, "hunter2", SID] {
        assert!(!error.contains(secret), "{of}: {error}");
    }
}

#[tokio::test]
async fn a_message_has_the_fields_of_the_api() {
    let twilio = FakeTwilio::start().await;
    let (_, account) = watch::channel(twilio.account());
    let greeting = text_greeting();
    let public_url = Some("https://bday.example.org/app");
    for from in [SENDER, SERVICE] {
        let sms = TwilioSms::new(client_with(from, account.clone(), public_url));
        let result = sms.send(&greeting).await;
        assert_eq!(result.disposition, Disposition::Delivered);
        assert_eq!(result.status, Some(201));
        assert_eq!(result.provider_id.as_deref(), Some("SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"));
    }
    let [first, second] = &twilio.messages()[..] else { panic!("not two messages") };
    assert_eq!((field(first, "To"), field(first, "Body")), (RECIPIENT, "Hey"));
    assert_eq!((field(first, "From"), field(second, "MessagingServiceSid")), (SENDER, SERVICE));
    let callback = format!("https://bday.example.org/app/callbacks/twilio?event={}", greeting.event_id);
    assert_eq!(field(first, "StatusCallback"), callback);
}

#[tokio::test]
async fn any_text_arrives_unchanged() {
    let twilio = FakeTwilio::start().await;
    let sms = TwilioSms::new(twilio.client(SENDER));
    for text in ["50 % & more = +1?", "Glückwunsch, Zoë! 🎂", "שלום", "a\nb"] {
        let greeting =
            bday::pipeline::channel::Greeting { message: Message::of_text(text), ..text_greeting() };
        assert_eq!(sms.send(&greeting).await.disposition, Disposition::Delivered);
        let sent = twilio.messages();
        assert_eq!(field(sent.last().unwrap(), "Body"), text);
        assert_eq!(field(sent.last().unwrap(), "StatusCallback"), "", "no public URL, no callback");
    }
}

#[tokio::test]
async fn each_code_has_the_effect_of_its_row() {
    let twilio = FakeTwilio::start().await;
    for row in CODES {
        // The status of most errors; the code decides.
        twilio.next(Answer::Refuse { status: 400, code: row.code });
        let result = send(&twilio).await;
        assert_verdict(&result, row.verdict, &row.code.to_string());
        assert!(result.error.unwrap().contains(&format!("{}: {}", row.code, row.meaning)));
        assert!(result.response.unwrap().contains("is wrong"));
        assert_eq!(result.status, Some(400));
    }
    assert_eq!(twilio.messages().len(), CODES.len());
}

#[tokio::test]
async fn a_code_without_a_row_has_the_effect_of_its_status() {
    let twilio = FakeTwilio::start().await;
    for row in STATUSES {
        let status = if row.status == 0 { 418 } else { row.status };
        twilio.next(Answer::Refuse { status, code: 99_999 });
        assert_verdict(&send(&twilio).await, row.verdict, &format!("code and status {status}"));
        twilio.next(Answer::Plain(status, String::new(), b"<html>a proxy</html>".to_vec()));
        // A 400 that is not from Twilio says nothing about the message.
        let verdict = if row.verdict == Verdict::Rejected { Verdict::ChannelDown } else { row.verdict };
        assert_verdict(&send(&twilio).await, verdict, &format!("status {status}"));
    }
}

#[tokio::test]
async fn the_wait_that_twilio_names_is_kept() {
    let twilio = FakeTwilio::start().await;
    let body = br#"{"code":20429,"message":"Too Many Requests","status":429}"#.to_vec();
    twilio.next(Answer::Plain(429, "retry-after: 7\r\n".to_owned(), body));
    let result = send(&twilio).await;
    assert_eq!(result.disposition, Disposition::Defer(Some(Duration::from_secs(7))));
    assert_eq!(result.reason, Some(Reason::Throttled));
}

#[tokio::test]
async fn an_outcome_is_unknown_only_after_the_request_left() {
    use AttemptOutcome::{Failed, Unknown};
    let twilio = FakeTwilio::start().await;
    for (answer, reason) in [(Answer::Hang, Reason::Timeout), (Answer::Reset, Reason::Broken)] {
        twilio.next(answer);
        let result = send(&twilio).await;
        assert_eq!(
            (result.outcome, result.disposition, result.reason),
            (Unknown, Disposition::Retry(None), Some(reason))
        );
    }
    twilio.shut().await;
    let result = send(&twilio).await;
    assert_eq!((result.outcome, result.reason), (Failed, Some(Reason::Connect)));
    assert_eq!(twilio.messages().len(), 2, "each request is sent once");
}

#[tokio::test]
async fn an_accepted_message_is_delivered_whatever_the_body_says() {
    let twilio = FakeTwilio::start().await;
    for body in ["", "{", "[]", "{\"sid\":7}"] {
        twilio.next(Answer::Plain(201, String::new(), body.as_bytes().to_vec()));
        assert_eq!(send(&twilio).await, SendResult::delivered(201), "{body}");
    }
}

#[tokio::test]
async fn a_new_token_is_used_by_the_next_message() {
    let twilio = FakeTwilio::start().await;
    let wrong = twilio.url().replace("hunter2", "hunter3");
    let (sender, account) = watch::channel(parse_twilio_url(&wrong).unwrap());
    let sms = TwilioSms::new(client_with(SENDER, account, None));
    let result = sms.send(&text_greeting()).await;
    assert_verdict(&result, Verdict::ChannelDown, "wrong token");
    sender.send_replace(twilio.account());
    assert_eq!(sms.send(&text_greeting()).await.disposition, Disposition::Delivered);
    assert!(!format!("{sms:?} {:?}", text_greeting()).contains("hunter"));
}

#[test]
fn no_code_has_two_rows_and_each_row_is_documented() {
    let codes: BTreeSet<u32> = CODES.iter().map(|row| row.code).collect();
    let callbacks: BTreeSet<u32> = CALLBACK_CODES.iter().map(|row| row.code).collect();
    assert_eq!((codes.len(), callbacks.len()), (CODES.len(), CALLBACK_CODES.len()));
    let mut rows = Vec::new();
    for row in CODES {
        let (effect, reason) = (row.verdict.effect(), row.verdict.reason());
        rows.push(format!("| {} | {} | {effect} | `{reason}` |", row.code, row.meaning));
    }
    for row in STATUSES {
        let status = if row.status == 0 { "any other".to_owned() } else { row.status.to_string() };
        let (effect, reason) = (row.verdict.effect(), row.verdict.reason());
        rows.push(format!("| status {status} | {} | {effect} | `{reason}` |", row.meaning));
    }
    for row in CALLBACK_CODES {
        let effect = match row.feedback {
            FeedbackType::Bounced => "marks the contact `bounced`",
            FeedbackType::OptedOut => "marks the contact `opted_out`",
            _ => "nothing more",
        };
        rows.push(format!("| {} | {} | `{}` | {effect} |", row.code, row.meaning, row.feedback));
    }
    assert_documented(&rows);
}

/// Fails with the missing rows, so that they can be copied.
pub(crate) fn assert_documented(rows: &[String]) {
    let text = std::fs::read_to_string("docs/channels.md").unwrap();
    let missing: Vec<&str> =
        rows.iter().map(String::as_str).filter(|row| !text.lines().any(|line| line == *row)).collect();
    assert!(missing.is_empty(), "not in the document:\n{}", missing.join("\n"));
}
