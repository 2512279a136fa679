//! What the servers of the receiver have in common: an arrival is recorded after the latency.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use bday::model::ChannelName;
use uuid::Uuid;

use super::arrivals::{Arrival, Arrivals};

#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) latency: Duration,
    pub(crate) arrivals: Arc<Mutex<Arrivals>>,
}

impl Receiver {
    pub(crate) async fn accept(&self, channel: ChannelName, event_id: Option<Uuid>, content: String) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        lock(&self.arrivals).push(Arrival {
            channel,
            event_id: event_id.unwrap_or_default(),
            accepted_us: SystemClock.now().timestamp_micros(),
            content,
        });
    }
}

pub(crate) fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}
