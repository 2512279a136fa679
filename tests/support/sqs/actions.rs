//! Dispatches actions, and implements those on queues.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::error::{Failure, invalid, no_queue};
use super::queue::{LONGEST_VISIBILITY, Message, Queue, Redrive};
use super::wire::Request;
use super::{ACCOUNT, Endpoint, Faults, LARGEST_BODY, REGION, Slot};

pub(super) type Answer = Result<Vec<u8>, Failure>;

impl Endpoint {
    pub(super) async fn act(&self, action: &str, body: &[u8], faults: &Faults) -> Answer {
        let request: Request<'_> = serde_json::from_slice(body)
            .map_err(|error| Failure::new("SerializationException", error.to_string()))?;
        match action {
            "SendMessageBatch" => self.send_batch(&request, faults),
            "ReceiveMessage" => self.receive(&request, faults).await,
            "DeleteMessageBatch" => self.delete_batch(&request, faults),
            "ChangeMessageVisibilityBatch" => self.change_visibility_batch(&request),
            "SendMessage" => {
                let message_attributes = request.message_attributes.clone();
                let slot = self.slot_of(&request)?;
                let text = request.message_body.as_deref().unwrap_or_default();
                answer(&self.send(&slot, text, message_attributes, request.delay_seconds)?)
            }
            "DeleteMessage" => {
                let slot = self.slot_of(&request)?;
                slot.lock().delete(request.receipt_handle.as_deref().unwrap_or_default())?;
                slot.changed.notify_waiters();
                Ok(b"{}".to_vec())
            }
            "ChangeMessageVisibility" => {
                let slot = self.slot_of(&request)?;
                let handle = request.receipt_handle.as_deref().unwrap_or_default();
                self.change_visibility(&slot, handle, request.visibility_timeout)?;
                Ok(b"{}".to_vec())
            }
            "CreateQueue" => self.create_queue(request),
            "DeleteQueue" => {
                let name = self.slot_of(&request)?.name.clone();
                self.queues.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
                Ok(b"{}".to_vec())
            }
            "GetQueueUrl" => {
                let slot = self.slot(request.queue_name.as_deref().unwrap_or_default())?;
                answer(&json!({ "QueueUrl": self.url(&slot.name) }))
            }
            "ListQueues" => {
                let prefix = request.queue_name_prefix.unwrap_or_default();
                let mut names: Vec<String> = self.slots().iter().map(|slot| slot.name.clone()).collect();
                names.sort_unstable();
                let urls = names.iter().filter(|name| name.starts_with(&prefix)).map(|name| self.url(name));
                answer(&json!({ "QueueUrls": urls.collect::<Vec<_>>() }))
            }
            "GetQueueAttributes" => self.attributes(&request),
            "SetQueueAttributes" => {
                let slot = self.slot_of(&request)?;
                set_attributes(&mut slot.lock(), request.attributes.unwrap_or_default())?;
                Ok(b"{}".to_vec())
            }
            "PurgeQueue" => {
                let slot = self.slot_of(&request)?;
                slot.lock().purge();
                slot.changed.notify_waiters();
                Ok(b"{}".to_vec())
            }
            "StartMessageMoveTask" => self.move_messages(&request),
            "ListMessageMoveTasks" => answer(&json!({ "Results": [] })),
            _ => Err(Failure::new("InvalidAction", format!("the action {action} is not there"))),
        }
    }

    pub(super) fn slot_of(&self, request: &Request<'_>) -> Result<Arc<Slot>, Failure> {
        self.slot(request.queue_url.as_deref().ok_or_else(no_queue)?)
    }

    fn create_queue(&self, request: Request<'_>) -> Answer {
        let name = request.queue_name.unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 80 || !name.chars().all(allowed) {
            return Err(invalid(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
            ));
        }
        let attributes = request.attributes.unwrap_or_default();
        let mut queue = Queue::new(format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}").into());
        set_attributes(&mut queue, attributes.clone())?;
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = queues.get(&name) {
            let old = old.lock();
            if let Some((key, _)) =
                attributes.iter().find(|(key, value)| old.attributes.get(*key) != Some(*value))
            {
                let text = "A queue already exists with the same name and a different value for attribute";
                return Err(Failure::new("QueueNameExists", format!("{text} {key}")));
            }
        } else {
            let slot = Slot {
                name: name.clone(),
                queue: queue.into(),
                arrived: tokio::sync::Notify::new(),
                changed: tokio::sync::Notify::new(),
            };
            queues.insert(name.clone(), slot.into());
        }
        answer(&json!({ "QueueUrl": self.url(&name) }))
    }

