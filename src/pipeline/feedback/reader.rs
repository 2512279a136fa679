//! Reads feedback from an SQS queue.
//!
//! A message is deleted after its report is recorded. A message that cannot be read stays, and the queue's redrive policy moves it to its
//! dead-letter queue. While the database is unavailable the reader receives nothing, so that no message uses up its receives.

use std::time::Duration;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{BuildError, DisplayErrorContext};
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
};
use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::{record, ses};
use crate::store::{Store, StoreError, chain};

const MAX_MESSAGES: i32 = 10;
/// The longest wait of SQS.
const WAIT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The deadline of a call, its retries included.
const CALL_TIMEOUT: Duration = WAIT.saturating_add(Duration::from_secs(10));
/// How long a received message stays hidden from other workers.
const VISIBILITY: Duration = Duration::from_secs(120);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);
/// How long a stop waits for work in flight.
const STOP_GRACE: Duration = Duration::from_millis(300);

#[derive(Debug, Clone)]
pub struct FeedbackReader {
    client: Client,
    url: String,
    store: Store,
}

#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// The text holds no secret.
    #[error("the queue of channels.mail.feedback_queue_url is unavailable: {0}")]
    Queue(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FeedbackReader {
    /// Reads region, endpoint and credentials from the standard AWS environment.
    pub async fn connect(url: String, store: Store) -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
        let shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        Self::new(Client::new(&shared), url, store)
    }

    #[must_use]
    pub fn new(client: Client, url: String, store: Store) -> Self {
        Self { client, url, store }
    }

    /// Records reports until `soft` is cancelled. Messages that are not recorded before the stop are received again.
    pub async fn run(self, soft: CancellationToken) -> anyhow::Result<()> {
        let (mut messages, mut failures) = (Vec::new(), 0_u32);
        loop {
            let step = self.step(&mut messages);
            let mut step = std::pin::pin!(step);
            let done = tokio::select! {
                done = &mut step => done,
                () = soft.cancelled() => {
                    let _ = tokio::time::timeout(STOP_GRACE, step).await;
                    return Ok(());
                }
            };
            let Err(error) = done else {
                failures = 0;
                continue;
            };
            let pause = Duration::from_secs(1 << failures.min(5)).min(MAX_RETRY_PAUSE);
            failures = failures.saturating_add(1);
            tracing::warn!(error = chain(&error), retry_in_secs = pause.as_secs(), "feedback not read");
            soft.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Records `messages`, or, if there are none, those of the next poll. Keeps them after an error.
    async fn step(&self, messages: &mut Vec<Message>) -> Result<(), FeedbackError> {
        if messages.is_empty() {
            *messages = self.receive(WAIT).await?;
        }
        self.record_all(messages).await?;
        messages.clear();
        Ok(())
    }

    /// Records the reports that are in the queue now. Returns the number of messages received.
    pub async fn run_once(&self) -> Result<usize, FeedbackError> {
        let messages = self.receive(Duration::ZERO).await?;
        self.record_all(&messages).await?;
        Ok(messages.len())
    }

    /// Returns whether the queue moves messages that cannot be read to a dead-letter queue.
    pub async fn has_dead_letter_queue(&self) -> Result<bool, FeedbackError> {
        let policy = QueueAttributeName::RedrivePolicy;
        let call = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(policy.clone());
        let attributes = call.send().await.map_err(queue_error)?.attributes.unwrap_or_default();
        Ok(attributes.get(&policy).is_some_and(|policy| policy.contains("deadLetterTargetArn")))
    }

    async fn receive(&self, wait: Duration) -> Result<Vec<Message>, FeedbackError> {
        let call = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(MAX_MESSAGES)
            .wait_time_seconds(wait.as_secs() as i32)
            .visibility_timeout(VISIBILITY.as_secs() as i32)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        Ok(call.send().await.map_err(queue_error)?.messages.unwrap_or_default())
    }

    /// Records the reports, then deletes their messages.
    async fn record_all(&self, messages: &[Message]) -> Result<(), FeedbackError> {
        let mut recorded = Vec::with_capacity(messages.len());
        for message in messages {
            match ses::parse(message.body.as_deref().unwrap_or_default()) {
                Ok(Some(report)) => record(&self.store, &report).await?,
                Ok(None) => {}
                Err(error) => {
                    if is_first_receive(message) {
                        tracing::warn!(%error, message_id = message.message_id, "unreadable feedback");
                        counter!("bday_feedback_unreadable_total").increment(1);
                    }
                    continue;
                }
            }
            recorded.extend(message.receipt_handle.as_deref());
        }
        self.delete(&recorded).await
    }

    async fn delete(&self, receipts: &[&str]) -> Result<(), FeedbackError> {
        if receipts.is_empty() {
            return Ok(());
        }
        let entry = |(at, receipt): (usize, &&str)| {
            DeleteMessageBatchRequestEntry::builder().id(at.to_string()).receipt_handle(*receipt).build()
        };
        let entries = receipts.iter().enumerate().map(entry).collect::<Result<_, BuildError>>();
        let entries = entries.map_err(|error| FeedbackError::Queue(error.to_string()))?;
        let call = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        // An entry that fails is received again, and its report is a repeat.
        call.send().await.map_err(queue_error)?;
        Ok(())
    }
}

fn queue_error<E: std::error::Error + Send + Sync + 'static>(error: E) -> FeedbackError {
    FeedbackError::Queue(DisplayErrorContext(error).to_string())
}

/// An unreadable message is logged at its first receive only.
fn is_first_receive(message: &Message) -> bool {
    let count = MessageSystemAttributeName::ApproximateReceiveCount;
    let received = message.attributes.as_ref().and_then(|attributes| attributes.get(&count));
    received.is_none_or(|times| times == "1")
}
