//! The SQS endpoint as a process.

use super::part;
use super::support::sqs::Sqs;

/// The queue of the benchmark.
pub(crate) const QUEUE: &str = "bday";

/// Says the environment that leads to it, and answers with the number of messages it holds.
pub(crate) async fn run() -> anyhow::Result<()> {
    let sqs = Sqs::start().await;
    let mut environment = sqs.env();
    environment.push(("BDAY__QUEUE__SQS__URL".to_owned(), sqs.queue_url(QUEUE)));
    part::answer(&serde_json::to_string(&environment)?, |_| {
        let counts = sqs.counts(QUEUE);
        Ok((counts.visible + counts.in_flight + counts.delayed).to_string())
    })
    .await
}
