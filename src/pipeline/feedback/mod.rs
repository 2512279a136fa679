//! Feedback: what providers report about a greeting after they have accepted it.
//!
//! A report that the address cannot receive, or that the person does not want greetings, marks the contact. Every report is stored
//! beside its event. Reports may be repeated and come in any order.

#[cfg(feature = "aws")]
mod reader;
#[cfg(feature = "aws")]
mod ses;

use std::fmt;

use chrono::{DateTime, Utc};
use metrics::counter;
use uuid::Uuid;

use crate::model::{ChannelName, ContactStatus, FeedbackType};
use crate::store::{Result, Store};

#[cfg(feature = "aws")]
pub use reader::FeedbackReader;

/// A provider's report about one greeting.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    /// None if the report does not name the event.
    pub event_id: Option<Uuid>,
    pub feedback_type: FeedbackType,
    pub channel: ChannelName,
    /// None if the report does not name exactly one address.
    pub address: Option<String>,
    /// When the provider observed it (UTC).
    pub at: DateTime<Utc>,
    /// The provider's code or words, without addresses.
    pub detail: Option<String>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut report = f.debug_struct("Report");
        report.field("event_id", &self.event_id).field("feedback_type", &self.feedback_type);
        report.field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Records `report`: marks the contact, stores the feedback, and counts it unless it is a repeat. After an error, repeat the call.
pub async fn record(store: &Store, report: &Report) -> Result<()> {
    let Report { event_id, feedback_type, channel, address, at, detail } = report;
    if let (Some(status), Some(address)) = (contact_status(*feedback_type), address) {
        store.suppress_address(*channel, address, status, *at).await?;
    }
    let new = match event_id {
        Some(event) => store.add_feedback(*event, *feedback_type, *channel, *at, detail.as_deref()).await?,
        None => true,
    };
    if new {
        counter!("bday_feedback_total", "channel" => channel.as_str(), "type" => feedback_type.as_str())
            .increment(1);
    }
    Ok(())
}

/// Returns the status that the contact gets; none if it stays as it is.
fn contact_status(feedback_type: FeedbackType) -> Option<ContactStatus> {
    match feedback_type {
        FeedbackType::Bounced => Some(ContactStatus::Bounced),
        FeedbackType::Complained => Some(ContactStatus::Complained),
        FeedbackType::OptedOut => Some(ContactStatus::OptedOut),
        FeedbackType::Delivered | FeedbackType::Delayed | FeedbackType::Failed => None,
    }
}
