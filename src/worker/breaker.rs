//! The breaker: when the receiver fails for everybody, stop receiving, so that an outage spends no receive counts.
//!
//! ```text
//!           failures, and no success for a while
//!  closed ───────────────────────────────────────> open <──────┐
//!    ^                                              │ pause     │ it fails
//!    │ as many successes as there are places        v           │
//!    └──────────── ramp <──────────────────────── probe ────────┘
//!                   │ it succeeds      one message     ^ pause
//!                   └───────────────────────────────> open
//!                     five failures in a row
//! ```
//!
//! Open, nothing is received; after a pause, which doubles up to a minute, one message may be tried. From its success
//! on, each success admits two more messages, until all places are in use again: a receiver that comes back is not
//! trampled by the backlog. On the ramp a failure admits one more in its place, since a receiver that is well may fail for
//! some; only several in a row say that it is away again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::sync::Notify;

use crate::clock::SharedClock;

/// The pause before the first probe.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// So many failures in a row on the ramp, and the receiver is away again; fewer where fewer open the breaker.
const RELAPSE: u32 = 5;

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
        let state = Mutex::new(State::Closed {
            failures: 0,
            since: None,
        });
        Self {
            state,
            changed: Notify::new(),
            options,
            places,
            clock,
        }
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

    /// Tickets whatever its state, for whoever works off a queue and must not wait.
    pub(super) fn bypass(self: &Arc<Self>, most: usize) -> Vec<Ticket> {
        self.tickets(most)
    }

    fn tickets(self: &Arc<Self>, n: usize) -> Vec<Ticket> {
        (0..n)
            .map(|_| Ticket {
                breaker: Arc::clone(self),
                used: false,
            })
            .collect()
    }

    fn look(&self, most: usize) -> (usize, Option<Duration>) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => (most, None),
            State::Open { until, pause } if until <= now => {
                *state = State::Probe { pause };
                (1, None)
            }
            State::Open { until, .. } => (0, Some(until.duration_since(now))),
            State::Probe { .. } => (0, None),
            State::Ramp {
                room,
                successes,
                failures,
            } => {
                let admitted = room.min(most);
                *state = State::Ramp {
                    room: room - admitted,
                    successes,
                    failures,
                };
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
            (State::Closed { .. }, true) => State::Closed {
                failures: 0,
                since: None,
            },
            (State::Closed { failures, since }, false) => {
                let since = since.unwrap_or(now);
                let failures = failures.saturating_add(1);
                let many = self.options.failures > 0 && failures >= self.options.failures;
                if many && now.duration_since(since) >= self.options.after {
                    State::Open {
                        until: now + FIRST_PAUSE,
                        pause: FIRST_PAUSE,
                    }
                } else {
                    State::Closed {
                        failures,
                        since: Some(since),
                    }
                }
            }
            (State::Probe { pause }, false) => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                State::Open {
                    until: now + pause,
                    pause,
                }
            }
            (State::Probe { .. }, true) => State::Ramp {
                room: 2,
                successes: 1,
                failures: 0,
            },
            (State::Ramp { room, successes, .. }, true) => {
                if successes + 1 >= self.places {
                    State::Closed {
                        failures: 0,
                        since: None,
                    }
                } else {
                    State::Ramp {
                        room: room + 2,
                        successes: successes + 1,
                        failures: 0,
                    }
                }
            }
            (
                State::Ramp {
                    room,
                    successes,
                    failures,
                },
                false,
            ) => {
                let failures = failures + 1;
                if failures >= self.options.failures.clamp(1, RELAPSE) {
                    State::Open {
                        until: now + FIRST_PAUSE,
                        pause: FIRST_PAUSE,
                    }
                } else {
                    State::Ramp {
                        room: room + 1,
                        successes,
                        failures,
                    }
                }
            }
            // The last of those that were under way when it opened.
            (State::Open { .. }, _) => state,
        }
    }

    fn give_back(&self) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        match *state {
            // There was no message to try with: the next poll may try at once.
            State::Probe { pause } => *state = State::Open { until: now, pause },
            State::Ramp {
                room,
                successes,
                failures,
            } => {
                *state = State::Ramp {
                    room: room + 1,
                    successes,
                    failures,
                }
            }
            State::Closed { .. } | State::Open { .. } => return,
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn tell(&self, before: State, after: State) {
        match (before, after) {
            (State::Closed { .. }, State::Open { pause, .. }) => {
                tracing::warn!(
                    failures = self.options.failures,
                    pause_secs = pause.as_secs(),
                    "breaker open: the receiver fails for everybody, so nothing is received for now"
                );
            }
            (State::Ramp { .. }, State::Open { pause, .. }) => {
                tracing::warn!(
                    pause_secs = pause.as_secs(),
                    "breaker open again: the receiver fails for everybody once more"
                );
            }
            (State::Probe { .. }, State::Open { pause, .. }) => {
                tracing::warn!(
                    pause_secs = pause.as_secs(),
                    "breaker still open: the probe failed"
                );
            }
            (State::Probe { .. }, State::Ramp { .. }) => {
                tracing::info!("breaker ramping: the receiver is back");
            }
            (State::Ramp { .. }, State::Closed { .. }) => {
                tracing::info!("breaker closed: all places are in use again");
            }
            _ => {}
        }
        if std::mem::discriminant(&before) != std::mem::discriminant(&after) {
            gauge!("bday_breaker_open").set(match after {
                State::Closed { .. } => 0.0,
                State::Ramp { .. } => 0.5,
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
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    const OPTIONS: Options = Options {
        failures: 3,
        after: Duration::from_secs(10),
    };

    fn breaker() -> (Breaker, Instant) {
        let clock = Arc::new(SystemClock);
        let now = clock.monotonic();
        (Breaker::new(OPTIONS, 8, clock), now)
    }

    const FRESH: State = State::Closed {
        failures: 0,
        since: None,
    };

    fn run(breaker: &Breaker, start: State, outcomes: &[(u64, bool)], began: Instant) -> State {
        outcomes.iter().fold(start, |state, (secs, success)| {
            breaker.after(state, *success, began + Duration::from_secs(*secs))
        })
    }

    #[test]
    fn it_opens_after_enough_failures_over_enough_time() {
        let (breaker, now) = breaker();
        let soon = run(
            &breaker,
            FRESH,
            &[(0, false), (1, false), (2, false), (3, false)],
            now,
        );
        assert!(matches!(soon, State::Closed { failures: 4, .. }), "{soon:?}");
        let late = run(&breaker, soon, &[(10, false)], now);
        assert!(matches!(late, State::Open { .. }), "{late:?}");
    }

    #[test]
    fn one_success_in_between_keeps_it_closed() {
        let (breaker, now) = breaker();
        let state = run(
            &breaker,
            FRESH,
            &[
                (0, false),
                (5, false),
                (9, true),
                (11, false),
                (12, false),
                (13, false),
            ],
            now,
        );
        assert!(matches!(state, State::Closed { failures: 3, .. }), "{state:?}");
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let (breaker, now) = breaker();
        let mut pause = FIRST_PAUSE;
        for _ in 0..10 {
            let State::Open { pause: next, .. } = breaker.after(State::Probe { pause }, false, now) else {
                panic!("a probe that fails leaves it open");
            };
            assert!(next == (pause * 2).min(LONGEST_PAUSE));
            pause = next;
        }
        assert_eq!(pause, LONGEST_PAUSE);
    }

    #[test]
    fn after_a_probe_the_ramp_doubles_until_all_places_are_used() {
        let (breaker, now) = breaker();
        let mut state = breaker.after(State::Probe { pause: FIRST_PAUSE }, true, now);
        assert_eq!(
            state,
            State::Ramp {
                room: 2,
                successes: 1,
                failures: 0,
            }
        );
        for _ in 0..7 {
            state = breaker.after(state, true, now);
        }
        assert_eq!(state, FRESH);
    }

    const AFTER_THE_PROBE: State = State::Ramp {
        room: 2,
        successes: 1,
        failures: 0,
    };

    fn many(failures: u32, places: usize) -> (Breaker, Instant) {
        let clock = Arc::new(SystemClock);
        let now = clock.monotonic();
        let options = Options { failures, ..OPTIONS };
        (Breaker::new(options, places, clock), now)
    }

    /// As a receiver does that is well, and refuses some people's greetings for reasons of its own.
    #[test]
    fn a_receiver_that_fails_for_one_in_twenty_gets_to_the_end_of_the_ramp() {
        let (breaker, now) = many(20, 256);
        let mut state = AFTER_THE_PROBE;
        let mut attempts = 0;
        while let State::Ramp { room, .. } = state {
            assert!(room > 0, "{state:?} after {attempts}");
            attempts += 1;
            state = breaker.after(state, attempts % 20 != 0, now);
        }
        assert_eq!((state, attempts), (FRESH, 255 + 255 / 19));
    }

    #[test]
    fn on_the_ramp_a_failure_gives_its_room_back_and_a_success_resets_their_number() {
        let (breaker, now) = many(20, 256);
        let failed = run(&breaker, AFTER_THE_PROBE, &[(0, false); 4], now);
        assert_eq!(
            failed,
            State::Ramp {
                room: 6,
                successes: 1,
                failures: 4
            }
        );
        let failed = run(&breaker, failed, &[(0, true), (0, false)], now);
        assert_eq!(
            failed,
            State::Ramp {
                room: 9,
                successes: 2,
                failures: 1
            }
        );
    }

    #[test]
    fn a_receiver_that_is_away_again_opens_it_after_five_failures_or_as_few_as_are_set() {
        for (failures, relapse) in [(20, 5), (5, 5), (3, 3), (1, 1)] {
            let (breaker, now) = many(failures, 256);
            let outcomes = vec![(0, false); relapse];
            let before = run(&breaker, AFTER_THE_PROBE, &outcomes[1..], now);
            assert!(matches!(before, State::Ramp { .. }), "{failures}: {before:?}");
            let after = run(&breaker, AFTER_THE_PROBE, &outcomes, now);
            assert!(
                matches!(after, State::Open { pause, .. } if pause == FIRST_PAUSE),
                "{failures}: {after:?}"
            );
        }
    }

    #[test]
    fn a_ticket_that_is_not_used_is_given_back() {
        let (breaker, now) = breaker();
        let breaker = Arc::new(breaker);
        *breaker.lock() = State::Open {
            until: now,
            pause: FIRST_PAUSE,
        };
        assert_eq!(breaker.look(10), (1, None));
        assert_eq!(breaker.look(10), (0, None));
        drop(Ticket {
            breaker: Arc::clone(&breaker),
            used: false,
        });
        assert_eq!(breaker.look(10), (1, None));
    }

    #[test]
    fn zero_failures_switch_it_off() {
        let clock = Arc::new(SystemClock);
        let now = clock.monotonic();
        let breaker = Breaker::new(
            Options {
                failures: 0,
                ..OPTIONS
            },
            8,
            clock,
        );
        let state = run(
            &breaker,
            FRESH,
            &[(0, false), (50, false), (100, false), (200, false)],
            now,
        );
        assert!(matches!(state, State::Closed { .. }));
    }
}
