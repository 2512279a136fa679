//! How long a message waits for its next receive. Pure.

use std::time::Duration;

/// SQS hides a message for 12 hours after its receive at the most; the request itself took some of that.
const LONGEST: Duration = Duration::from_mins(12 * 60 - 5);

/// The wait after the receive number `receive_count` (from 1) failed.
///
/// Full jitter: anything between nothing and the schedule's wait, by `random` (0 to 1), so that a cohort that failed
/// together does not come back together. What a receiver asked for by `Retry-After` is a floor, within what SQS allows.
#[must_use]
pub(super) fn wait(
    schedule: &[Duration],
    receive_count: u32,
    asked: Option<Duration>,
    random: f64,
) -> Duration {
    let step = (receive_count.max(1) - 1) as usize;
    let longest = schedule
        .get(step)
        .or(schedule.last())
        .copied()
        .unwrap_or_default();
    longest
        .mul_f64(random.clamp(0.0, 1.0))
        .max(asked.unwrap_or_default())
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCHEDULE: [Duration; 4] = [
        Duration::from_secs(30),
        Duration::from_secs(120),
        Duration::from_secs(600),
        Duration::from_secs(1800),
    ];

    #[test]
    fn each_receive_has_its_own_wait() {
        for (receive, secs) in [(1, 30), (2, 120), (3, 600), (4, 1800), (5, 1800), (99, 1800)] {
            assert_eq!(wait(&SCHEDULE, receive, None, 1.0), Duration::from_secs(secs));
        }
    }

    #[test]
    fn a_retry_after_is_a_floor_within_what_sqs_allows() {
        let hour = Duration::from_secs(3600);
        assert_eq!(wait(&SCHEDULE, 1, Some(hour), 0.5), hour);
        assert_eq!(
            wait(&SCHEDULE, 4, Some(Duration::from_secs(5)), 1.0),
            Duration::from_secs(1800)
        );
        assert_eq!(wait(&SCHEDULE, 1, Some(Duration::MAX), 0.0), LONGEST);
    }

    #[test]
    fn an_empty_schedule_means_at_once() {
        assert_eq!(wait(&[], 1, None, 1.0), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_wait_is_between_nothing_and_the_schedule(receive in 0_u32..20, random in 0.0..1.0) {
            prop_assert!(wait(&SCHEDULE, receive, None, random) <= SCHEDULE[3]);
        }
    }
}
