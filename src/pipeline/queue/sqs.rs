//! Amazon SQS: a standard queue and its dead-letter queue.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{BuildError, DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::{
    self, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use futures_util::{StreamExt as _, stream};

use super::{
    DeadLetter, DeadMessage, Depth, MAX_RECEIVES, Message, Pack, Queue, QueueError, QueueSettings, Receipt,
    Received, Result, decode, encode,
};
use crate::model::SpanContext;

const MAX_ENTRIES: usize = 10;
const CONCURRENT_CALLS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The deadline of a call, its retries included; a long poll adds its wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// 14 days, the longest that SQS keeps a message.
const RETENTION_SECS: &str = "1209600";
/// A receive without a wait asks only some of the servers, and may miss messages.
const DEAD_LETTER_WAIT: Duration = Duration::from_secs(1);
const REASON_ATTRIBUTE: &str = "reason";
/// The span of the claim, in the format of W3C Trace Context.
const TRACE_ATTRIBUTE: &str = "traceparent";

type Attributes = HashMap<QueueAttributeName, String>;
/// The name and the value of an attribute of a message.
type Attribute<'a> = (&'static str, &'a str);

#[derive(Debug, Clone)]
pub struct SqsOptions {
    pub url: String,
    /// Empty: `url` with `-dlq`.
    pub dead_letter_url: String,
    pub visibility: Duration,
}

#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    /// Without timeouts, since they depend on the poll: overriding them in a call would build a new client.
    polling: Client,
    options: SqsOptions,
}

impl SqsQueue {
    /// Reads region, endpoint and credentials from the standard AWS environment.
    pub async fn connect(options: SqsOptions) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .operation_attempt_timeout(Duration::from_secs(5))
            .build();
        let shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        Self::new(Client::new(&shared), options)
    }

    #[must_use]
    pub fn new(client: Client, mut options: SqsOptions) -> Self {
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

    /// Sends a message for each item; returns the positions of those that SQS confirmed. Fails only if it confirmed none.
    async fn send_all<'a, T: Sync>(
        &self,
        url: &str,
        items: &'a [T],
        message: impl Fn(&'a T) -> (String, Option<Attribute<'a>>) + Sync,
    ) -> Result<Vec<usize>> {
        let answers = in_batches(items, |first, batch| {
            // An entry's id is its position. SQS rejects a batch with duplicate ids.
            let entries = batch.iter().enumerate().map(|(at, item)| entry(first + at, message(item)));
            let entries: Result<Vec<_>, BuildError> = entries.collect();
            async move { self.send_batch(url, entries?).await }
        });
        let (mut confirmed, mut rejected) = (Vec::with_capacity(items.len()), None);
        for answer in answers.await {
            match answer {
                Ok(positions) => confirmed.extend(positions),
                Err(error) => rejected = Some(error),
            }
        }
        match rejected {
            Some(error) if confirmed.is_empty() => return Err(error),
            Some(error) => tracing::warn!(%error, "queue batch refused"),
            None => {}
        }
        Ok(confirmed)
    }

    async fn send_batch(&self, url: &str, entries: Vec<SendMessageBatchRequestEntry>) -> Result<Vec<usize>> {
        let call = self.client.send_message_batch().queue_url(url).set_entries(Some(entries));
        let answer = call.send().await.map_err(|error| self.error(error))?;
        for failed in &answer.failed {
            tracing::warn!(code = failed.code, reason = failed.message, "queue entry refused");
        }
        // A response with status 200 can hold failed entries: only those listed as successful are confirmed.
        Ok(answer.successful.iter().filter_map(|entry| entry.id.parse().ok()).collect())
    }

    async fn poll(
        &self,
        url: &str,
        max: usize,
        wait: Duration,
        hidden: Duration,
    ) -> Result<Vec<types::Message>> {
        let call = self
            .polling
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(max.min(MAX_ENTRIES) as i32)
            .wait_time_seconds(wait.as_secs() as i32)
            .visibility_timeout(hidden.as_secs() as i32)
            .message_attribute_names(REASON_ATTRIBUTE)
            .message_attribute_names(TRACE_ATTRIBUTE)
            .send();
        let deadline = CALL_TIMEOUT + wait;
        let answer = tokio::time::timeout(deadline, call).await.map_err(|_| QueueError::Timeout(deadline))?;
        Ok(answer.map_err(|error| self.error(error))?.messages.unwrap_or_default())
    }

    async fn delete(
        &self,
        url: &str,
        receipts: &[Receipt],
    ) -> Result<(u64, Vec<types::BatchResultErrorEntry>)> {
        let entry = |(at, receipt): (usize, &Receipt)| {
            DeleteMessageBatchRequestEntry::builder().id(at.to_string()).receipt_handle(&receipt.0).build()
        };
        let answers = in_batches(receipts, |_, batch| async move {
            let entries = batch.iter().enumerate().map(entry).collect::<Result<_, BuildError>>()?;
            let call = self.client.delete_message_batch().queue_url(url).set_entries(Some(entries));
            call.send().await.map_err(|error| self.error(error))
        });
        let (mut deleted, mut failed) = (0, Vec::new());
        for answer in answers.await {
            let answer = answer?;
            deleted += answer.successful.len() as u64;
            failed.extend(answer.failed);
        }
        Ok((deleted, failed))
    }

    fn error<E>(&self, error: E) -> QueueError
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

    async fn create_queue(&self, url: &str, attributes: Attributes) -> Result<()> {
        let name = url.rsplit('/').next().unwrap_or_default();
        let call = self.client.create_queue().queue_name(name).set_attributes(Some(attributes));
        call.send().await.map_err(|error| self.error(error))?;
        Ok(())
    }

    async fn attributes(&self, url: &str, names: &[QueueAttributeName]) -> Result<Attributes> {
        let call = self.client.get_queue_attributes().queue_url(url);
        let call = call.set_attribute_names(Some(names.to_vec()));
        let answer = call.send().await.map_err(|error| self.error(error))?;
        Ok(answer.attributes.unwrap_or_default())
    }
}

