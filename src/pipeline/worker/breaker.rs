//! The circuit breaker: while the receiver fails all requests, nothing is leased, so that an outage spends no attempts.
//!
//! ```text
//!          failures             no success for a while
//!  closed ─────────> suspect ─────────────────────────> open <──────┐
//!    ^ <──────────────┘ success                          │ pause     │ it fails
//!    │ as many successes as there are slots              v           │
//!    └──────────── ramp <───────────────────────────── probe ────────┘
//!                   │ it succeeds           one event       ^ pause
//!                   └───────────────────────────────────> open
//!                     five failures in a row
//! ```
//!
//! Suspect: one event is tried every half second, so that a receiver that is down costs few attempts before the breaker opens. Open:
//! nothing is leased; after a pause, which doubles up to a minute, one event is tried. Ramp: each success admits two more events,
//! until all slots are in use, so that the backlog does not overrun a recovering receiver. A failure there admits one more in its
//! place, since a healthy receiver may fail for some; several in a row mean that it is down again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::sync::Notify;

use crate::clock::SharedClock;
use crate::model::ChannelName;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Consecutive failures on the ramp that open the breaker again, or `BreakerOptions::failures` if that is less.
const MAX_RAMP_FAILURES: u32 = 5;
const SUSPECT_PAUSE: Duration = Duration::from_millis(500);

/// The breaker opens after `failures` consecutive failures (0: never), without a success for `after`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakerOptions {
    pub(crate) failures: u32,
    pub(crate) after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
        since: Option<Instant>,
    },
    /// Enough consecutive failures, but not for long enough.
    Suspect {
        since: Instant,
        next: Instant,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One event is in flight.
    Probe {
        pause: Duration,
    },
    /// `room` more events are admitted; `failures` are consecutive.
    Ramp {
        room: usize,
        successes: usize,
        failures: u32,
    },
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Suspect { .. } => "suspect",
            Self::Open { .. } => "open",
            Self::Probe { .. } => "probing",
            Self::Ramp { .. } => "ramping",
        }
    }
}

#[derive(Debug)]
pub(super) struct Breaker {
    channel: ChannelName,
    state: Mutex<State>,
    changed: Notify,
    options: BreakerOptions,
    slots: usize,
    clock: SharedClock,
}

/// Admits one event. If it is dropped without an outcome, another event is admitted instead.
#[derive(Debug)]
pub(super) struct BreakerPermit {
    breaker: Arc<Breaker>,
    used: bool,
}

impl BreakerPermit {
    pub(super) fn record(mut self, success: bool) {
        self.used = true;
        self.breaker.record(success);
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        if !self.used {
            self.breaker.release_unused();
        }
    }
}

impl Breaker {
    pub(super) fn new(
        channel: ChannelName,
        options: BreakerOptions,
        slots: usize,
        clock: SharedClock,
    ) -> Self {
        let state = Mutex::new(State::Closed { failures: 0, since: None });
        Self { channel, state, changed: Notify::new(), options, slots, clock }
    }

    pub(super) async fn admit(self: &Arc<Self>, max: usize) -> Vec<BreakerPermit> {
        (0..self.wait(max).await).map(|_| self.permit()).collect()
    }

    pub(super) async fn admit_one(self: &Arc<Self>) -> BreakerPermit {
        self.wait(1).await;
        self.permit()
    }

    /// Waits until at least one event would be admitted, and admits none.
    pub(super) async fn ready(&self) {
        self.wait(0).await;
    }

    /// Returns a permit in any state: a pool that empties the queue once must not wait for the receiver to recover.
    pub(super) fn permit(self: &Arc<Self>) -> BreakerPermit {
        BreakerPermit { breaker: Arc::clone(self), used: false }
    }

    async fn wait(&self, max: usize) -> usize {
        loop {
            // Registered first, so that no change in between is missed.
            let changed = self.changed.notified();
            match self.try_admit(max) {
                Ok(admitted) => return admitted,
                Err(wait) => drop(tokio::time::timeout(wait, changed).await),
            }
        }
    }

