use super::*;
use crate::clock::{Clock, Stopwatch, SystemClock};

const FRESH: State = State::Closed { failures: 0, since: None };
const AFTER_PROBE: State = State::Ramp { room: 2, successes: 1, failures: 0 };

fn breaker(failures: u32, slots: usize) -> (Breaker, Instant) {
    let options = BreakerOptions { failures, after: Duration::from_secs(10) };
    (Breaker::new(ChannelName::Webhook, options, slots, Arc::new(SystemClock)), SystemClock.monotonic())
}

fn run(breaker: &Breaker, start: State, outcomes: &[(u64, bool)], began: Instant) -> State {
    outcomes.iter().fold(start, |state, (secs, success)| {
        breaker.next_state(state, *success, began + Duration::from_secs(*secs))
    })
}

#[test]
fn the_breaker_opens_after_failures_over_time_without_a_success() {
    let (soon, late) =
        ([(0, false), (1, false), (2, false)], [(0, false), (1, false), (2, false), (10, false)]);
    let interrupted = [(0, false), (5, false), (9, true), (11, false), (12, false), (13, false)];
    for (failures, outcomes, expected) in [
        (3, &soon[..2], "closed"),
        (3, &soon, "suspect"),
        (3, &late, "open"),
        (3, &interrupted, "suspect"),
        (0, &late, "closed"),
    ] {
        let (breaker, now) = breaker(failures, 8);
        let state = run(&breaker, FRESH, outcomes, now);
        assert_eq!(state.name(), expected, "{outcomes:?}");
        if expected == "suspect" {
            assert_eq!(breaker.next_state(state, true, now), FRESH);
        }
    }
}

#[tokio::test]
async fn a_suspect_breaker_admits_one_event_every_half_second() {
    let watch = Arc::new(Stopwatch::default());
    let options = BreakerOptions { failures: 3, after: Duration::from_secs(10) };
    let breaker = Arc::new(Breaker::new(ChannelName::Webhook, options, 8, Arc::clone(&watch) as SharedClock));
    for permit in breaker.admit(3).await {
        permit.record(false);
    }
    assert_eq!(breaker.state(), "suspect");
    let mut admitted = 0;
    for _ in 0..100 {
        watch.pass(Duration::from_millis(100));
        if let Some(permits) = futures_util::FutureExt::now_or_never(breaker.admit(8)) {
            admitted += permits.len();
            for permit in permits {
                permit.record(false);
            }
        }
    }
    assert_eq!(breaker.state(), "open");
    assert!((15..=20).contains(&admitted), "{admitted} in ten seconds");
}

#[test]
fn pauses_double_up_to_a_minute() {
    let (breaker, now) = breaker(3, 8);
    let mut pause = FIRST_PAUSE;
    for _ in 0..10 {
        let state = breaker.next_state(State::Probe { pause }, false, now);
        pause = (pause * 2).min(MAX_PAUSE);
        assert_eq!(state, State::Open { until: now + pause, pause });
    }
    assert_eq!(pause, MAX_PAUSE);
}

#[test]
fn after_a_probe_the_ramp_doubles_until_all_slots_are_used() {
    let (breaker, now) = breaker(3, 8);
    let mut state = breaker.next_state(State::Probe { pause: FIRST_PAUSE }, true, now);
    assert_eq!(state, AFTER_PROBE);
    for _ in 0..7 {
        state = breaker.next_state(state, true, now);
    }
    assert_eq!(state, FRESH);
}

#[test]
fn a_receiver_that_fails_for_one_in_twenty_completes_the_ramp() {
    let (breaker, now) = breaker(20, 256);
    let mut state = AFTER_PROBE;
    let mut attempts = 0;
    while let State::Ramp { room, .. } = state {
        assert!(room > 0, "{state:?} after {attempts}");
        attempts += 1;
        state = breaker.next_state(state, attempts % 20 != 0, now);
    }
    assert_eq!((state, attempts), (FRESH, 255 + 255 / 19));
}

#[test]
fn a_ramp_failure_admits_one_more_and_a_success_resets_the_count() {
    let (breaker, now) = breaker(20, 256);
    let failed = run(&breaker, AFTER_PROBE, &[(0, false); 4], now);
    assert_eq!(failed, State::Ramp { room: 6, successes: 1, failures: 4 });
    let failed = run(&breaker, failed, &[(0, true), (0, false)], now);
    assert_eq!(failed, State::Ramp { room: 9, successes: 2, failures: 1 });
}

#[test]
fn five_ramp_failures_open_the_breaker_or_fewer_if_configured() {
    for (failures, limit) in [(20, 5), (5, 5), (3, 3), (1, 1)] {
        let (breaker, now) = breaker(failures, 256);
        let outcomes = vec![(0, false); limit];
        assert_eq!(run(&breaker, AFTER_PROBE, &outcomes[1..], now).name(), "ramping", "{failures}");
        let opened = State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE };
        assert_eq!(run(&breaker, AFTER_PROBE, &outcomes, now), opened, "{failures}");
    }
}

#[test]
fn an_unused_permit_is_released_and_admitting_none_takes_none() {
    let (breaker, now) = breaker(3, 8);
    let breaker = Arc::new(breaker);
    *breaker.lock() = State::Open { until: now, pause: FIRST_PAUSE };
    assert_eq!(breaker.try_admit(0), Ok(0));
    assert_eq!(breaker.try_admit(10), Ok(1));
    assert_eq!(breaker.try_admit(10), Err(Duration::MAX));
    drop(breaker.permit());
    assert_eq!(breaker.try_admit(10), Ok(1));
}