/// Runs `call` concurrently on batches of ten, each with the position of its first item. Returns the results in any order.
async fn in_batches<'a, T, R, F>(items: &'a [T], call: impl Fn(usize, &'a [T]) -> F) -> Vec<Result<R>>
where
    F: Future<Output = Result<R>>,
{
    let calls: Vec<F> =
        items.chunks(MAX_ENTRIES).enumerate().map(|(n, batch)| call(n * MAX_ENTRIES, batch)).collect();
    stream::iter(calls).buffer_unordered(CONCURRENT_CALLS).collect().await
}

fn entry(
    at: usize,
    (body, attribute): (String, Option<Attribute<'_>>),
) -> Result<SendMessageBatchRequestEntry, BuildError> {
    let mut entry = SendMessageBatchRequestEntry::builder().id(at.to_string()).message_body(body);
    if let Some((name, value)) = attribute {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build()?;
        entry = entry.message_attributes(name, value);
    }
    entry.build()
}

impl From<BuildError> for QueueError {
    fn from(error: BuildError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn create(&self) -> Result<()> {
        let dead = HashMap::from([(QueueAttributeName::MessageRetentionPeriod, RETENTION_SECS.to_owned())]);
        self.create_queue(&self.options.dead_letter_url, dead).await?;
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
        self.create_queue(&self.options.url, attributes).await
    }

    async fn send(&self, packs: &[Pack]) -> Result<Vec<i64>> {
        let confirmed = self.send_all(&self.options.url, packs, |pack| {
            let message = Message { pack: Some(pack.id), event_ids: pack.event_ids.clone() };
            (encode(&message), pack.traceparent.as_deref().map(|span| (TRACE_ATTRIBUTE, span)))
        });
        let confirmed = confirmed.await?;
        Ok(confirmed.into_iter().filter_map(|at| Some(packs.get(at)?.id)).collect())
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>> {
        let messages = self.poll(&self.options.url, max, wait, self.options.visibility).await?;
        let received = messages.into_iter().filter_map(|message| {
            let claim = attribute(&message, TRACE_ATTRIBUTE).and_then(SpanContext::parse);
            let body = message.body.unwrap_or_default();
            Some(Received {
                claim,
                receipt: Receipt(message.receipt_handle?),
                message: decode(&body).map_err(|error| (body, error)),
            })
        });
        Ok(received.collect())
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        let (_, failed) = self.delete(&self.options.url, receipts).await?;
        for failed in failed {
            tracing::debug!(code = failed.code, "message not deleted");
        }
        Ok(())
    }

    async fn send_dead_letters(&self, letters: &[DeadLetter]) -> Result<Vec<usize>> {
        let url = &self.options.dead_letter_url;
        self.send_all(url, letters, |letter| {
            (letter.body.clone(), Some((REASON_ATTRIBUTE, letter.reason.as_str())))
        })
        .await
    }

    async fn dead_letters(
        &self,
        _: Option<&DeadMessage>,
        max: usize,
        hidden: Duration,
    ) -> Result<Vec<DeadMessage>> {
        let url = &self.options.dead_letter_url;
        let calls = max.div_ceil(MAX_ENTRIES).clamp(1, CONCURRENT_CALLS);
        // Not more than `max` in total: received messages are hidden from others.
        let share = |call: usize| max.saturating_sub(call * MAX_ENTRIES).clamp(1, MAX_ENTRIES);
        let polls = (0..calls).map(|call| self.poll(url, share(call), DEAD_LETTER_WAIT, hidden));
        let found = futures_util::future::try_join_all(polls).await?;
        Ok(found.into_iter().flatten().filter_map(dead_message).collect())
    }

    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64> {
        let (deleted, failed) = self.delete(&self.options.dead_letter_url, receipts).await?;
        if let Some(first) = failed.first() {
            tracing::warn!(code = first.code, messages = failed.len(), "dead letters not deleted");
        }
        Ok(deleted)
    }

    async fn release_dead_letters(&self, receipts: &[Receipt]) -> Result<()> {
        let entry = |(at, receipt): (usize, &Receipt)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(&receipt.0)
                .visibility_timeout(0)
                .build()
        };
        let answers = in_batches(receipts, |_, batch| async move {
            let entries = batch.iter().enumerate().map(entry).collect::<Result<_, BuildError>>()?;
            let call = self.client.change_message_visibility_batch().set_entries(Some(entries));
            // Entries that fail become visible when their time ends.
            let answer = call.queue_url(&self.options.dead_letter_url).send().await;
            answer.map(drop).map_err(|error| self.error(error))
        });
        answers.await.into_iter().collect()
    }

    async fn depth(&self) -> Result<Depth> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesNotVisible as InFlight,
        };
        let main = self.attributes(&self.options.url, &[Visible, InFlight]).await?;
        let dead = self.attributes(&self.options.dead_letter_url, &[Visible, InFlight]).await?;
        Ok(Depth {
            visible: number(&main, &Visible),
            in_flight: number(&main, &InFlight),
            dead_letters: number(&dead, &Visible) + number(&dead, &InFlight),
        })
    }

    async fn settings(&self) -> Result<Option<QueueSettings>> {
        use QueueAttributeName::{MessageRetentionPeriod, RedrivePolicy, VisibilityTimeout};
        let wanted = [VisibilityTimeout, RedrivePolicy, MessageRetentionPeriod];
        let main = self.attributes(&self.options.url, &wanted).await?;
        let dead = self.attributes(&self.options.dead_letter_url, &[MessageRetentionPeriod]).await?;
        Ok(Some(QueueSettings {
            visibility: Duration::from_secs(number(&main, &VisibilityTimeout)),
            max_receives: main.get(&RedrivePolicy).and_then(|policy| max_receives(policy)),
            retention: Duration::from_secs(number(&main, &MessageRetentionPeriod)),
            dead_letter_retention: Duration::from_secs(number(&dead, &MessageRetentionPeriod)),
        }))
    }
}

fn dead_message(message: types::Message) -> Option<DeadMessage> {
    Some(DeadMessage {
        reason: attribute(&message, REASON_ATTRIBUTE).map(str::to_owned),
        receipt: Receipt(message.receipt_handle?),
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
    })
}

fn attribute<'a>(message: &'a types::Message, name: &str) -> Option<&'a str> {
    message.message_attributes.as_ref()?.get(name)?.string_value.as_deref()
}

fn number(attributes: &Attributes, name: &QueueAttributeName) -> u64 {
    attributes.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn max_receives(policy: &str) -> Option<u32> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    let count = &policy["maxReceiveCount"];
    count.as_str().and_then(|text| text.parse().ok()).or_else(|| count.as_u64()?.try_into().ok())
}