    /// Admits up to `max` events. The error is how long to wait for a change.
    fn try_admit(&self, max: usize) -> Result<usize, Duration> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let room = match *state {
            State::Closed { .. } => usize::MAX,
            State::Suspect { next: at, .. } | State::Open { until: at, .. } if at <= now => 1,
            State::Suspect { next: at, .. } | State::Open { until: at, .. } => {
                return Err(at.duration_since(now));
            }
            State::Ramp { room: room @ 1.., .. } => room,
            State::Ramp { .. } | State::Probe { .. } => return Err(Duration::MAX),
        };
        let admitted = room.min(max);
        if admitted > 0 {
            match &mut *state {
                State::Closed { .. } | State::Probe { .. } => {}
                State::Suspect { next, .. } => *next = now + SUSPECT_PAUSE,
                State::Open { pause, .. } => *state = State::Probe { pause: *pause },
                State::Ramp { room, .. } => *room -= admitted,
            }
        }
        Ok(admitted)
    }

    fn record(&self, success: bool) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let before = *state;
        *state = self.next_state(before, success, now);
        let after = *state;
        drop(state);
        self.publish(before, after);
    }

    fn next_state(&self, state: State, success: bool, now: Instant) -> State {
        match (state, success) {
            (State::Closed { .. } | State::Suspect { .. }, true) => {
                State::Closed { failures: 0, since: None }
            }
            (State::Closed { failures, since }, false) => {
                let since = since.unwrap_or(now);
                let failures = failures.saturating_add(1);
                if self.options.failures == 0 || failures < self.options.failures {
                    State::Closed { failures, since: Some(since) }
                } else {
                    self.suspect_or_open(since, now, now + SUSPECT_PAUSE)
                }
            }
            (State::Suspect { since, next }, false) => self.suspect_or_open(since, now, next),
            (State::Probe { pause }, false) => {
                let pause = (pause * 2).min(MAX_PAUSE);
                State::Open { until: now + pause, pause }
            }
            (State::Probe { .. }, true) => State::Ramp { room: 2, successes: 1, failures: 0 },
            (State::Ramp { room, successes, .. }, true) => {
                if successes + 1 >= self.slots {
                    State::Closed { failures: 0, since: None }
                } else {
                    State::Ramp { room: room + 2, successes: successes + 1, failures: 0 }
                }
            }
            (State::Ramp { room, successes, failures }, false) => {
                let failures = failures + 1;
                if failures >= self.options.failures.clamp(1, MAX_RAMP_FAILURES) {
                    State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE }
                } else {
                    State::Ramp { room: room + 1, successes, failures }
                }
            }
            // An attempt that began before the breaker opened.
            (State::Open { .. }, _) => state,
        }
    }

    fn suspect_or_open(&self, since: Instant, now: Instant, next: Instant) -> State {
        if now.duration_since(since) < self.options.after {
            return State::Suspect { since, next };
        }
        State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE }
    }

    fn release_unused(&self) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        match &mut *state {
            // No event was tried, so the next one need not wait.
            State::Probe { pause } => *state = State::Open { until: now, pause: *pause },
            State::Ramp { room, .. } => *room += 1,
            State::Suspect { next, .. } => *next = now,
            State::Closed { .. } | State::Open { .. } => return,
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Logs the change, sets the metric and wakes the waiters.
    fn publish(&self, before: State, after: State) {
        let (failures, channel) = (self.options.failures, self.channel.as_str());
        match (before, after) {
            (State::Closed { .. }, State::Suspect { .. }) => {
                tracing::warn!(channel, failures, "breaker suspects that the receiver is down");
            }
            (State::Closed { .. } | State::Suspect { .. }, State::Open { pause, .. }) => {
                tracing::warn!(channel, failures, pause_secs = pause.as_secs(), "breaker opened");
            }
            (State::Ramp { .. }, State::Open { pause, .. }) => {
                tracing::warn!(channel, pause_secs = pause.as_secs(), "breaker opened again");
            }
            (State::Probe { .. }, State::Open { pause, .. }) => {
                tracing::warn!(channel, pause_secs = pause.as_secs(), "breaker stays open: the probe failed");
            }
            (State::Probe { .. }, State::Ramp { .. }) => tracing::info!(channel, "breaker ramping up"),
            (State::Ramp { .. }, State::Closed { .. }) => tracing::info!(channel, "breaker closed"),
            _ => {}
        }
        if before != after {
            gauge!("bday_breaker_open", "channel" => channel).set(match after {
                State::Closed { .. } => 0.0,
                State::Suspect { .. } | State::Ramp { .. } => 0.5,
                State::Open { .. } | State::Probe { .. } => 1.0,
            });
            self.changed.notify_waiters();
        }
    }

    pub(super) fn state(&self) -> &'static str {
        self.lock().name()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
