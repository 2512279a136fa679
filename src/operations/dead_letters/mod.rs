//! Dead letters: list them, redrive them, purge their messages.
//!
//! A dead event stands in PostgreSQL, with its reason and every attempt; its message in the dead-letter queue only rings the alarm.
//! So lists come from the database, a redrive makes the same event pending again, and then the messages are deleted that stand for
//! no dead event. A crash between the two leaves such messages behind, and the next redrive deletes them.
//!
//! Guaranteed: a redriven event keeps its id, and so its `webhook-id`; one greeting per user, kind and local year holds; deleted
//! users are not greeted, and no user after their local day, unless that is asked for. Messages that are not bday's are deleted by a
//! purge only. Not guaranteed: that a redrive finds every message in one pass; it says when it did not.

mod purge;
mod redrive;
mod scan;

use std::sync::Arc;

use uuid::Uuid;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::parts::scheduler_for_command;
use crate::model::EventState;
use crate::pipeline::queue::{Queue, QueueError};
use crate::pipeline::scheduler::Scheduler;
use crate::store::{CancelOutcome, DeadFilter, RedriveOutcome, Store, StoreError};

pub use purge::{Purge, PurgeReport};
pub use redrive::{Redrive, RedriveReport};
pub use scan::{Passed, Seen, Standing};

/// Of a queue with many messages, so many are looked at for that of one event.
const LOOK_FOR_ONE: u64 = 1000;

/// Why something could not be done. What was done stays done.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// Postgres.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dead-letter queue.
    #[error("the dead-letter queue: {0}")]
    Queue(#[from] QueueError),
}

type Result<T, E = DeadLetterError> = std::result::Result<T, E>;

/// What came of the wish to send one event again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It was dead; this has become of it.
    Done(RedriveOutcome),
    /// It is in this state, which is not dead.
    NotDead(EventState),
    /// Nobody knows it.
    Unknown,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    store: Store,
    queue: Arc<dyn Queue>,
    clock: SharedClock,
    scheduler: Scheduler,
}

impl DeadLetters {
    /// By the rules of `config`.
    #[must_use]
    pub fn new(config: &Config, store: Store, queue: Arc<dyn Queue>, clock: SharedClock) -> Self {
        // Claims redriven events at once; a running scheduler would do so within seconds.
        let scheduler = scheduler_for_command(config, store.clone(), Arc::clone(&queue), Arc::clone(&clock));
        Self { store, queue, clock, scheduler }
    }

    /// How many messages the dead-letter queue has.
    pub async fn messages(&self) -> Result<u64> {
        Ok(self.queue.depth().await?.dead_letters)
    }

    /// Sends one dead event again, by the rules of [`redrive`](DeadLetters::redrive), and deletes its message where it is
    /// among the first thousand.
    ///
    /// # Errors
    /// The database or the queue refuses or is unavailable. Where it is the queue, the event is on its way nevertheless.
    pub async fn retry(&self, id: Uuid, force: bool) -> Result<Retried> {
        let order = Redrive {
            filter: DeadFilter { ids: vec![id], ..DeadFilter::default() },
            force,
            messages: Some(LOOK_FOR_ONE),
            ..Redrive::default()
        };
        // Once more for one that dies between the two looks.
        for _ in 0..2 {
            let (report, result) = self.redrive(&order, |_| {}).await;
            if let Some(fate) = report.fate() {
                if let Err(error) = result {
                    tracing::warn!(%error, "its message cannot be deleted now; the next redrive does so");
                }
                return Ok(Retried::Done(fate));
            }
            result?;
            match self.store.event(id).await? {
                None => return Ok(Retried::Unknown),
                Some(event) if event.state == EventState::Dead => {}
                Some(event) => return Ok(Retried::NotDead(event.state)),
            }
        }
        Ok(Retried::NotDead(EventState::Dead))
    }

    /// Cancels an event that is pending or queued. Its message, if there is one, is dropped when it comes.
    pub async fn cancel(&self, id: Uuid) -> Result<CancelOutcome> {
        let done = self.store.cancel_event(self.clock.now(), id).await?;
        if done == CancelOutcome::Cancelled {
            let reason = crate::model::Reason::Operator;
            metrics::counter!("bday_events_cancelled_total", "reason" => reason.as_str()).increment(1);
            tracing::info!(event_id = %id, %reason, "event cancelled");
        }
        Ok(done)
    }
}
