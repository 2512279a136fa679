//! Amazon SQS: a standard queue and its dead-letter queue.

mod dead_letters;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use futures_util::{StreamExt as _, stream};
use uuid::Uuid;

use super::{DeadLetter, Depth, Queue, QueueError, Receipt, Received, Result, Settings, encode};

/// What SQS takes in one call.
const BATCH: usize = 10;
/// Calls of one batch operation that are under way at once.
const CONCURRENT_CALLS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The deadline of a call, its retries included; a long poll adds its wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// 14 days, the longest that SQS keeps a message.
const RETENTION_SECS: &str = "1209600";

/// How a queue that we create is set up, and how it is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The queue's URL.
    pub url: String,
    /// The dead-letter queue's; empty: the queue's with `-dlq`.
    pub dead_letter_url: String,
    /// How long a received message stays hidden.
    pub visibility: Duration,
    /// Receives before a message is a dead letter.
    pub max_receives: u32,
}

/// A queue in SQS.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    /// The same without deadlines, which depend on the poll: an override in each call would build the client anew.
    polling: Client,
    options: Options,
}

impl SqsQueue {
    /// Takes region, endpoint and credentials from the standard AWS environment.
    pub async fn connect(options: Options) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .operation_attempt_timeout(Duration::from_secs(5))
            .build();
        let shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .timeout_config(timeouts)
            // Bodies are a few kilobytes, and every call has a deadline.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        Self::new(Client::new(&shared), options)
    }

    /// Uses a client that is there.
    #[must_use]
    pub fn new(client: Client, mut options: Options) -> Self {
        if options.dead_letter_url.is_empty() {
            options.dead_letter_url = format!("{}-dlq", options.url);
        }
        let no_deadline = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .disable_operation_timeout()
            .disable_operation_attempt_timeout()
            .build();
        let polling = client.config().to_builder().timeout_config(no_deadline).build();
        Self {
            client,
            polling: Client::from_conf(polling),
            options,
        }
    }

    async fn send_batch(&self, event_ids: &[Uuid]) -> Result<Vec<Uuid>> {
        let mut call = self.client.send_message_batch().queue_url(&self.options.url);
        for (at, event_id) in event_ids.iter().enumerate() {
            // The position is the entry's id: two equal ids would have the whole batch refused.
            let entry = SendMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .message_body(encode(*event_id))
                .build();
            call = call.entries(entry.map_err(|error| QueueError::Refused(error.to_string()))?);
        }
        let answer = call.send().await.map_err(|error| self.refused(error))?;
        for failed in &answer.failed {
            tracing::warn!(
                code = failed.code,
                reason = failed.message,
                "the queue refused an entry"
            );
        }
        // An HTTP 200 can hold entries that failed: only what is listed as successful is confirmed.
        Ok(answer
            .successful
            .iter()
            .filter_map(|entry| event_ids.get(entry.id.parse::<usize>().ok()?))
            .copied()
            .collect())
    }

    fn refused<E>(&self, error: E) -> QueueError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match error.code() {
            Some("QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue") => {
                QueueError::Missing(self.options.url.clone())
            }
            _ => QueueError::Refused(DisplayErrorContext(error).to_string()),
        }
    }

    async fn create_one(&self, url: &str, attributes: HashMap<QueueAttributeName, String>) -> Result<()> {
        let name = url.rsplit('/').next().unwrap_or_default();
        self.client
            .create_queue()
            .queue_name(name)
            .set_attributes(Some(attributes))
            .send()
            .await
            .map_err(|error| self.refused(error))?;
        Ok(())
    }

    async fn attributes(
        &self,
        url: &str,
        names: &[QueueAttributeName],
    ) -> Result<HashMap<QueueAttributeName, String>> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .set_attribute_names(Some(names.to_vec()))
            .send()
            .await
            .map_err(|error| self.refused(error))?;
        Ok(answer.attributes.unwrap_or_default())
    }

    /// Runs `call` over batches of ten, several at once, and gives the first error after all have ended.
    async fn in_batches<'a, T: Sync, F>(
        &'a self,
        items: &'a [T],
        call: impl Fn(&'a [T]) -> F + Send,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'a,
    {
        stream::iter(items.chunks(BATCH).map(call).collect::<Vec<_>>())
            .buffer_unordered(CONCURRENT_CALLS)
            .fold(Ok(()), |all, one| std::future::ready(all.and(one)))
            .await
    }
}

