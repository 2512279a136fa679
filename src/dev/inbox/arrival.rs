//! What arrived by any channel, from its last byte to the response: recorded once, even if the sender disconnects meanwhile.

use std::sync::Arc;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};

use super::InboxState;
use super::log::RequestLog;
use super::request::{Content, ReceivedRequest};
use crate::model::ChannelName;
use crate::pipeline::channel::SAMPLE_EVENT;

/// A request or mail that has been read.
pub(super) struct Arrival {
    pub(super) arrived_at: DateTime<Utc>,
    pub(super) channel: ChannelName,
    pub(super) path: String,
    pub(super) webhook_id: Option<String>,
    pub(super) content: Content,
}

impl Arrival {
    /// Waits, and records this with the status that the rules of the inbox give it, or with `refusal`. `code` turns a status of HTTP
    /// into one of the channel. Returns the recorded status.
    pub(super) async fn answer(
        self,
        inbox: &InboxState,
        refusal: Option<u16>,
        code: fn(StatusCode) -> u16,
    ) -> u16 {
        let lateness_ms =
            self.content.greeting().map(|it| (self.arrived_at - it.timestamp).num_milliseconds());
        let mut request = ReceivedRequest {
            id: 0,
            arrived_at: self.arrived_at,
            channel: self.channel,
            path: self.path,
            webhook_id: self.webhook_id,
            attempt: 1,
            duplicate: false,
            sample: false,
            status: None,
            lateness_ms,
            content: self.content,
        };
        request.sample = request.event().is_some_and(|event| event.parse() == Ok(SAMPLE_EVENT));
        let attempt = request.event().map(|event| inbox.log.count_attempt(event));
        if let Some(attempt) = attempt.filter(|_| !request.sample) {
            request.attempt = attempt;
        }
        let by_rules = || code(inbox.responses.status_for(attempt.unwrap_or(u32::MAX)));
        let status = refusal.unwrap_or_else(by_rules);
        let mut pending = PendingRequest { log: Arc::clone(&inbox.log), request: Some(request) };
        let delay = inbox.responses.delay();
        if !delay.is_zero() {
            // A stop shortens the wait: the sender still gets its response.
            inbox.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
        }
        pending.record(Some(status));
        status
    }
}

/// A request that has been read and not yet answered. It is dropped if the sender disconnects, and recorded as unanswered.
#[derive(Debug)]
struct PendingRequest {
    log: Arc<RequestLog>,
    request: Option<ReceivedRequest>,
}

impl PendingRequest {
    fn record(&mut self, status: Option<u16>) {
        if let Some(request) = self.request.take() {
            self.log.record(ReceivedRequest { status, ..request });
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.record(None);
    }
}
