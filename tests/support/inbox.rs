//! An inbox on a free port, with a clock that the test sets.

use std::net::SocketAddr;
use std::sync::Arc;

use bday::clock::SettableClock;
use bday::dev::inbox::{Inbox, InboxError, InboxOptions, ReceivedRequest, RequestLog, ResponseRules};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::wait::within;

/// The due instant of [`body`] (UTC).
pub(crate) const DUE: &str = "2026-03-01T07:00:00Z";
/// The inbox's clock: 412 ms after [`DUE`].
pub(crate) const NOW: &str = "2026-03-01T07:00:00.412Z";

/// A running inbox that stops when dropped.
pub(crate) struct RunningInbox {
    pub(crate) base: String,
    pub(crate) smtp: SocketAddr,
    pub(crate) clock: Arc<SettableClock>,
    pub(crate) log: Arc<RequestLog>,
    pub(crate) arrivals: broadcast::Receiver<Arc<ReceivedRequest>>,
    pub(crate) http: reqwest::Client,
    stop: CancellationToken,
    running: JoinSet<Result<(), InboxError>>,
}

impl RunningInbox {
    pub(crate) fn responding(responses: ResponseRules) -> Self {
        Self::with(InboxOptions { responses, ..InboxOptions::default() })
    }

    pub(crate) fn with(options: InboxOptions) -> Self {
        let clock = Arc::new(SettableClock::new(NOW.parse().unwrap()));
        let inbox = Inbox::bind(options, Arc::clone(&clock) as _).unwrap();
        let base = format!("http://{}", inbox.local_addr());
        let smtp = inbox.smtp_addr();
        let (log, arrivals, stop) = (inbox.log(), inbox.subscribe(), CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(inbox.run(stop.clone()));
        Self { base, smtp, clock, log, arrivals, http: reqwest::Client::new(), stop, running }
    }

    /// Posts a body with a `webhook-id`, and returns the status of the response.
    pub(crate) async fn post(&self, webhook_id: &str, body: impl Into<reqwest::Body>) -> u16 {
        let request = self.http.post(format!("{}/hook", self.base)).header("webhook-id", webhook_id);
        request.body(body).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        response.error_for_status().unwrap().json().await.unwrap()
    }

    pub(crate) async fn next(&mut self) -> Arc<ReceivedRequest> {
        within("a request", self.arrivals.recv()).await.unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        within("the inbox to stop", self.running.join_next()).await.unwrap().unwrap().unwrap();
    }
}

/// Returns the body of a greeting that is due at [`DUE`].
pub(crate) fn body(event: &str) -> String {
    greeting(event, "Hey, John Doe it's your birthday")
}

pub(crate) fn greeting(event: &str, message: &str) -> String {
    json!({"message": message, "userId": "u-1", "eventId": event, "timestamp": DUE}).to_string()
}

/// Returns the ids in a JSON list of requests.
pub(crate) fn ids(arrivals: &Value) -> Vec<u64> {
    arrivals.as_array().unwrap().iter().map(|arrival| arrival["id"].as_u64().unwrap()).collect()
}