/// The entries of a call that deletes; their ids are their positions.
fn deletions(receipts: &[Receipt]) -> Result<Vec<DeleteMessageBatchRequestEntry>> {
    let entry = |(at, receipt): (usize, &Receipt)| {
        DeleteMessageBatchRequestEntry::builder()
            .id(at.to_string())
            .receipt_handle(&receipt.0)
            .build()
            .map_err(|error| QueueError::Refused(error.to_string()))
    };
    receipts.iter().enumerate().map(entry).collect()
}

#[async_trait]
impl Queue for SqsQueue {
    async fn create(&self) -> Result<()> {
        let dead = HashMap::from([(
            QueueAttributeName::MessageRetentionPeriod,
            RETENTION_SECS.to_owned(),
        )]);
        self.create_one(&self.options.dead_letter_url, dead).await?;
        let arn = self
            .attributes(&self.options.dead_letter_url, &[QueueAttributeName::QueueArn])
            .await?;
        let arn = arn
            .get(&QueueAttributeName::QueueArn)
            .ok_or_else(|| QueueError::Refused("the dead-letter queue has no ARN".to_owned()))?;
        let redrive = serde_json::json!({
            "deadLetterTargetArn": arn,
            "maxReceiveCount": self.options.max_receives.to_string(),
        });
        let attributes = HashMap::from([
            (
                QueueAttributeName::MessageRetentionPeriod,
                RETENTION_SECS.to_owned(),
            ),
            (
                QueueAttributeName::VisibilityTimeout,
                self.options.visibility.as_secs().to_string(),
            ),
            (QueueAttributeName::RedrivePolicy, redrive.to_string()),
        ]);
        self.create_one(&self.options.url, attributes).await
    }

