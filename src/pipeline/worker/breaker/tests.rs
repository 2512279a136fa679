//! The state machine by itself.

use super::*;
use crate::clock::{Clock, SystemClock};

const OPTIONS: Options = Options { failures: 3, after: Duration::from_secs(10) };

fn breaker() -> (Breaker, Instant) {
    let clock = Arc::new(SystemClock);
    let now = clock.monotonic();
    (Breaker::new(OPTIONS, 8, clock), now)
}

const FRESH: State = State::Closed { failures: 0, since: None };

fn run(breaker: &Breaker, start: State, outcomes: &[(u64, bool)], began: Instant) -> State {
    outcomes.iter().fold(start, |state, (secs, success)| {
        breaker.after(state, *success, began + Duration::from_secs(*secs))
    })
}

#[test]
fn it_opens_after_enough_failures_over_enough_time() {
    let (breaker, now) = breaker();
    let soon = run(&breaker, FRESH, &[(0, false), (1, false), (2, false), (3, false)], now);
    assert!(matches!(soon, State::Suspect { .. }), "{soon:?}");
    let late = run(&breaker, soon, &[(10, false)], now);
    assert!(matches!(late, State::Open { .. }), "{late:?}");
}

#[test]
fn one_success_in_between_keeps_it_closed() {
    let (breaker, now) = breaker();
    let state = run(
        &breaker,
        FRESH,
        &[(0, false), (5, false), (9, true), (11, false), (12, false), (13, false)],
        now,
    );
    assert!(matches!(state, State::Suspect { .. }), "{state:?}");
    assert_eq!(breaker.after(state, true, now), FRESH);
}

#[tokio::test]
async fn while_it_suspects_the_receiver_it_admits_one_event_every_half_second() {
    let watch = Arc::new(crate::clock::Stopwatch::default());
    let clock = Arc::clone(&watch) as SharedClock;
    let breaker = Arc::new(Breaker::new(OPTIONS, 8, clock));
    for ticket in breaker.admit(3).await {
        ticket.note(false);
    }
    assert_eq!(breaker.state(), "suspect");
    let mut admitted = 0;
    for _ in 0..100 {
        watch.pass(Duration::from_millis(100));
        if let Some(tickets) = futures_util::FutureExt::now_or_never(breaker.admit(8)) {
            admitted += tickets.len();
            for ticket in tickets {
                ticket.note(false);
            }
        }
    }
    assert_eq!(breaker.state(), "open");
    assert!((15..=20).contains(&admitted), "{admitted} in ten seconds");
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
    assert_eq!(state, State::Ramp { room: 2, successes: 1, failures: 0 });
    for _ in 0..7 {
        state = breaker.after(state, true, now);
    }
    assert_eq!(state, FRESH);
}

const AFTER_THE_PROBE: State = State::Ramp { room: 2, successes: 1, failures: 0 };

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
    assert_eq!(failed, State::Ramp { room: 6, successes: 1, failures: 4 });
    let failed = run(&breaker, failed, &[(0, true), (0, false)], now);
    assert_eq!(failed, State::Ramp { room: 9, successes: 2, failures: 1 });
}

#[test]
fn a_receiver_that_is_away_again_opens_it_after_five_failures_or_as_few_as_are_set() {
    for (failures, relapse) in [(20, 5), (5, 5), (3, 3), (1, 1)] {
        let (breaker, now) = many(failures, 256);
        let outcomes = vec![(0, false); relapse];
        let before = run(&breaker, AFTER_THE_PROBE, &outcomes[1..], now);
        assert!(matches!(before, State::Ramp { .. }), "{failures}: {before:?}");
        let after = run(&breaker, AFTER_THE_PROBE, &outcomes, now);
        assert!(matches!(after, State::Open { pause, .. } if pause == FIRST_PAUSE), "{failures}: {after:?}");
    }
}

#[test]
fn a_ticket_that_is_not_used_is_given_back() {
    let (breaker, now) = breaker();
    let breaker = Arc::new(breaker);
    *breaker.lock() = State::Open { until: now, pause: FIRST_PAUSE };
    assert_eq!(breaker.look(10), (1, None));
    assert_eq!(breaker.look(10), (0, None));
    drop(Ticket { breaker: Arc::clone(&breaker), used: false });
    assert_eq!(breaker.look(10), (1, None));
}

#[test]
fn zero_failures_switch_it_off() {
    let clock = Arc::new(SystemClock);
    let now = clock.monotonic();
    let breaker = Breaker::new(Options { failures: 0, ..OPTIONS }, 8, clock);
    let state = run(&breaker, FRESH, &[(0, false), (50, false), (100, false), (200, false)], now);
    assert!(matches!(state, State::Closed { .. }));
}
