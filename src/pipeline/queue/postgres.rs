//! The queue inside PostgreSQL, for those who have no AWS: `pgmq`, with the receive limit and the dead-letter queue
//! that SQS has and pgmq has not.
//!
//! Waiting is done here, not in the database, so that a poll holds no connection. A message that this process sends is
//! noticed at once; one from elsewhere, and one whose visibility ends, within [`POLL_INTERVAL`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use pgmq::PGMQueueExt;
use pgmq::types::Message;
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{DeadLetter, Depth, Queue, QueueError, Receipt, Received, Result, message};
use crate::store::Store;

/// What one receive takes: a statement costs the same for one as for many.
const RECEIVE_LIMIT: usize = 100;
/// How often a waiting poll looks.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONCURRENT_CALLS: usize = 4;
/// What one look at the dead letters takes.
const DEAD_LETTERS: usize = 500;

type PgMessage = Message<Value, Value>;

/// A queue in the database.
#[derive(Debug, Clone)]
pub struct PostgresQueue {
    pgmq: PGMQueueExt,
    store: Store,
    name: String,
    dead_letters: String,
    visibility: Duration,
    max_receives: u32,
    sent: Arc<Notify>,
}

impl PostgresQueue {
    /// Uses the store's connections. `name` is lower-case letters, digits and underscores.
    pub async fn new(store: Store, name: &str, visibility: Duration, max_receives: u32) -> Self {
        Self {
            pgmq: PGMQueueExt::new_with_pool(store.pool().clone()).await,
            store,
            name: name.to_owned(),
            dead_letters: format!("{name}_dlq"),
            visibility,
            max_receives,
            sent: Arc::new(Notify::new()),
        }
    }

    async fn call<T, E: std::error::Error>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T> {
        match self.store.within(CALL_TIMEOUT, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.refused(&error)),
            Err(_) => Err(QueueError::Timeout(CALL_TIMEOUT)),
        }
    }

    fn refused(&self, error: &dyn std::error::Error) -> QueueError {
        let text = error.to_string();
        // What Postgres says when there is no such table, or no such schema.
        if text.contains("does not exist") {
            return QueueError::Missing(self.name.clone());
        }
        QueueError::Refused(text)
    }

    async fn read(&self, max: usize) -> Result<Vec<PgMessage>> {
        let visibility = self.visibility.as_secs() as i32;
        self.call(self.pgmq.read_batch(&self.name, visibility, max as i32))
            .await
    }

    async fn set_visibility(&self, queue: &str, waits: Vec<(Receipt, Duration)>) -> Result<()> {
        stream::iter(waits)
            .map(|(receipt, wait)| async move {
                let Some(id) = id(&receipt) else { return Ok(()) };
                self.call(self.pgmq.set_vt::<Value, Value>(queue, id, wait.as_secs() as i32))
                    .await?;
                Ok(())
            })
            .buffer_unordered(CONCURRENT_CALLS)
            .fold(Ok(()), |all, one| std::future::ready(all.and(one)))
            .await
    }

    /// In one transaction, so that the message is in exactly one of the two queues.
    async fn bury(&self, id: i64, body: &Value, reason: &str, receive_count: u32) -> Result<()> {
        self.call::<_, pgmq::PgmqError>(async {
            let mut transaction = self.store.begin().await?;
            // The delete first: where another process was faster, there is nothing left to bury.
            if self
                .pgmq
                .delete_with_cxn(&self.name, id, &mut *transaction)
                .await?
            {
                let headers = json!({ "reason": reason, "receive_count": receive_count });
                self.pgmq
                    .send_delay_with_headers_with_cxn(
                        &self.dead_letters,
                        body,
                        Some(&headers),
                        0,
                        &mut *transaction,
                    )
                    .await?;
            }
            transaction.commit().await?;
            Ok(())
        })
        .await
    }
}

/// A receipt is the message's id: pgmq, like a standard queue of SQS, does not tell one receive from another.
fn id(receipt: &Receipt) -> Option<i64> {
    receipt.0.parse().ok()
}

#[async_trait]
impl Queue for PostgresQueue {
    async fn create(&self) -> Result<()> {
        self.store
            .set_up(async {
                self.pgmq
                    .install_sql_from_embedded()
                    .await
                    .map_err(|error| QueueError::Refused(error.to_string()))?;
                for name in [&self.dead_letters, &self.name] {
                    self.pgmq
                        .create(name)
                        .await
                        .map_err(|error| QueueError::Refused(error.to_string()))?;
                }
                Ok(())
            })
            .await
            .map_err(|error| QueueError::Refused(error.to_string()))?
    }

