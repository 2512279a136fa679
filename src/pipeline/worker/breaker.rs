//! The breaker: while the receiver fails all requests, nothing is leased, so that an outage spends no attempts.
//!
//! ```text
//!          failures             no success for a while
//!  closed ─────────> suspect ─────────────────────────> open <──────┐
//!    ^ <──────────────┘ success                          │ pause     │ it fails
//!    │ as many successes as there are places             v           │
//!    └──────────── ramp <───────────────────────────── probe ────────┘
//!                   │ it succeeds           one event       ^ pause
//!                   └───────────────────────────────────> open
//!                     five failures in a row
//! ```
//!
//! Suspect, an event is tried now and then, so that a receiver that is down costs few attempts before the breaker opens. Open,
//! nothing is leased; after a pause, which doubles up to a minute, one event is tried. From its success on, each success admits two
//! more events, until all places are in use: a recovering receiver is not overrun by the backlog. On the ramp a failure admits one
//! more in its place, since a healthy receiver may fail for some; several in a row mean that it is down again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::sync::Notify;

use crate::clock::SharedClock;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// This many failures in a row on the ramp open the breaker again, or `BreakerOptions::failures` if that is less.
const RELAPSE: u32 = 5;
/// Between two events while the receiver is suspected to be down.
const SUSPECT_PAUSE: Duration = Duration::from_millis(500);

/// The breaker opens after this many failures in a row (0: never), with no success for this long.
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
    /// Enough failures in a row, but not for long enough.
    Suspect {
        since: Instant,
        next: Instant,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One event is tried.
    Probe {
        pause: Duration,
    },
    /// `room` more events are admitted; `failures` are in a row.
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
    state: Mutex<State>,
    changed: Notify,
    options: BreakerOptions,
    places: usize,
    clock: SharedClock,
}

/// Admits one event. Dropped without an outcome, it gives the admission back.
#[derive(Debug)]
pub(super) struct Ticket {
    breaker: Arc<Breaker>,
    used: bool,
}

impl Ticket {
    pub(super) fn note(mut self, success: bool) {
        self.used = true;
        self.breaker.note(success);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            self.breaker.give_back();
        }
    }
}

impl Breaker {
    pub(super) fn new(options: BreakerOptions, places: usize, clock: SharedClock) -> Self {
        let state = Mutex::new(State::Closed { failures: 0, since: None });
        Self { state, changed: Notify::new(), options, places, clock }
    }

    pub(super) async fn admit(self: &Arc<Self>, most: usize) -> Vec<Ticket> {
        self.tickets(self.wait(most).await)
    }

    /// Waits until at least one event would be admitted, and admits none.
    pub(super) async fn ready(&self) {
        self.wait(0).await;
    }

    /// Returns tickets in any state, for a pool that empties the queue once and must not wait.
    pub(super) fn tickets(self: &Arc<Self>, n: usize) -> Vec<Ticket> {
        (0..n).map(|_| Ticket { breaker: Arc::clone(self), used: false }).collect()
    }

    async fn wait(&self, most: usize) -> usize {
        loop {
            // Registered before the look, so that no change in between is missed.
            let changed = self.changed.notified();
            match self.look(most) {
                Ok(admitted) => return admitted,
                Err(wait) => drop(tokio::time::timeout(wait, changed).await),
            }
        }
    }

    /// Admits up to `most` events; an error is how long to wait for a change.
    fn look(&self, most: usize) -> Result<usize, Duration> {
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
        let admitted = room.min(most);
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

    fn note(&self, success: bool) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let before = *state;
        *state = self.after(before, success, now);
        let after = *state;
        drop(state);
        self.tell(before, after);
    }

    fn after(&self, state: State, success: bool, now: Instant) -> State {
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
                    self.suspected(since, now, now + SUSPECT_PAUSE)
                }
            }
            (State::Suspect { since, next }, false) => self.suspected(since, now, next),
            (State::Probe { pause }, false) => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                State::Open { until: now + pause, pause }
            }
            (State::Probe { .. }, true) => State::Ramp { room: 2, successes: 1, failures: 0 },
            (State::Ramp { room, successes, .. }, true) => {
                if successes + 1 >= self.places {
                    State::Closed { failures: 0, since: None }
                } else {
                    State::Ramp { room: room + 2, successes: successes + 1, failures: 0 }
                }
            }
            (State::Ramp { room, successes, failures }, false) => {
                let failures = failures + 1;
                if failures >= self.options.failures.clamp(1, RELAPSE) {
                    State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE }
                } else {
                    State::Ramp { room: room + 1, successes, failures }
                }
            }
            // An attempt that began before the breaker opened.
            (State::Open { .. }, _) => state,
        }
    }

    fn suspected(&self, since: Instant, now: Instant, next: Instant) -> State {
        if now.duration_since(since) < self.options.after {
            return State::Suspect { since, next };
        }
        State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE }
    }

    fn give_back(&self) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        match &mut *state {
            // No event was tried: the next one may be tried at once.
            State::Probe { pause } => *state = State::Open { until: now, pause: *pause },
            State::Ramp { room, .. } => *room += 1,
            State::Suspect { next, .. } => *next = now,
            State::Closed { .. } | State::Open { .. } => return,
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn tell(&self, before: State, after: State) {
        let failures = self.options.failures;
        match (before, after) {
            (State::Closed { .. }, State::Suspect { .. }) => {
                tracing::warn!(failures, "breaker suspects the receiver to be down");
            }
            (State::Closed { .. } | State::Suspect { .. }, State::Open { pause, .. }) => {
                tracing::warn!(failures, pause_secs = pause.as_secs(), "breaker opened");
            }
            (State::Ramp { .. }, State::Open { pause, .. }) => {
                tracing::warn!(pause_secs = pause.as_secs(), "breaker opened again");
            }
            (State::Probe { .. }, State::Open { pause, .. }) => {
                tracing::warn!(pause_secs = pause.as_secs(), "breaker stays open: the probe failed");
            }
            (State::Probe { .. }, State::Ramp { .. }) => tracing::info!("breaker ramping up"),
            (State::Ramp { .. }, State::Closed { .. }) => tracing::info!("breaker closed"),
            _ => {}
        }
        if before != after {
            gauge!("bday_breaker_open").set(match after {
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
