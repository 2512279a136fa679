//! Reads the events that Amazon SES publishes to SNS, with and without the envelope of SNS.
//!
//! <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::Report;
use crate::model::{ChannelName, FeedbackType};
use crate::pipeline::channel::mail::EVENT_TAG;

/// SES sends this text when the event destination is created.
const VALIDATION: &str = "Successfully validated SNS topic";
const MAX_DETAIL_CHARS: usize = 200;

/// What SNS puts around a message, unless the subscription has raw delivery.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Message")]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    /// `notificationType` in the notifications of an identity, which have no tags.
    #[serde(alias = "notificationType")]
    event_type: String,
    mail: Option<Mail>,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
    delivery: Option<Delivery>,
    reject: Option<Reject>,
    delivery_delay: Option<DeliveryDelay>,
}

#[derive(Deserialize)]
struct Mail {
    timestamp: DateTime<Utc>,
    #[serde(default)]
    destination: Vec<String>,
    #[serde(default)]
    tags: HashMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
    #[serde(default)]
    bounce_sub_type: String,
    #[serde(default)]
    bounced_recipients: Vec<BouncedRecipient>,
    timestamp: DateTime<Utc>,
}

#[derive(Deserialize)]
struct BouncedRecipient {
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    complaint_feedback_type: Option<String>,
    complaint_sub_type: Option<String>,
    timestamp: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Delivery {
    timestamp: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Reject {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryDelay {
    delay_type: Option<String>,
    timestamp: DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    // The text of a JSON error may quote a value, so only its position is kept.
    #[error("not an event of SES: error at line {0}, column {1}")]
    Json(usize, usize),
    #[error("an event {0:?} of SES without its object")]
    Incomplete(&'static str),
}

impl From<serde_json::Error> for ReportError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.line(), error.column())
    }
}

/// Returns the report in the body of a message; none for a message without one, such as the event `Send`.
pub(super) fn parse(body: &str) -> Result<Option<Report>, ReportError> {
    let Ok(envelope) = serde_json::from_str::<Envelope>(body) else {
        return event(body);
    };
    if envelope.kind != "Notification" || envelope.message.starts_with(VALIDATION) {
        return Ok(None);
    }
    event(&envelope.message)
}

fn event(text: &str) -> Result<Option<Report>, ReportError> {
    let notification: Notification = serde_json::from_str(text)?;
    let Some((feedback_type, at, detail)) = observation(&notification)? else {
        return Ok(None);
    };
    let mail = notification.mail.as_ref();
    let tag = mail.and_then(|mail| mail.tags.get(EVENT_TAG)?.first());
    Ok(Some(Report {
        event_id: tag.and_then(|id| Uuid::parse_str(id).ok()),
        feedback_type,
        channel: ChannelName::Mail,
        address: mail.and_then(|mail| only_address(&mail.destination)),
        at,
        detail: detail.filter(|text| !text.is_empty()),
    }))
}

type Observation = (FeedbackType, DateTime<Utc>, Option<String>);

fn observation(notification: &Notification) -> Result<Option<Observation>, ReportError> {
    let missing = |object| ReportError::Incomplete(object);
    let found = match &*notification.event_type {
        "Bounce" => bounce(notification.bounce.as_ref().ok_or(missing("Bounce"))?),
        "Complaint" => {
            let complaint = notification.complaint.as_ref().ok_or(missing("Complaint"))?;
            let detail = complaint.complaint_feedback_type.as_ref().or(complaint.complaint_sub_type.as_ref());
            (FeedbackType::Complained, complaint.timestamp, detail.map(|text| code(text)))
        }
        "Delivery" => {
            let delivery = notification.delivery.as_ref().ok_or(missing("Delivery"))?;
            (FeedbackType::Delivered, delivery.timestamp, None)
        }
        "Reject" => {
            let reject = notification.reject.as_ref().ok_or(missing("Reject"))?;
            let mail = notification.mail.as_ref().ok_or(missing("Reject"))?;
            (FeedbackType::Failed, mail.timestamp, reject.reason.as_deref().map(code))
        }
        "DeliveryDelay" => {
            let delay = notification.delivery_delay.as_ref().ok_or(missing("DeliveryDelay"))?;
            (FeedbackType::Delayed, delay.timestamp, delay.delay_type.as_deref().map(code))
        }
        // `Send`, `Open`, `Click`, `Subscription`, `Rendering Failure` (of templates of SES, which bday does not use).
        _ => return Ok(None),
    };
    Ok(Some(found))
}

/// Only a permanent bounce says that the address cannot receive. SES sends the others after its last retry.
fn bounce(bounce: &Bounce) -> Observation {
    let feedback_type = match &*bounce.bounce_type {
        "Permanent" => FeedbackType::Bounced,
        _ => FeedbackType::Failed,
    };
    let status = bounce.bounced_recipients.first().and_then(|recipient| recipient.status.as_deref());
    let words = [Some(&*bounce.bounce_type), Some(&*bounce.bounce_sub_type), status];
    let words: Vec<String> = words.into_iter().flatten().map(code).filter(|word| !word.is_empty()).collect();
    (feedback_type, bounce.timestamp, Some(words.join(" ")))
}

/// Returns a code or a few words of SES; nothing if they may contain an address.
fn code(text: &str) -> String {
    if text.contains('@') {
        return String::new();
    }
    text.chars().filter(|c| !c.is_control()).take(MAX_DETAIL_CHARS).collect()
}

/// Returns the address that the message was sent to. `bouncedRecipients` can have another one, to which the person forwards mail.
fn only_address(destination: &[String]) -> Option<String> {
    let [one] = destination else { return None };
    let address = match one.rsplit_once('<') {
        Some((_, address)) => address.trim_end().trim_end_matches('>'),
        None => one,
    };
    Some(address.trim().to_owned())
}
