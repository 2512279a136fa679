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
    DeleteMessageBatchRequestEntry, MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry,
};
use futures_util::{StreamExt as _, stream};

use super::{
    DeadLetter, DeadMessage, Depth, MAX_RECEIVES, Message, Pack, Queue, QueueError, Receipt, Received,
    Result, Settings, decode, encode,
};

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
        Self { client, polling: Client::from_conf(polling), options }
    }

    /// Sends one batch; returns the positions of the entries that were confirmed.
    async fn send_batch(&self, url: &str, entries: Vec<(String, Option<&str>)>) -> Result<Vec<usize>> {
        let mut call = self.client.send_message_batch().queue_url(url);
        for (at, (body, reason)) in entries.into_iter().enumerate() {
            // The position is the entry's id: two equal ids would have the whole batch refused.
            let mut entry = SendMessageBatchRequestEntry::builder().id(at.to_string()).message_body(body);
            if let Some(reason) = reason {
                let attribute =
                    MessageAttributeValue::builder().data_type("String").string_value(reason).build();
                entry = entry.message_attributes("reason", attribute.map_err(|error| invalid(&error))?);
            }
            call = call.entries(entry.build().map_err(|error| invalid(&error))?);
        }
        let answer = call.send().await.map_err(|error| self.refused(error))?;
        for failed in &answer.failed {
            tracing::warn!(code = failed.code, reason = failed.message, "queue entry refused");
        }
        // An HTTP 200 can hold entries that failed: only what is listed as successful is confirmed.
        Ok(answer.successful.iter().filter_map(|entry| entry.id.parse().ok()).collect())
    }

    /// Sends `entries` in batches, several at once; returns the positions of those that were confirmed.
    async fn send_all(&self, url: &str, entries: Vec<(String, Option<&str>)>) -> Result<Vec<usize>> {
        let all = entries.len();
        let mut entries = entries.into_iter();
        let batches: Vec<_> = (0..all)
            .step_by(BATCH)
            .map(|first| {
                let batch = self.send_batch(url, entries.by_ref().take(BATCH).collect());
                async move { (first, batch.await) }
            })
            .collect();
        let mut answers = stream::iter(batches).buffer_unordered(CONCURRENT_CALLS);
        let (mut confirmed, mut error) = (Vec::with_capacity(all), None);
        while let Some((first, answer)) = answers.next().await {
            match answer {
                Ok(positions) => confirmed.extend(positions.into_iter().map(|at| first + at)),
                Err(refused) => error = Some(refused),
            }
        }
        match error {
            Some(error) if confirmed.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(%error, "queue batch refused");
                Ok(confirmed)
            }
            None => Ok(confirmed),
        }
    }

    fn refused<E>(&self, error: E) -> QueueError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match error.code() {
            Some("QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue") => {
                QueueError::Missing(self.options.url.clone())
            }
            _ => QueueError::Unavailable(DisplayErrorContext(error).to_string()),
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

fn invalid(error: &dyn std::fmt::Display) -> QueueError {
    QueueError::Unavailable(error.to_string())
}

/// The entries of a call that deletes; their ids are their positions.
fn deletions(receipts: &[Receipt]) -> Result<Vec<DeleteMessageBatchRequestEntry>> {
    let entry = |(at, receipt): (usize, &Receipt)| {
        DeleteMessageBatchRequestEntry::builder()
            .id(at.to_string())
            .receipt_handle(&receipt.0)
            .build()
            .map_err(|error| QueueError::Unavailable(error.to_string()))
    };
    receipts.iter().enumerate().map(entry).collect()
}

#[async_trait]
impl Queue for SqsQueue {
    async fn create(&self) -> Result<()> {
        let dead = HashMap::from([(QueueAttributeName::MessageRetentionPeriod, RETENTION_SECS.to_owned())]);
        self.create_one(&self.options.dead_letter_url, dead).await?;
        let arn = self.attributes(&self.options.dead_letter_url, &[QueueAttributeName::QueueArn]).await?;
        let arn = arn
            .get(&QueueAttributeName::QueueArn)
            .ok_or_else(|| QueueError::Unavailable("the dead-letter queue has no ARN".to_owned()))?;
        let redrive = serde_json::json!({
            "deadLetterTargetArn": arn,
            "maxReceiveCount": MAX_RECEIVES.to_string(),
        });
        let attributes = HashMap::from([
            (QueueAttributeName::MessageRetentionPeriod, RETENTION_SECS.to_owned()),
            (QueueAttributeName::VisibilityTimeout, self.options.visibility.as_secs().to_string()),
            (QueueAttributeName::RedrivePolicy, redrive.to_string()),
        ]);
        self.create_one(&self.options.url, attributes).await
    }

    async fn send(&self, packs: &[Pack]) -> Result<Vec<i64>> {
        let text = |pack: &Pack| {
            let message = Message { pack: Some(pack.id), event_ids: pack.event_ids.clone() };
            (encode(&message), None)
        };
        let confirmed = self.send_all(&self.options.url, packs.iter().map(text).collect()).await?;
        Ok(confirmed.into_iter().filter_map(|at| Some(packs.get(at)?.id)).collect())
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>> {
        let call = self
            .polling
            .receive_message()
            .queue_url(&self.options.url)
            .max_number_of_messages(max.min(BATCH) as i32)
            .wait_time_seconds(wait.as_secs() as i32)
            .visibility_timeout(self.options.visibility.as_secs() as i32)
            .send();
        let deadline = CALL_TIMEOUT + wait;
        let answer = tokio::time::timeout(deadline, call)
            .await
            .map_err(|_| QueueError::Timeout(deadline))?
            .map_err(|error| self.refused(error))?;
        let received = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            let body = message.body.unwrap_or_default();
            Some(Received {
                receipt: Receipt(message.receipt_handle?),
                message: decode(&body).map_err(|error| (body, error)),
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
                tracing::debug!(code = failed.code, "message not deleted");
            }
            Ok(())
        })
        .await
    }

    async fn send_dead_letters(&self, letters: &[DeadLetter]) -> Result<Vec<usize>> {
        let entries = letters.iter().map(|letter| (letter.body.clone(), Some(letter.reason.as_str())));
        self.send_all(&self.options.dead_letter_url, entries.collect()).await
    }

    async fn dead_letters(
        &self,
        _: Option<&DeadMessage>,
        max: usize,
        hidden: Duration,
    ) -> Result<Vec<DeadMessage>> {
        self.read_dead_letters(max, hidden).await
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
            attributes.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let main = self.attributes(&self.options.url, &[Visible, InFlight]).await?;
        let dead = self.attributes(&self.options.dead_letter_url, &[Visible, InFlight]).await?;
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
        let dead = self.attributes(&self.options.dead_letter_url, &[MessageRetentionPeriod]).await?;
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
    count.as_str().and_then(|text| text.parse().ok()).or_else(|| count.as_u64()?.try_into().ok())
}
