//! The dead-letter queue of SQS. It is a queue like any other, so that to read it is a receive.

use std::time::Duration;

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{BATCH, CALL_TIMEOUT, CONCURRENT_CALLS, SqsQueue, deletions};
use crate::pipeline::queue::{DeadMessage, QueueError, Receipt, Result};

/// A receive that does not wait asks some of the servers only, and may miss messages.
const WAIT: Duration = Duration::from_secs(1);

impl SqsQueue {
    pub(super) async fn read_dead_letters(&self, max: usize, hidden: Duration) -> Result<Vec<DeadMessage>> {
        let calls = max.div_ceil(BATCH).clamp(1, CONCURRENT_CALLS);
        // No more than was asked for: each message that is received is hidden from others.
        let share = |call: usize| max.saturating_sub(call * BATCH).clamp(1, BATCH) as i32;
        let found: Vec<Vec<Message>> = stream::iter((0..calls).map(share).map(async |each| {
            let call = self
                .polling
                .receive_message()
                .queue_url(&self.options.dead_letter_url)
                .max_number_of_messages(each)
                .wait_time_seconds(WAIT.as_secs() as i32)
                .visibility_timeout(hidden.as_secs() as i32)
                .message_attribute_names("reason")
                .send();
            let deadline = CALL_TIMEOUT + WAIT;
            let answer = tokio::time::timeout(deadline, call)
                .await
                .map_err(|_| QueueError::Timeout(deadline))?
                .map_err(|error| self.refused(error))?;
            Ok::<_, QueueError>(answer.messages.unwrap_or_default())
        }))
        .buffer_unordered(CONCURRENT_CALLS)
        .try_collect()
        .await?;
        Ok(found.into_iter().flatten().filter_map(letter).collect())
    }

    pub(super) async fn delete_all_dead_letters(&self, receipts: &[Receipt]) -> Result<u64> {
        let calls: Vec<_> = receipts.chunks(BATCH).map(|batch| self.delete_some(batch)).collect();
        stream::iter(calls)
            .buffer_unordered(CONCURRENT_CALLS)
            .try_fold(0, |sum, gone| std::future::ready(Ok(sum + gone)))
            .await
    }

    async fn delete_some(&self, receipts: &[Receipt]) -> Result<u64> {
        let call = self
            .client
            .delete_message_batch()
            .queue_url(&self.options.dead_letter_url)
            .set_entries(Some(deletions(receipts)?));
        let answer = call.send().await.map_err(|error| self.refused(error))?;
        if let Some(failed) = answer.failed.first() {
            tracing::warn!(code = failed.code, messages = answer.failed.len(), "dead letters not deleted");
        }
        Ok(answer.successful.len() as u64)
    }

    pub(super) async fn release_all_dead_letters(&self, receipts: &[Receipt]) -> Result<()> {
        let calls: Vec<_> = receipts.chunks(BATCH).map(|batch| self.release_some(batch)).collect();
        stream::iter(calls).buffer_unordered(CONCURRENT_CALLS).try_collect().await
    }

    async fn release_some(&self, receipts: &[Receipt]) -> Result<()> {
        let mut call = self.client.change_message_visibility_batch().queue_url(&self.options.dead_letter_url);
        for (at, receipt) in receipts.iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(&receipt.0)
                .visibility_timeout(0)
                .build();
            call = call.entries(entry.map_err(|error| QueueError::Unavailable(error.to_string()))?);
        }
        // What fails inside the answer becomes visible by itself.
        call.send().await.map_err(|error| self.refused(error))?;
        Ok(())
    }
}

fn letter(message: Message) -> Option<DeadMessage> {
    let reason = message
        .message_attributes
        .as_ref()
        .and_then(|attributes| attributes.get("reason")?.string_value.clone());
    Some(DeadMessage {
        receipt: Receipt(message.receipt_handle?),
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        reason,
    })
}
