//! Actions on messages, single and in batches.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use md5::{Digest, Md5};
use serde_json::Value;

use super::actions::{Answer, answer, asked};
use super::error::{Failure, invalid};
use super::queue::{DeliveryFaults, LONGEST_VISIBILITY, Message, Moment};
use super::wire::{
    BatchAnswer, Entry, Failed, ReceiveAnswer, Received, Request, Sent, Successful, SystemAttributes,
};
use super::{Endpoint, Faults, LARGEST_BODY, Slot, Ticket};

impl Endpoint {
    pub(super) fn send(
        &self,
        slot: &Slot,
        text: &str,
        attributes: Option<Value>,
        delay: Option<u64>,
    ) -> Result<Sent, Failure> {
        if text.is_empty() {
            return Err(Failure::new(
                "MissingParameter",
                "The request must contain the parameter MessageBody.",
            ));
        }
        if text.len() > LARGEST_BODY {
            return Err(invalid(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {LARGEST_BODY} bytes."
            )));
        }
        if delay.is_some_and(|delay| delay > 900) {
            return Err(invalid(
                "Value for parameter DelaySeconds is invalid. Reason: must be between 0 and 900.",
            ));
        }
        let mut md5 = String::with_capacity(32);
        for byte in Md5::digest(text) {
            let _written = write!(md5, "{byte:02x}");
        }
        let sent = Sent { id: self.new_id(), md5: md5.into() };
        let message = Message::new(
            Arc::clone(&sent.id),
            text.into(),
            Arc::clone(&sent.md5),
            self.wall_ms(),
            attributes.map(Arc::new),
        );
        let mut queue = slot.lock();
        let delay = delay.map_or(queue.delay, Duration::from_secs);
        queue.push(message, delay, self.now());
        drop(queue);
        slot.arrived.notify_one();
        slot.changed.notify_waiters();
        Ok(sent)
    }

    pub(super) fn new_id(&self) -> Arc<str> {
        let n = self.messages.fetch_add(1, Ordering::Relaxed);
        uuid::Uuid::from_u64_pair(u64::from(self.address.port()) << 48 | 0x4000, 0x8000 << 48 | n)
            .to_string()
            .into()
    }

    pub(super) fn send_batch(&self, request: &Request<'_>, faults: &Faults) -> Answer {
        let entries = entries_of(request)?;
        let total: usize =
            entries.iter().map(|entry| entry.message_body.as_deref().map_or(0, str::len)).sum();
        if total > LARGEST_BODY {
            let text = format!(
                "Batch requests cannot be longer than {LARGEST_BODY} bytes. You have sent {total} bytes."
            );
            return Err(Failure::new("BatchRequestTooLong", text));
        }
        let slot = self.slot_of(request)?;
        each(entries, |entry| {
            if self.hit(Ticket::Send, faults.fail_send_entry_every) {
                return Err(Failure::new("InternalError", "as the test asked"));
            }
            let text = entry.message_body.as_deref().unwrap_or_default();
            self.send(&slot, text, entry.message_attributes.clone(), entry.delay_seconds).map(Some)
        })
    }

    pub(super) fn delete_batch(&self, request: &Request<'_>, faults: &Faults) -> Answer {
        let entries = entries_of(request)?;
        let slot = self.slot_of(request)?;
        let result = each(entries, |entry| {
            if self.hit(Ticket::Delete, faults.fail_delete_entry_every) {
                return Err(Failure::new("InternalError", "as the test asked"));
            }
            slot.lock().delete(entry.receipt_handle.as_deref().unwrap_or_default())?;
            Ok(None)
        });
        slot.changed.notify_waiters();
        result
    }

    pub(super) fn change_visibility_batch(&self, request: &Request<'_>) -> Answer {
        let entries = entries_of(request)?;
        let slot = self.slot_of(request)?;
        each(entries, |entry| {
            let handle = entry.receipt_handle.as_deref().unwrap_or_default();
            self.change_visibility(&slot, handle, entry.visibility_timeout).map(|()| None)
        })
    }

    pub(super) fn change_visibility(
        &self,
        slot: &Slot,
        handle: &str,
        seconds: Option<i64>,
    ) -> Result<(), Failure> {
        let seconds = visibility(seconds.ok_or_else(|| {
            Failure::new("MissingParameter", "The request must contain the parameter VisibilityTimeout.")
        })?)?;
        slot.lock().change_visibility(handle, seconds, self.now())?;
        // A waiting poll may have to wake up earlier than planned.
        slot.arrived.notify_one();
        slot.changed.notify_waiters();
        Ok(())
    }

    pub(super) async fn receive(&self, request: &Request<'_>, faults: &Faults) -> Answer {
        let slot = self.slot_of(request)?;
        let max = request.max_number_of_messages.unwrap_or(1);
        let max = usize::try_from(max).ok().filter(|max| (1..=10).contains(max)).ok_or_else(|| {
            invalid(format!("Value {max} for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided."))
        })?;
        let (default_visibility, default_wait) = {
            let queue = slot.lock();
            (queue.visibility, queue.wait)
        };
        let visibility = request
            .visibility_timeout
            .map(visibility)
            .transpose()?
            .map_or(default_visibility, Duration::from_secs);
        let wait = request.wait_time_seconds.map_or(Ok(default_wait), |wait| {
            u64::try_from(wait).ok().filter(|wait| *wait <= 20).map(Duration::from_secs).ok_or_else(|| {
                invalid(format!("Value {wait} for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided."))
            })
        })?;
        let delivery_faults =
            DeliveryFaults { duplicate_every: faults.duplicate_every, shuffle: faults.shuffle };
        let mut left = wait;
        loop {
            let arrived = slot.arrived.notified();
            let (taken, next_wake) = self.take(&slot, max, visibility, delivery_faults);
            if !taken.is_empty() || left.is_zero() {
                return received(request, &taken);
            }
            let before = self.now();
            let pause = next_wake.map_or(left, |wake| wake.saturating_sub(before)).min(left);
            // The loop checks the queue again, after a notification and after a timeout.
            let _woken = tokio::time::timeout(pause.max(Duration::from_millis(1)), arrived).await;
            left = left.saturating_sub(self.now().saturating_sub(before));
        }
    }

    /// Tries to receive messages once. Messages received too often move to the dead-letter queue.
    fn take(
        &self,
        slot: &Slot,
        max: usize,
        visibility: Duration,
        delivery_faults: DeliveryFaults,
    ) -> (Vec<(Message, String)>, Option<Moment>) {
        let now = self.now();
        let mut queue = slot.lock();
        let (taken, given_up) = queue.receive(max, visibility, now, self.wall_ms(), delivery_faults);
        let (next_wake, more) = (queue.next_wake(), queue.has_ready());
        let target = queue.redrive.as_ref().map(|redrive| redrive.target_arn.clone());
        let arn = Arc::clone(&queue.arn);
        drop(queue);
        if more {
            slot.arrived.notify_one();
        }
        if let Some(target) = target.and_then(|arn| self.slot_of_arn(&arn)).filter(|_| !given_up.is_empty()) {
            let mut queue = target.lock();
            for mut message in given_up {
                message.source_arn = Some(Arc::clone(&arn));
                queue.push(message, Duration::ZERO, now);
            }
            drop(queue);
            target.arrived.notify_one();
            target.changed.notify_waiters();
        }
        slot.changed.notify_waiters();
        (taken, next_wake)
    }
}

