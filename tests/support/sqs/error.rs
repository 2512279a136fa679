//! Errors with the codes and messages of the service.

use serde_json::json;

use crate::support::http::Reply;

/// An error: its code, as in the service model, and its message.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn reply(&self) -> Reply {
        let body = json!({ "__type": format!("com.amazonaws.sqs#{}", self.code), "message": self.message });
        // The SDK reads the error code from this header, which uses the codes of the older query protocol.
        let headers = format!("{}x-amzn-query-error: {};Sender\r\n", super::CONTENT_TYPE, self.old_code());
        Reply::Whole { status: 400, headers, body: body.to_string().into_bytes() }
    }

    fn old_code(&self) -> &'static str {
        match self.code {
            "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
            "QueueNameExists" => "QueueAlreadyExists",
            "EmptyBatchRequest" => "AWS.SimpleQueueService.EmptyBatchRequest",
            "TooManyEntriesInBatchRequest" => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            "BatchEntryIdsNotDistinct" => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            "BatchRequestTooLong" => "AWS.SimpleQueueService.BatchRequestTooLong",
            same => same,
        }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new("InvalidParameterValue", message)
}

pub(super) fn invalid_handle(receipt: &str) -> Failure {
    Failure::new(
        "ReceiptHandleIsInvalid",
        format!("The input receipt handle \"{receipt}\" is not a valid receipt handle."),
    )
}

pub(super) fn no_queue() -> Failure {
    Failure::new("QueueDoesNotExist", "The specified queue does not exist.")
}
