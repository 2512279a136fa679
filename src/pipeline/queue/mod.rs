//! The queue carries work, and decides when it is tried again: receive count and visibility are the retry authority.
//!
//! It may lose, repeat or reorder messages; Postgres puts that right. Two implementations keep one contract, and pass
//! one suite (`tests/all/queue.rs`): [`sqs`] and [`postgres`].

mod memory;
mod message;
pub mod postgres;
mod settings;
pub mod sqs;

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

pub use memory::MemoryQueue;
pub use message::{MessageError, decode, encode};
pub use settings::Settings;

/// Why the queue did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It does not exist.
    #[error("the queue {0:?} does not exist: create it, or set queue.create = true")]
    Missing(String),
    /// It did not answer in time.
    #[error("the queue did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It refused, or is away. The text names no secret.
    #[error("the queue refused or is away: {0}")]
    Refused(String),
}

/// What a queue call gives.
pub type Result<T, E = QueueError> = std::result::Result<T, E>;

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What acknowledges this very receive.
    pub receipt: Receipt,
    /// The text. Whoever put it there may not have been bday.
    pub body: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
}

/// Stands for one receive of one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// A message in the dead-letter queue, as somebody looked at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// What deletes or releases it.
    pub receipt: Receipt,
    /// The queue's own name for it.
    pub id: String,
    /// The text. Whoever put it there may not have been bday.
    pub body: String,
    /// Why it is there, if that was said: the queue itself moves messages without a word.
    pub reason: Option<String>,
}

/// How many messages there are, as far as the queue knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting for a worker.
    pub visible: u64,
    /// Received, and hidden from others.
    pub in_flight: u64,
    /// In the dead-letter queue, also those that somebody looks at just now.
    pub dead_letters: u64,
}

/// A queue with visibility, receive counts and a dead-letter queue.
#[async_trait]
pub trait Queue: std::fmt::Debug + Send + Sync + 'static {
    /// Creates the queue and its dead-letter queue if they are missing. For local use.
    ///
    /// # Errors
    /// The queue refuses or is away.
    async fn create(&self) -> Result<()>;

    /// Sends a message for each event, and gives those that the queue confirmed. What is missing was refused, or its
    /// fate is unknown.
    ///
    /// # Errors
    /// None was confirmed.
    async fn send(&self, event_ids: &[Uuid]) -> Result<Vec<Uuid>>;

    /// The most messages that one [`receive`](Queue::receive) gives.
    fn receive_limit(&self) -> usize;

    /// Receives up to `max` messages, and waits up to `wait` for the first. Each is then hidden from others for the
    /// visibility timeout. A message that was received too often goes to the dead-letter queue instead.
    ///
    /// # Errors
    /// The queue refuses or is away.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>>;

    /// Deletes messages. One that stays by mistake comes again, and is dropped then.
    ///
    /// # Errors
    /// The queue refuses or is away.
    async fn ack(&self, receipts: &[Receipt]) -> Result<()>;

    /// Sets for how long from now each message stays hidden; zero makes it visible at once.
    ///
    /// # Errors
    /// The queue refuses or is away.
    async fn hide(&self, receipts: &[(Receipt, Duration)]) -> Result<()>;

    /// Moves a message to the dead-letter queue at once, with the reason.
    ///
    /// # Errors
    /// The queue refuses or is away; then the message comes again.
    async fn dead_letter(&self, message: &Received, reason: &str) -> Result<()>;

    /// Up to `max` messages of the dead-letter queue, which are then hidden from whoever else looks for `hidden`, and
    /// stay where they are. None: there are no others at this moment.
    ///
    /// In SQS a look is a receive, so it raises the message's receive count. In a dead-letter queue nothing follows from
    /// that.
    ///
    /// # Errors
    /// The queue refuses or is away.
    async fn dead_letters(&self, max: usize, hidden: Duration) -> Result<Vec<DeadLetter>>;

    /// Deletes messages of the dead-letter queue; gives how many are gone. Those that were gone before may be counted.
    ///
    /// # Errors
    /// The queue refuses or is away; some may be deleted.
    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64>;

    /// Lets others see messages of the dead-letter queue again, before their time is over.
    ///
    /// # Errors
    /// The queue refuses or is away; then they show by themselves, later.
    async fn release_dead_letters(&self, receipts: &[Receipt]) -> Result<()>;

    /// How many messages there are.
    ///
    /// # Errors
    /// The queue refuses or is away.
    async fn depth(&self) -> Result<Depth>;

    /// How the queue is set up, where it is not ours alone to say.
    ///
    /// # Errors
    /// The queue refuses or is away.
    async fn settings(&self) -> Result<Option<Settings>> {
        Ok(None)
    }
}
