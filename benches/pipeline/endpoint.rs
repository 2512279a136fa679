//! The SQS endpoint, in its own process.

use serde::{Deserialize, Serialize};

use super::part;
use super::support::sqs::Sqs;

pub(crate) const QUEUE: &str = "bday";

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Messages in the queue, including messages in flight and delayed messages.
    pub(crate) messages: u64,
    /// Calls so far of the actions whose number depends on the number of messages.
    pub(crate) calls: u64,
}

/// Prints the environment variables of its clients, and answers each line with its figures.
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
