//! The receiver of a simulation: a channel in this process that checks each greeting, and fails some.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::Datelike as _;

use super::checker::{DeliveryChecker, ExpectedAttempt};
use super::config::KINDS;
use super::expected::{DeliveryState, ViolationKind};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, Reason};
use crate::pipeline::channel::{Channel, Disposition, Greeting, SendResult};

#[derive(Debug)]
pub(super) struct SimulatedReceiver {
    pub(super) checker: Arc<Mutex<DeliveryChecker>>,
    pub(super) clock: SharedClock,
    pub(super) seed: u64,
}

#[async_trait]
impl Channel for SimulatedReceiver {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        let now = self.clock.now();
        let mut checker = self.checker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kind) = KINDS.iter().position(|kind| greeting.message.text.contains(kind)) else {
            let text = format!("the text {:?} names no kind", greeting.message.text);
            checker.report(greeting.user_id, now.year(), ViolationKind::Wrong, &text);
            return SendResult::delivered(200);
        };
        let Some(attempt) = checker.begin_attempt(greeting.user_id, kind, greeting.due_at, now) else {
            return SendResult::delivered(200);
        };
        checker.check_message(&attempt, &greeting.message.text);
        let (state, sent) = self.respond(&attempt, checker.rules.max_attempts);
        checker.end_attempt(&attempt, state);
        sent
    }
}

impl SimulatedReceiver {
    /// Depends on the seed and the attempt, not on the order of requests. One hour in two hundred fails most attempts.
    fn respond(&self, attempt: &ExpectedAttempt, max_attempts: u32) -> (DeliveryState, SendResult) {
        let hour = self.clock.now().timestamp() / 3600;
        let failure_rate = if draw((self.seed, hour)) < 0.005 { 0.6 } else { 0.01 };
        let ExpectedAttempt { user_number, kind, year, attempt, .. } = *attempt;
        let drawn = draw((self.seed, user_number, kind, year, attempt));
        if attempt == 1 && drawn < 0.0003 {
            (DeliveryState::Dead, failed(Disposition::Dead, Reason::Gone, 410))
        } else if drawn < failure_rate {
            let last = attempt >= max_attempts;
            let state = if last { DeliveryState::Dead } else { DeliveryState::Retrying };
            (state, failed(Disposition::Retry(None), Reason::Status, 503))
        } else {
            (DeliveryState::Delivered, SendResult::delivered(200))
        }
    }
}

fn failed(disposition: Disposition, reason: Reason, status: u16) -> SendResult {
    let error = "the simulated receiver failed".to_owned();
    let sent = SendResult::failed(AttemptOutcome::Failed, disposition, reason, error);
    SendResult { status: Some(status), ..sent }
}

/// Returns a number from 0 to below 1 that depends on `key` alone.
fn draw(key: impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    fastrand::Rng::with_seed(hasher.finish()).f64()
}
