//! The queue: carries packs of event ids from schedulers to workers, at least once, in any order.
//!
//! Nothing depends on the queue's receive counts or on visibility: a lost message is sent again from the outbox, and one that is
//! received twice finds its events leased. Two implementations keep this contract and pass one suite (`tests/all/queue.rs`): [`sqs`]
//! and [`postgres`].

mod message;
pub mod postgres;
pub mod sqs;

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

pub use crate::store::Pack;
pub use message::{Message, MessageError, decode, encode};

/// After this many receives without an ack, SQS moves a message to the dead-letter queue.
pub(crate) const MAX_RECEIVES: u32 = 5;

/// Why a call to the queue failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It does not exist.
    #[error("the queue {0:?} does not exist: create it, or set queue.create = true")]
    Missing(String),
    /// The deadline passed.
    #[error("the queue did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It refused, or is unavailable. The text holds no secret.
    #[error("the queue is unavailable: {0}")]
    Unavailable(String),
}

/// The result of a queue call.
pub type Result<T, E = QueueError> = std::result::Result<T, E>;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Acknowledges this receive.
    pub receipt: Receipt,
    /// The message, or its text and what is wrong with it.
    pub message: Result<Message, (String, MessageError)>,
}

/// Stands for one receive of one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// A message for the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The text.
    pub body: String,
    /// Why it is there.
    pub reason: String,
}

impl DeadLetter {
    /// The message for a dead event.
    #[must_use]
    pub fn of_event(event_id: Uuid, reason: &str) -> Self {
        Self { body: encode(&Message { pack: None, event_ids: vec![event_id] }), reason: reason.to_owned() }
    }
}

/// A message that was read from the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadMessage {
    /// Deletes it.
    pub receipt: Receipt,
    /// The queue's own id.
    pub id: String,
    /// The text. It may come from another program.
    pub body: String,
    /// Why it is there; none if the queue itself moved it.
    pub reason: Option<String>,
}

/// How many messages there are, as far as the queue knows. Packs, not events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting for a worker.
    pub visible: u64,
    /// Received, and hidden from others.
    pub in_flight: u64,
    /// In the dead-letter queue.
    pub dead_letters: u64,
}

/// How a queue is set up that another program may have created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a received message stays hidden unless the receive says otherwise, as bday's does.
    pub visibility: Duration,
    /// After how many receives a message becomes a dead letter; none: never.
    pub max_receives: Option<u32>,
    /// How long a message is kept.
    pub retention: Duration,
    /// How long a dead letter is kept, from when the message was first sent.
    pub dead_letter_retention: Duration,
}

/// See the module.
#[async_trait]
pub trait Queue: std::fmt::Debug + Send + Sync + 'static {
    /// Creates the queue and its dead-letter queue if they are missing. For local use.
    async fn create(&self) -> Result<()>;

    /// Whether workers take packs from the outbox itself, so that nothing has to be sent.
    fn is_outbox(&self) -> bool {
        false
    }

    /// Sends a message for each pack; returns the packs that the queue confirmed.
    async fn send(&self, packs: &[Pack]) -> Result<Vec<i64>>;

    /// Receives up to `max` messages, and waits up to `wait` for the first. Each is then hidden from others for some time.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>>;

    /// Deletes messages. One that stays is received again, and its events are found leased.
    async fn ack(&self, receipts: &[Receipt]) -> Result<()>;

    /// Puts messages into the dead-letter queue; returns the positions of those that were confirmed.
    async fn send_dead_letters(&self, letters: &[DeadLetter]) -> Result<Vec<usize>>;

    /// Reads up to `max` messages of the dead-letter queue after `after`, the last one that this reader has read. They stay in the
    /// queue, and may be hidden from other readers for `hidden`. Empty: there are no others at this moment.
    async fn dead_letters(
        &self,
        after: Option<&DeadMessage>,
        max: usize,
        hidden: Duration,
    ) -> Result<Vec<DeadMessage>>;

    /// Deletes messages of the dead-letter queue; returns how many. After an error some may be deleted.
    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64>;

    /// Makes messages of the dead-letter queue visible before their time: the alarm counts visible messages.
    async fn release_dead_letters(&self, _: &[Receipt]) -> Result<()> {
        Ok(())
    }

    /// How many messages there are.
    async fn depth(&self) -> Result<Depth>;

    /// How the queue is set up, where another program may have done that.
    async fn settings(&self) -> Result<Option<Settings>> {
        Ok(None)
    }
}