    async fn send(&self, event_ids: &[Uuid]) -> Result<Vec<Uuid>> {
        let batches: Vec<_> = event_ids
            .chunks(BATCH)
            .map(|batch| self.send_batch(batch))
            .collect();
        let mut answers = stream::iter(batches).buffer_unordered(CONCURRENT_CALLS);
        let (mut confirmed, mut error) = (Vec::with_capacity(event_ids.len()), None);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(ids) => confirmed.extend(ids),
                Err(refused) => error = Some(refused),
            }
        }
        match error {
            Some(error) if confirmed.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(%error, "the queue refused a batch");
                Ok(confirmed)
            }
            None => Ok(confirmed),
        }
    }

    fn receive_limit(&self) -> usize {
        BATCH
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>> {
        let call = self
            .polling
            .receive_message()
            .queue_url(&self.options.url)
            .max_number_of_messages(max.min(BATCH) as i32)
            .wait_time_seconds(wait.as_secs() as i32)
            .visibility_timeout(self.options.visibility.as_secs() as i32)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send();
        let deadline = CALL_TIMEOUT + wait;
        let answer = tokio::time::timeout(deadline, call)
            .await
            .map_err(|_| QueueError::Timeout(deadline))?
            .map_err(|error| self.refused(error))?;
        let received = answer
            .messages
            .unwrap_or_default()
            .into_iter()
            .filter_map(|message| {
                let count = message
                    .attributes
                    .as_ref()
                    .and_then(|attributes| {
                        attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount)
                    })
                    .and_then(|count| count.parse().ok());
                Some(Received {
                    receipt: Receipt(message.receipt_handle?),
                    body: message.body.unwrap_or_default(),
                    receive_count: count.unwrap_or(1),
                })
            });
        Ok(received.collect())
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        self.in_batches(receipts, async |batch| {
            let call = self.client.delete_message_batch().queue_url(&self.options.url);
            let call = call.set_entries(Some(deletions(batch)?));
            let answer = call.send().await.map_err(|error| self.refused(error))?;
            for failed in &answer.failed {
                tracing::debug!(
                    code = failed.code,
                    "a message was not deleted; it comes again and is dropped"
                );
            }
            Ok(())
        })
        .await
    }

    async fn hide(&self, receipts: &[(Receipt, Duration)]) -> Result<()> {
        self.in_batches(receipts, async |batch| {
            let mut call = self
                .client
                .change_message_visibility_batch()
                .queue_url(&self.options.url);
            for (at, (receipt, wait)) in batch.iter().enumerate() {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(at.to_string())
                    .receipt_handle(&receipt.0)
                    .visibility_timeout(wait.as_secs() as i32)
                    .build();
                call = call.entries(entry.map_err(|error| QueueError::Refused(error.to_string()))?);
            }
            let answer = call.send().await.map_err(|error| self.refused(error))?;
            for failed in &answer.failed {
                tracing::debug!(
                    code = failed.code,
                    "a visibility was not changed; the message comes when its own ends"
                );
            }
            Ok(())
        })
        .await
    }

    async fn dead_letter(&self, message: &Received, reason: &str) -> Result<()> {
        let attribute = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(reason)
            .build();
        self.client
            .send_message()
            .queue_url(&self.options.dead_letter_url)
            .message_body(&message.body)
            .message_attributes(
                "reason",
                attribute.map_err(|error| QueueError::Refused(error.to_string()))?,
            )
            .send()
            .await
            .map_err(|error| self.refused(error))?;
        self.ack(std::slice::from_ref(&message.receipt)).await
    }

    async fn dead_letters(&self, max: usize, hidden: Duration) -> Result<Vec<DeadLetter>> {
        self.look_at_dead_letters(max, hidden).await
    }

    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64> {
        self.delete_all_dead_letters(receipts).await
    }

    async fn release_dead_letters(&self, receipts: &[Receipt]) -> Result<()> {
        self.release_all_dead_letters(receipts).await
    }

    async fn depth(&self) -> Result<Depth> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesNotVisible as InFlight,
        };
        let figure = |attributes: &HashMap<QueueAttributeName, String>, name: &QueueAttributeName| {
            attributes
                .get(name)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        let main = self.attributes(&self.options.url, &[Visible, InFlight]).await?;
        let dead = self
            .attributes(&self.options.dead_letter_url, &[Visible, InFlight])
            .await?;
        Ok(Depth {
            visible: figure(&main, &Visible),
            in_flight: figure(&main, &InFlight),
            dead_letters: figure(&dead, &Visible) + figure(&dead, &InFlight),
        })
    }

    async fn settings(&self) -> Result<Option<Settings>> {
        use QueueAttributeName::{MessageRetentionPeriod, RedrivePolicy, VisibilityTimeout};
        let wanted = [VisibilityTimeout, RedrivePolicy, MessageRetentionPeriod];
        let main = self.attributes(&self.options.url, &wanted).await?;
        let dead = self
            .attributes(&self.options.dead_letter_url, &[MessageRetentionPeriod])
            .await?;
        let secs = |attributes: &HashMap<QueueAttributeName, String>, name: &QueueAttributeName| {
            let text = attributes.get(name).and_then(|text| text.parse().ok());
            Duration::from_secs(text.unwrap_or(0))
        };
        Ok(Some(Settings {
            visibility: secs(&main, &VisibilityTimeout),
            max_receives: main.get(&RedrivePolicy).and_then(|policy| max_receives(policy)),
            retention: secs(&main, &MessageRetentionPeriod),
            dead_letter_retention: secs(&dead, &MessageRetentionPeriod),
        }))
    }
}

/// Out of a redrive policy; the service writes the number as a text or as a number.
fn max_receives(policy: &str) -> Option<u32> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    let count = &policy["maxReceiveCount"];
    count
        .as_str()
        .and_then(|text| text.parse().ok())
        .or_else(|| count.as_u64()?.try_into().ok())
}
