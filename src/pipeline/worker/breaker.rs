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
//! Suspect, an event is tried now and then, so that a receiver which is down costs few attempts before the breaker opens. Open,
//! nothing is leased; after a pause, which doubles up to a minute, one event is tried. From its success on, each success admits
//! two more events, until all places are in use again: a receiver that comes back is not overrun by the backlog. On the ramp a
//! failure admits one more in its place, since a healthy receiver may fail for some; several in a row say that it is down again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::sync::Notify;

use crate::clock::SharedClock;

/// The pause before the first probe.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// This many failures in a row on the ramp open the breaker again; fewer where fewer open it.
const RELAPSE: u32 = 5;
/// Between two events while the receiver is suspected to be down.
const SUSPECT_PAUSE: Duration = Duration::from_millis(500);

/// When the breaker opens.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// So many attempts failed in a row; 0 switches the breaker off.
    pub failures: u32,
    /// And nothing succeeded for this long.
    pub after: Duration,
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
    /// One message is on its way.
    Probe {
        pause: Duration,
    },
    /// So many more messages may be received.
    Ramp {
        room: usize,
        successes: usize,
        /// In a row.
        failures: u32,
    },
}

/// See the module. Shared by all parts of a pool.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
    changed: Notify,
    options: Options,
    /// How many places there are: the ramp ends there.
    places: usize,
    clock: SharedClock,
}

/// What admits one message. Dropping it without an outcome gives the admission back.
#[derive(Debug)]
pub(super) struct Ticket {
    breaker: Arc<Breaker>,
    used: bool,
}

impl Ticket {
    /// Notes how the attempt went that this message was admitted for.
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
    pub(super) fn new(options: Options, places: usize, clock: SharedClock) -> Self {
        let state = Mutex::new(State::Closed { failures: 0, since: None });
        Self { state, changed: Notify::new(), options, places, clock }
    }

    /// Waits until messages may be received, and gives a ticket for each, up to `most`. Tickets that are not needed are
    /// to be dropped.
    pub(super) async fn admit(self: &Arc<Self>, most: usize) -> Vec<Ticket> {
        loop {
            // Registered before the look, so that no change in between is missed.
            let changed = self.changed.notified();
            let (admitted, wait) = self.look(most);
            if admitted > 0 {
                return self.tickets(admitted);
            }
            match wait {
                Some(wait) => drop(tokio::time::timeout(wait, changed).await),
                None => changed.await,
            }
        }
    }

    /// Waits until at least one event would be admitted, and admits none.
    pub(super) async fn ready(self: &Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let now = self.clock.monotonic();
            let wait = match *self.lock() {
                State::Closed { .. } | State::Ramp { room: 1.., .. } => return,
                State::Suspect { next: at, .. } | State::Open { until: at, .. } if at <= now => return,
                State::Suspect { next: at, .. } | State::Open { until: at, .. } => {
                    Some(at.duration_since(now))
                }
                State::Ramp { .. } | State::Probe { .. } => None,
            };
            match wait {
                Some(wait) => drop(tokio::time::timeout(wait, changed).await),
                None => changed.await,
            }
        }
    }

    /// Returns tickets in any state, for a pool that empties the queue once and must not wait.
    pub(super) fn bypass(self: &Arc<Self>, most: usize) -> Vec<Ticket> {
        self.tickets(most)
    }

    fn tickets(self: &Arc<Self>, n: usize) -> Vec<Ticket> {
        (0..n).map(|_| Ticket { breaker: Arc::clone(self), used: false }).collect()
    }

    fn look(&self, most: usize) -> (usize, Option<Duration>) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => (most, None),
            State::Suspect { since, next } if next <= now => {
                *state = State::Suspect { since, next: now + SUSPECT_PAUSE };
                (1, None)
            }
            State::Suspect { next, .. } => (0, Some(next.duration_since(now))),
            State::Open { until, pause } if until <= now => {
                *state = State::Probe { pause };
                (1, None)
            }
            State::Open { until, .. } => (0, Some(until.duration_since(now))),
            State::Probe { .. } => (0, None),
            State::Ramp { room, successes, failures } => {
                let admitted = room.min(most);
                *state = State::Ramp { room: room - admitted, successes, failures };
                (admitted, None)
            }
        }
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

    /// The state machine, without its surroundings.
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
            // The last of those that were under way when it opened.
            (State::Open { .. }, _) => state,
        }
    }

    /// After a failure, the receiver having failed since `since`.
    fn suspected(&self, since: Instant, now: Instant, next: Instant) -> State {
        if now.duration_since(since) < self.options.after {
            return State::Suspect { since, next };
        }
        State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE }
    }

    fn give_back(&self) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        match *state {
            // There was no message to try with: the next poll may try at once.
            State::Probe { pause } => *state = State::Open { until: now, pause },
            State::Ramp { room, successes, failures } => {
                *state = State::Ramp { room: room + 1, successes, failures }
            }
            State::Suspect { since, .. } => *state = State::Suspect { since, next: now },
            State::Closed { .. } | State::Open { .. } => return,
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn tell(&self, before: State, after: State) {
        match (before, after) {
            (State::Closed { .. }, State::Suspect { .. }) => {
                tracing::warn!(failures = self.options.failures, "breaker suspects the receiver to be down");
            }
            (State::Closed { .. } | State::Suspect { .. }, State::Open { pause, .. }) => {
                tracing::warn!(
                    failures = self.options.failures,
                    pause_secs = pause.as_secs(),
                    "breaker opened"
                );
            }
            (State::Ramp { .. }, State::Open { pause, .. }) => {
                tracing::warn!(pause_secs = pause.as_secs(), "breaker opened again");
            }
            (State::Probe { .. }, State::Open { pause, .. }) => {
                tracing::warn!(pause_secs = pause.as_secs(), "breaker stays open: the probe failed");
            }
            (State::Probe { .. }, State::Ramp { .. }) => {
                tracing::info!("breaker ramping up");
            }
            (State::Ramp { .. }, State::Closed { .. }) => {
                tracing::info!("breaker closed");
            }
            _ => {}
        }
        if std::mem::discriminant(&before) != std::mem::discriminant(&after) {
            gauge!("bday_breaker_open").set(match after {
                State::Closed { .. } => 0.0,
                State::Suspect { .. } | State::Ramp { .. } => 0.5,
                State::Open { .. } | State::Probe { .. } => 1.0,
            });
        }
        if before != after {
            self.changed.notify_waiters();
        }
    }

    /// For people.
    pub(super) fn state(&self) -> &'static str {
        match *self.lock() {
            State::Closed { .. } => "closed",
            State::Suspect { .. } => "suspect",
            State::Open { .. } => "open",
            State::Probe { .. } => "probing",
            State::Ramp { .. } => "ramping",
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