fn visibility(seconds: i64) -> Result<u64, Failure> {
    u64::try_from(seconds).ok().filter(|seconds| *seconds <= LONGEST_VISIBILITY).ok_or_else(|| {
        let range =
            format!("Reason: VisibilityTimeout must be an integer between 0 and {LONGEST_VISIBILITY}");
        invalid(format!("Value {seconds} for parameter VisibilityTimeout is invalid. {range}"))
    })
}

/// Validates a batch, and returns its entries.
fn entries_of<'r, 'a>(request: &'r Request<'a>) -> Result<&'r [Entry<'a>], Failure> {
    let entries = request.entries.as_deref().unwrap_or_default();
    if entries.is_empty() {
        return Err(Failure::new("EmptyBatchRequest", "There should be at least one entry in the request."));
    }
    if entries.len() > 10 {
        let text = format!("Maximum number of entries per request are 10. You have sent {}.", entries.len());
        return Err(Failure::new("TooManyEntriesInBatchRequest", text));
    }
    let mut ids = HashSet::new();
    match entries.iter().find(|entry| !ids.insert(&*entry.id)) {
        Some(entry) => Err(Failure::new("BatchEntryIdsNotDistinct", format!("Id {} repeated.", entry.id))),
        None => Ok(entries),
    }
}

/// Executes a batch. A failed entry does not affect the others.
fn each(entries: &[Entry<'_>], mut act: impl FnMut(&Entry<'_>) -> Result<Option<Sent>, Failure>) -> Answer {
    let mut batch = BatchAnswer::default();
    for entry in entries {
        match act(entry) {
            Ok(sent) => batch.successful.push(Successful { id: &entry.id, sent }),
            Err(Failure { code, message }) => {
                let sender_fault = code != "InternalError";
                batch.failed.push(Failed { id: &entry.id, code, message, sender_fault });
            }
        }
    }
    answer(&batch)
}

fn received(request: &Request<'_>, taken: &[(Message, String)]) -> Answer {
    let old = request.attribute_names.as_deref().unwrap_or_default();
    let new = request.message_system_attribute_names.as_deref().unwrap_or_default();
    let wants = |name| asked(old, name) || asked(new, name);
    let count = wants("ApproximateReceiveCount");
    let first = wants("ApproximateFirstReceiveTimestamp");
    let sent = wants("SentTimestamp");
    let sender = wants("SenderId");
    let source = wants("DeadLetterQueueSourceArn");
    let messages = taken.iter().map(|(message, handle)| Received {
        message_id: &message.id,
        receipt_handle: handle,
        md5_of_body: &message.md5,
        body: &message.body,
        attributes: SystemAttributes {
            approximate_receive_count: count.then(|| message.receives.to_string()),
            approximate_first_receive_timestamp: first.then(|| message.first_received_at.to_string()),
            sent_timestamp: sent.then(|| message.sent_at.to_string()),
            sender_id: sender.then_some("AIDATEST"),
            dead_letter_queue_source_arn: message.source_arn.as_deref().filter(|_| source),
        },
        message_attributes: message_attributes(request, message),
    });
    answer(&ReceiveAnswer { messages: messages.collect() })
}

fn message_attributes(request: &Request<'_>, message: &Message) -> Option<Value> {
    let names = request.message_attribute_names.as_deref()?;
    let mut all = message.attributes.as_deref()?.as_object()?.clone();
    all.retain(|name, _| asked(names, name) || names.iter().any(|it| it == ".*"));
    (!all.is_empty()).then_some(Value::Object(all))
}
