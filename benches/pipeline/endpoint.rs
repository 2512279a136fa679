//! The SQS endpoint as a process.

use serde::{Deserialize, Serialize};

use super::part;
use super::support::sqs::Sqs;

/// The queue of the benchmark.
pub(crate) const QUEUE: &str = "bday";

/// What it tells.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Messages in the queue, hidden ones included.
    pub(crate) messages: u64,
    /// Calls so far, as far as they depend on the number of messages.
    pub(crate) calls: u64,
}

/// Says the environment that leads to it, and answers with its figures.
pub(crate) async fn run() -> anyhow::Result<()> {
    let sqs = Sqs::start().await;
    let mut environment = sqs.env();
    environment.push(("BDAY__QUEUE__SQS__URL".to_owned(), sqs.queue_url(QUEUE)));
    part::answer(&serde_json::to_string(&environment)?, |_| {
        let counts = sqs.counts(QUEUE);
        let actions = ["SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch"];
        Ok(serde_json::to_string(&Figures {
            messages: (counts.visible + counts.in_flight + counts.delayed) as u64,
            calls: actions.iter().map(|action| sqs.calls(action)).sum(),
        })?)
    })
    .await
}
