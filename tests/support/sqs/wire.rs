//! Requests and responses of the service's JSON protocol (awsJson 1.0).

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request of any action: the union of all fields. A field has the same meaning in all actions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'a> {
    #[serde(borrow)]
    pub(super) queue_url: Option<Cow<'a, str>>,
    pub(super) queue_name: Option<String>,
    pub(super) queue_name_prefix: Option<String>,
    pub(super) attributes: Option<HashMap<String, String>>,
    pub(super) attribute_names: Option<Vec<String>>,
    pub(super) message_system_attribute_names: Option<Vec<String>>,
    pub(super) message_attribute_names: Option<Vec<String>>,
    #[serde(borrow)]
    pub(super) message_body: Option<Cow<'a, str>>,
    pub(super) message_attributes: Option<Value>,
    pub(super) delay_seconds: Option<u64>,
    pub(super) max_number_of_messages: Option<i64>,
    pub(super) visibility_timeout: Option<i64>,
    pub(super) wait_time_seconds: Option<i64>,
    #[serde(borrow)]
    pub(super) receipt_handle: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) entries: Option<Vec<Entry<'a>>>,
    pub(super) source_arn: Option<String>,
    pub(super) destination_arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message_body: Option<Cow<'a, str>>,
    pub(super) message_attributes: Option<Value>,
    pub(super) delay_seconds: Option<u64>,
    #[serde(borrow)]
    pub(super) receipt_handle: Option<Cow<'a, str>>,
    pub(super) visibility_timeout: Option<i64>,
}

/// The response to a batch of any action.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchAnswer<'a> {
    pub(super) successful: Vec<Successful<'a>>,
    pub(super) failed: Vec<Failed<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Successful<'a> {
    pub(super) id: &'a str,
    #[serde(flatten)]
    pub(super) sent: Option<Sent>,
}

/// The response to a send, or to an entry of a batch of sends.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    #[serde(rename = "MessageId")]
    pub(super) id: std::sync::Arc<str>,
    #[serde(rename = "MD5OfMessageBody")]
    pub(super) md5: std::sync::Arc<str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Failed<'a> {
    pub(super) id: &'a str,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) sender_fault: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveAnswer<'a> {
    pub(super) messages: Vec<Received<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Received<'a> {
    pub(super) message_id: &'a str,
    pub(super) receipt_handle: &'a str,
    #[serde(rename = "MD5OfBody")]
    pub(super) md5_of_body: &'a str,
    pub(super) body: &'a str,
    #[serde(skip_serializing_if = "SystemAttributes::is_empty")]
    pub(super) attributes: SystemAttributes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_attributes: Option<Value>,
}

/// The requested system attributes.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SystemAttributes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approximate_receive_count: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approximate_first_receive_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sent_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender_id: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dead_letter_queue_source_arn: Option<&'a str>,
}

impl SystemAttributes<'_> {
    fn is_empty(&self) -> bool {
        self.approximate_receive_count.is_none()
            && self.approximate_first_receive_timestamp.is_none()
            && self.sent_timestamp.is_none()
            && self.sender_id.is_none()
            && self.dead_letter_queue_source_arn.is_none()
    }
}