    async fn send(&self, event_ids: &[Uuid]) -> Result<Vec<Uuid>> {
        let messages: Vec<Value> = event_ids
            .iter()
            .map(|event_id| message::value(*event_id))
            .collect();
        self.call(self.pgmq.send_batch(&self.name, &messages)).await?;
        self.sent.notify_waiters();
        Ok(event_ids.to_vec())
    }

    fn receive_limit(&self) -> usize {
        RECEIVE_LIMIT
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>> {
        // The time that passes counts, not the looks: each of those takes as long as the database does.
        let mut over = std::pin::pin!(tokio::time::sleep(wait));
        let messages = loop {
            let sent = self.sent.notified();
            let messages = self.read(max.min(RECEIVE_LIMIT)).await?;
            if !messages.is_empty() || wait.is_zero() {
                break messages;
            }
            tokio::select! {
                biased;
                () = &mut over => break messages,
                _ = tokio::time::timeout(POLL_INTERVAL, sent) => {}
            }
        };
        let mut received = Vec::with_capacity(messages.len());
        for message in messages {
            let receive_count = u32::try_from(message.read_ct).unwrap_or(u32::MAX);
            if receive_count > self.max_receives {
                let buried = self
                    .bury(
                        message.msg_id,
                        &message.message,
                        "max_receives",
                        receive_count - 1,
                    )
                    .await;
                // The others of the batch are received either way, and this one comes again.
                if let Err(error) = buried {
                    tracing::warn!(%error, "a message cannot be moved to the dead-letter queue now");
                }
                continue;
            }
            received.push(Received {
                receipt: Receipt(message.msg_id.to_string()),
                body: message.message.to_string(),
                receive_count,
            });
        }
        Ok(received)
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        let ids: Vec<i64> = receipts.iter().filter_map(id).collect();
        self.call(self.pgmq.delete_batch(&self.name, &ids)).await?;
        Ok(())
    }

    async fn hide(&self, receipts: &[(Receipt, Duration)]) -> Result<()> {
        self.set_visibility(&self.name, receipts.to_vec()).await
    }

    async fn dead_letter(&self, message: &Received, reason: &str) -> Result<()> {
        let body =
            serde_json::from_str(&message.body).unwrap_or_else(|_| Value::String(message.body.clone()));
        match id(&message.receipt) {
            Some(id) => self.bury(id, &body, reason, message.receive_count).await,
            None => Ok(()),
        }
    }

    async fn dead_letters(&self, max: usize, hidden: Duration) -> Result<Vec<DeadLetter>> {
        let (hidden, max) = (hidden.as_secs() as i32, max.min(DEAD_LETTERS) as i32);
        let found: Vec<PgMessage> = self
            .call(self.pgmq.read_batch(&self.dead_letters, hidden, max))
            .await?;
        let letter = |message: PgMessage| DeadLetter {
            receipt: Receipt(message.msg_id.to_string()),
            id: message.msg_id.to_string(),
            // What was no JSON was buried as a JSON string of it.
            body: match message.message {
                Value::String(text) => text,
                other => other.to_string(),
            },
            reason: message
                .headers
                .and_then(|headers| Some(headers.get("reason")?.as_str()?.to_owned())),
        };
        Ok(found.into_iter().map(letter).collect())
    }

    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64> {
        let ids: Vec<i64> = receipts.iter().filter_map(id).collect();
        let gone = self
            .call(self.pgmq.delete_batch(&self.dead_letters, &ids))
            .await?;
        Ok(gone.len() as u64)
    }

    async fn release_dead_letters(&self, receipts: &[Receipt]) -> Result<()> {
        let waits: Vec<_> = receipts
            .iter()
            .map(|receipt| (receipt.clone(), Duration::ZERO))
            .collect();
        self.set_visibility(&self.dead_letters, waits).await
    }

    async fn depth(&self) -> Result<Depth> {
        let main = self.call(self.pgmq.metrics(&self.name)).await?;
        let dead = self.call(self.pgmq.metrics(&self.dead_letters)).await?;
        let figure = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Depth {
            visible: figure(main.queue_visible_length),
            in_flight: figure(main.queue_length - main.queue_visible_length),
            dead_letters: figure(dead.queue_length),
        })
    }
}
