//! The queue: carries packs of event ids from schedulers to workers, at least once, in any order.
//!
//! Nothing depends on the queue's receive counts or on visibility: a lost message is sent again from the outbox, and the events of a
//! message that is received twice are leased once. Two implementations keep this contract and pass one suite (`tests/all/queue.rs`):
//! `sqs` (with the feature `aws`) and [`postgres`].

mod message;
pub mod postgres;
#[cfg(feature = "aws")]
pub mod sqs;

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::model::SpanContext;
pub use crate::store::Pack;
pub use message::{Message, MessageError, decode, encode};

/// After this many receives without an ack, SQS moves a message to the dead-letter queue.
pub(crate) const MAX_RECEIVES: u32 = 5;

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("the queue {0:?} does not exist: create it, or set queue.create = true")]
    Missing(String),
    #[error("the queue did not respond within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The queue rejected the call, or could not be reached. The text holds no secret.
    #[error("the queue is unavailable: {0}")]
    Unavailable(String),
}

pub type Result<T, E = QueueError> = std::result::Result<T, E>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub receipt: Receipt,
    /// The message, or its body and why it cannot be read.
    pub message: Result<Message, (String, MessageError)>,
    /// The span of the claim.
    pub claim: Option<SpanContext>,
}

/// Identifies one receive of one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// A message to send to the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub body: String,
    pub reason: String,
}

impl DeadLetter {
    #[must_use]
    pub fn of_event(event_id: Uuid, reason: &str) -> Self {
        Self { body: encode(&Message { pack: None, event_ids: vec![event_id] }), reason: reason.to_owned() }
    }
}

/// A message read from the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadMessage {
    pub receipt: Receipt,
    /// The queue's id.
    pub id: String,
    /// May come from another program.
    pub body: String,
    /// None if the queue itself moved the message.
    pub reason: Option<String>,
}

/// Approximate numbers of messages: packs, not events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    pub visible: u64,
    /// Received, and hidden from other workers.
    pub in_flight: u64,
    pub dead_letters: u64,
}

/// The settings of a queue that another program may have created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long a received message stays hidden by default. Receives by bday override it.
    pub visibility: Duration,
    /// Receives after which a message becomes a dead letter; none: it never does.
    pub max_receives: Option<u32>,
    pub retention: Duration,
    /// Counts from when the message was first sent.
    pub dead_letter_retention: Duration,
}

#[async_trait]
pub trait Queue: std::fmt::Debug + Send + Sync + 'static {
    /// Creates the queue and its dead-letter queue if they do not exist. For local use.
    async fn create(&self) -> Result<()>;

    /// Whether workers take packs from the outbox, so that nothing has to be sent.
    fn is_outbox(&self) -> bool {
        false
    }

    /// Sends a message for each pack; returns the ids of the packs that the queue confirmed.
    async fn send(&self, packs: &[Pack]) -> Result<Vec<i64>>;

    /// Receives up to `max` messages, and waits up to `wait` for the first. Each is then hidden from others for some time.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>>;

    /// Deletes messages. A message that is not deleted is received again, after its events were leased.
    async fn ack(&self, receipts: &[Receipt]) -> Result<()>;

    /// Sends messages to the dead-letter queue; returns the positions of those that were confirmed.
    async fn send_dead_letters(&self, letters: &[DeadLetter]) -> Result<Vec<usize>>;

    /// Reads up to `max` messages of the dead-letter queue after `after`, the last message that this reader has read. They stay in the
    /// queue, and may be hidden from other readers for `hidden`. Returns none if there are no others at this moment.
    async fn dead_letters(
        &self,
        after: Option<&DeadMessage>,
        max: usize,
        hidden: Duration,
    ) -> Result<Vec<DeadMessage>>;

    /// Returns the number of deleted messages. After an error some may be deleted.
    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64>;

    /// Makes messages of the dead-letter queue visible early: the alarm counts visible messages.
    async fn release_dead_letters(&self, _: &[Receipt]) -> Result<()> {
        Ok(())
    }

    async fn depth(&self) -> Result<Depth>;

    /// Returns `None` where no other program can create the queue.
    async fn settings(&self) -> Result<Option<QueueSettings>> {
        Ok(None)
    }
}
