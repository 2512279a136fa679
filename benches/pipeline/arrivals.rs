//! What the receiver saw.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One accepted request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Arrival {
    /// Its `webhook-id`; nil if it had none.
    pub(crate) event_id: Uuid,
    /// When the 2xx went out: microseconds since 1970, UTC.
    pub(crate) accepted_us: i64,
    pub(crate) body: String,
}

/// All of them, in the order in which they were accepted.
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

    /// How many different events have come.
    pub(crate) fn distinct(&self) -> usize {
        self.counts.len()
    }

    pub(crate) fn list(&self) -> &[Arrival] {
        &self.list
    }
}
