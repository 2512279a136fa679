//! A running inbox on a free port, under a clock that stands still.

use std::sync::Arc;

use bday::clock::SettableClock;
use bday::dev::inbox::{Answers, Arrival, Inbox, InboxError, InboxOptions, Ledger};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::wait::within;

/// When [`body`] says that a greeting was due.
pub(crate) const DUE: &str = "2026-03-01T07:00:00Z";
/// What the inbox's clock shows: 412 ms later.
pub(crate) const NOW: &str = "2026-03-01T07:00:00.412Z";

/// An inbox that ends with the test.
pub(crate) struct RunningInbox {
    pub(crate) base: String,
    pub(crate) clock: Arc<SettableClock>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) arrivals: broadcast::Receiver<Arc<Arrival>>,
    pub(crate) http: reqwest::Client,
    stop: CancellationToken,
    running: JoinSet<Result<(), InboxError>>,
}

impl RunningInbox {
    /// Starts one that answers so.
    pub(crate) fn answering(answers: Answers) -> Self {
        Self::with(InboxOptions { answers, ..InboxOptions::default() })
    }

    pub(crate) fn with(options: InboxOptions) -> Self {
        let clock = Arc::new(SettableClock::new(NOW.parse().unwrap()));
        let inbox = Inbox::bind(options, Arc::clone(&clock) as _).unwrap();
        let base = format!("http://{}", inbox.local_addr());
        let (ledger, arrivals, stop) = (inbox.ledger(), inbox.subscribe(), CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(inbox.run(stop.clone()));
        Self { base, clock, ledger, arrivals, http: reqwest::Client::new(), stop, running }
    }

    /// Posts a body under a `webhook-id`, and gives the status answered.
    pub(crate) async fn post(&self, webhook_id: &str, body: impl Into<reqwest::Body>) -> u16 {
        let request = self.http.post(format!("{}/hook", self.base)).header("webhook-id", webhook_id);
        request.body(body).send().await.unwrap().status().as_u16()
    }

    /// `GET` something that answers with JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        response.error_for_status().unwrap().json().await.unwrap()
    }

    /// The next arrival recorded.
    pub(crate) async fn next(&mut self) -> Arc<Arrival> {
        within("an arrival", self.arrivals.recv()).await.unwrap()
    }

    /// Stops it and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        within("the inbox to end", self.running.join_next()).await.unwrap().unwrap().unwrap();
    }
}

/// The body of a greeting that was due at [`DUE`].
pub(crate) fn body(event: &str) -> String {
    greeting(event, "Hey, John Doe it's your birthday")
}

/// The same with another message.
pub(crate) fn greeting(event: &str, message: &str) -> String {
    json!({"message": message, "userId": "u-1", "eventId": event, "timestamp": DUE}).to_string()
}

/// The ids of a JSON list of arrivals.
pub(crate) fn ids(arrivals: &Value) -> Vec<u64> {
    arrivals.as_array().unwrap().iter().map(|arrival| arrival["id"].as_u64().unwrap()).collect()
}
