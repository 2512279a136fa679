//! How a queue is set up, where others may have done that.

use std::time::Duration;

/// What matters to us of a queue's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a received message stays hidden unless the receive says otherwise, as ours does.
    pub visibility: Duration,
    /// After how many receives a message becomes a dead letter; none: never.
    pub max_receives: Option<u32>,
    /// How long a message is kept.
    pub retention: Duration,
    /// How long a dead letter is kept. The clock starts when the message was first sent.
    pub dead_letter_retention: Duration,
}