    fn attributes(&self, request: &Request<'_>) -> Answer {
        let slot = self.slot_of(request)?;
        let mut queue = slot.lock();
        let counts = queue.counts(self.now());
        let mut all = HashMap::from([
            ("QueueArn".to_owned(), queue.arn.to_string()),
            ("VisibilityTimeout".to_owned(), queue.visibility.as_secs().to_string()),
            ("DelaySeconds".to_owned(), queue.delay.as_secs().to_string()),
            ("ReceiveMessageWaitTimeSeconds".to_owned(), queue.wait.as_secs().to_string()),
            ("MessageRetentionPeriod".to_owned(), "345600".to_owned()),
            ("MaximumMessageSize".to_owned(), LARGEST_BODY.to_string()),
            ("ApproximateNumberOfMessages".to_owned(), counts.visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible".to_owned(), counts.in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed".to_owned(), counts.delayed.to_string()),
        ]);
        all.extend(queue.attributes.clone());
        let names = request.attribute_names.as_deref().unwrap_or_default();
        all.retain(|name, _| asked(names, name));
        answer(&json!({ "Attributes": all }))
    }

    fn move_messages(&self, request: &Request<'_>) -> Answer {
        let missing = |arn: &str| {
            let text =
                format!("The resource that you specified for the SourceArn parameter doesn't exist: {arn}");
            Failure::new("ResourceNotFoundException", text)
        };
        let source_arn = request.source_arn.as_deref().unwrap_or_default();
        let source = self.slot_of_arn(source_arn).ok_or_else(|| missing(source_arn))?;
        let messages = source.lock().drain(self.now());
        source.changed.notify_waiters();
        for message in messages {
            let target = request.destination_arn.as_deref().or(message.source_arn.as_deref());
            let target = target.and_then(|arn| self.slot_of_arn(arn)).unwrap_or_else(|| Arc::clone(&source));
            let renewed =
                Message::new(self.new_id(), message.body, message.md5, self.wall_ms(), message.attributes);
            target.lock().push(renewed, Duration::ZERO, self.now());
            target.arrived.notify_one();
            target.changed.notify_waiters();
        }
        answer(&json!({ "TaskHandle": "done" }))
    }
}

pub(super) fn answer(value: &impl serde::Serialize) -> Answer {
    serde_json::to_vec(value).map_err(|error| Failure::new("InternalError", error.to_string()))
}

pub(super) fn asked(names: &[String], name: &str) -> bool {
    names.iter().any(|asked| asked == "All" || asked == name)
}

fn set_attributes(queue: &mut Queue, attributes: HashMap<String, String>) -> Result<(), Failure> {
    for (name, value) in attributes {
        let bad = || invalid(format!("Invalid value for the parameter {name}."));
        let number =
            |most: u64| value.parse().ok().filter(|n| *n <= most).map(Duration::from_secs).ok_or_else(bad);
        match name.as_str() {
            "VisibilityTimeout" => queue.visibility = number(LONGEST_VISIBILITY)?,
            "DelaySeconds" => queue.delay = number(900)?,
            "ReceiveMessageWaitTimeSeconds" => queue.wait = number(20)?,
            "RedrivePolicy" if value.is_empty() => queue.redrive = None,
            "RedrivePolicy" => queue.redrive = Some(redrive(&value).ok_or_else(bad)?),
            "MessageRetentionPeriod"
            | "MaximumMessageSize"
            | "Policy"
            | "KmsMasterKeyId"
            | "RedriveAllowPolicy"
            | "SqsManagedSseEnabled" => {}
            _ => {
                return Err(Failure::new("InvalidAttributeName", format!("Unknown Attribute {name}.")));
            }
        }
        queue.attributes.insert(name, value);
    }
    Ok(())
}

/// Parses a redrive policy. The count is a number or, from some tools, a string.
fn redrive(policy: &str) -> Option<Redrive> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let count = &policy["maxReceiveCount"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).filter(|n| (1..=1000).contains(n))?;
    Some(Redrive {
        target_arn: policy["deadLetterTargetArn"].as_str()?.to_owned(),
        max_receives: u32::try_from(count).ok()?,
    })
}
