//! The delay before the next attempt.

use std::time::Duration;

/// A `Retry-After` of weeks must not delay a greeting past its day.
const MAX_DELAY: Duration = Duration::from_hours(12);

/// Returns the delay after attempt number `attempt` (from 1) failed: half of the schedule's delay, and `jitter` (0 to 1) of the other
/// half, so that a cohort that failed together does not return together. `retry_after` is a minimum, up to [`MAX_DELAY`].
pub(super) fn delay(
    schedule: &[Duration],
    attempt: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Duration {
    let step = (attempt.max(1) - 1) as usize;
    let full = schedule.get(step).or(schedule.last()).copied().unwrap_or_default();
    let delay = full.mul_f64(f64::midpoint(1.0, jitter.clamp(0.0, 1.0)));
    delay.max(retry_after.unwrap_or_default()).min(MAX_DELAY)
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
    fn each_attempt_has_its_delay_and_retry_after_is_a_bounded_minimum() {
        let secs = Duration::from_secs;
        for (attempt, retry_after, jitter, expected) in [
            (1, None, 1.0, secs(30)),
            (2, None, 1.0, secs(120)),
            (3, None, 1.0, secs(600)),
            (4, None, 1.0, secs(1800)),
            (99, None, 1.0, secs(1800)),
            (1, Some(secs(3600)), 0.5, secs(3600)),
            (4, Some(secs(5)), 1.0, secs(1800)),
            (1, Some(Duration::MAX), 0.0, MAX_DELAY),
        ] {
            assert_eq!(delay(&SCHEDULE, attempt, retry_after, jitter), expected, "{attempt} {retry_after:?}");
        }
        assert_eq!(delay(&[], 1, None, 1.0), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_delay_is_between_half_of_the_schedule_and_all_of_it(attempt in 1_u32..20, jitter in 0.0..1.0) {
            let full = SCHEDULE[(attempt as usize - 1).min(3)];
            let delay = delay(&SCHEDULE, attempt, None, jitter);
            prop_assert!((full / 2..=full).contains(&delay), "{delay:?}");
        }
    }
}
