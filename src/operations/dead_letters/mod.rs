//! Dead letters: list, redrive and purge.
//!
//! PostgreSQL has the dead event, its reason and every attempt; its message in the dead-letter queue only raises the alarm. So
//! lists come from the database. A redrive makes the event pending again, then deletes the messages without a dead event. After
//! a crash between the two, the next redrive deletes these messages.
//!
//! Guaranteed: a redriven event keeps its id, and so its `webhook-id`; one greeting per user, kind and local year; no greeting to
//! deleted users, nor after the local day unless `force` is set. Only a purge deletes unreadable messages. Not guaranteed: that a
//! redrive scans the whole dead-letter queue; its report says whether it did.

mod purge;
mod redrive;
mod scan;

use std::sync::Arc;

use uuid::Uuid;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::parts::scheduler_for_command;
use crate::model::{EventState, Reason};
use crate::pipeline::queue::{Queue, QueueError};
use crate::pipeline::scheduler::Scheduler;
use crate::store::{CancelOutcome, DeadFilter, RedriveOutcome, Store, StoreError};

pub use purge::{PurgeOptions, PurgeReport};
pub use redrive::{RedriveOptions, RedriveReport};
pub use scan::{MessageStatus, ScannedMessage};

/// Messages that are scanned for the one of a retried event.
const RETRY_SCAN_LIMIT: u64 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the dead-letter queue: {0}")]
    Queue(#[from] QueueError),
}

type Result<T, E = DeadLetterError> = std::result::Result<T, E>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOutcome {
    Done(RedriveOutcome),
    /// Unchanged.
    NotDead(EventState),
    /// No event has this id.
    Unknown,
}

#[derive(Debug, Clone)]
pub struct DeadLetters {
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
    scheduler: Scheduler,
}

impl DeadLetters {
    #[must_use]
    pub fn new(config: &Config, store: Store, queue: Arc<dyn Queue>, clock: SharedClock) -> Self {
        // Claims redriven events immediately; a running scheduler would take seconds.
        let scheduler = scheduler_for_command(config, store.clone(), Arc::clone(&queue), Arc::clone(&clock));
        Self { store, queue, clock, scheduler }
    }

    /// Returns the number of messages in the dead-letter queue.
    pub async fn messages(&self) -> Result<u64> {
        Ok(self.queue.depth().await?.dead_letters)
    }

    /// Redrives one dead event, and deletes its message if it is among the first thousand. After an error of the queue, the
    /// event is redriven nevertheless.
    pub async fn retry(&self, id: Uuid, force: bool) -> Result<RetryOutcome> {
        let options = RedriveOptions {
            filter: DeadFilter { ids: vec![id], ..DeadFilter::default() },
            force,
            max_messages: Some(RETRY_SCAN_LIMIT),
            ..RedriveOptions::default()
        };
        // Twice, because the event may die between the redrive and the read.
        for _ in 0..2 {
            let (report, result) = self.redrive(&options, |_| {}).await;
            if let Some(outcome) = report.outcome_of_one() {
                if let Err(error) = result {
                    tracing::warn!(%error, "dead letter not deleted; the next redrive deletes it");
                }
                return Ok(RetryOutcome::Done(outcome));
            }
            result?;
            match self.store.event(id).await? {
                None => return Ok(RetryOutcome::Unknown),
                Some(event) if event.state == EventState::Dead => {}
                Some(event) => return Ok(RetryOutcome::NotDead(event.state)),
            }
        }
        Ok(RetryOutcome::NotDead(EventState::Dead))
    }

    /// Cancels an event that is pending or queued. Workers drop it from its pack.
    pub async fn cancel(&self, id: Uuid) -> Result<CancelOutcome> {
        let outcome = self.store.cancel_event(self.clock.now(), id).await?;
        if outcome == CancelOutcome::Cancelled {
            let reason = Reason::Operator;
            metrics::counter!("bday_events_cancelled_total", "reason" => reason.as_str()).increment(1);
            tracing::info!(event_id = %id, %reason, "event cancelled");
        }
        Ok(outcome)
    }
}
