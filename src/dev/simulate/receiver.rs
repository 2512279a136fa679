//! The receiver of a simulation: a channel in this process that asks the ledger about every greeting.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{Datelike as _, NaiveDate};

use super::cast::KINDS;
use super::ledger::{Fate, Ledger, Violation};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, Reason};
use crate::pipeline::channel::{Channel, Disposition, Greeting, SendResult};

/// The template of every kind, so that the text tells what the system thinks it is sending.
pub(super) const TEMPLATE: &str = "{{ full_name }}: {{ kind }} on {{ local_date }}, {% if years is none %}-{% else %}{{ years }}{% endif %}";

/// What [`TEMPLATE`] must come to.
pub(super) fn text(number: u32, kind: &str, local_date: NaiveDate, years: &str) -> String {
    format!("Sim {number:06}: {kind} on {local_date}, {years}")
}

/// See the module.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) clock: SharedClock,
    pub(super) seed: u64,
}

#[async_trait]
impl Channel for Receiver {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        let now = self.clock.now();
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let user = greeting.user_id;
        let Some(kind) = KINDS.iter().position(|kind| greeting.message.contains(kind)) else {
            let what = format!("the text {:?} names no kind", greeting.message);
            ledger.complain_of(user, now.year(), Violation::Wrong, &what);
            return SendResult::delivered(200);
        };
        let Some((number, year, attempt)) = ledger.attempt(user, kind, greeting.due_at, now) else {
            return SendResult::delivered(200);
        };
        let expected = ledger.expected_text(user, kind, year);
        if expected.as_deref() != Some(greeting.message.as_str()) {
            let what = format!("the text is {:?} and not {expected:?}", greeting.message);
            ledger.complain_of(user, year, Violation::Wrong, &what);
        }
        let max_attempts = ledger.rules.max_attempts;
        let (fate, result) = match self.mood(number, kind, year, attempt) {
            Mood::Well => (Fate::Sent, SendResult::delivered(200)),
            Mood::Gone => (Fate::Dead, failed(Disposition::Dead, Reason::Gone)),
            Mood::Failing if attempt >= max_attempts => {
                (Fate::Dead, failed(Disposition::Retry(None), Reason::Status))
            }
            Mood::Failing => (Fate::Trying(attempt), failed(Disposition::Retry(None), Reason::Status)),
        };
        ledger.settle(user, kind, year, fate);
        result
    }
}

enum Mood {
    Well,
    Failing,
    Gone,
}

impl Receiver {
    /// Drawn from the seed and the greeting, so that the order in which requests come makes no difference. One hour in
    /// two hundred is a bad one.
    fn mood(&self, number: u32, kind: usize, year: i32, attempt: u32) -> Mood {
        let hour = self.clock.now().timestamp() / 3600;
        let bad_hour = draw(self.seed, &[hour as u64]) < 0.005;
        let drawn = draw(self.seed, &[u64::from(number), kind as u64, year as u64, u64::from(attempt)]);
        match drawn {
            0.0..0.0003 if attempt == 1 => Mood::Gone,
            0.0..0.01 => Mood::Failing,
            0.0..0.6 if bad_hour => Mood::Failing,
            _ => Mood::Well,
        }
    }
}

fn failed(disposition: Disposition, reason: Reason) -> SendResult {
    let error = "the simulated receiver fails".to_owned();
    let mut result = SendResult::failed(AttemptOutcome::Failed, disposition, reason, error);
    result.status = Some(if reason == Reason::Gone { 410 } else { 503 });
    result
}

/// A number from 0 to below 1 that depends on the seed and on `parts` alone.
pub(super) fn draw(seed: u64, parts: &[u64]) -> f64 {
    let mixed = parts.iter().fold(seed, |state, part| {
        // SplitMix64's step.
        let mut z = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    });
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}
