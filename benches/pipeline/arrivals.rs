//! The requests that the receiver accepted.

use std::collections::HashMap;

use bday::model::ChannelName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Arrival {
    pub(crate) channel: ChannelName,
    /// Nil if it is missing or not a UUID.
    pub(crate) event_id: Uuid,
    /// When the 2xx was sent, in microseconds since 1970 (UTC).
    pub(crate) accepted_us: i64,
    /// Of a webhook the body; of another channel the address of the recipient.
    pub(crate) content: String,
}

/// Accepted requests, in the order of acceptance.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    list: Vec<Arrival>,
    counts: HashMap<Uuid, u32>,
}

impl Arrivals {
    pub(crate) fn push(&mut self, arrival: Arrival) {
        *self.counts.entry(arrival.event_id).or_default() += 1;
        self.list.push(arrival);
    }

    /// Returns the number of distinct events.
    pub(crate) fn distinct(&self) -> usize {
        self.counts.len()
    }

    pub(crate) fn list(&self) -> &[Arrival] {
        &self.list
    }
}
