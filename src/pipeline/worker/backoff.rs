//! How long an event waits for its next attempt.

use std::time::Duration;

/// A `Retry-After` of weeks must not delay a greeting past its day.
const LONGEST: Duration = Duration::from_hours(12);

/// The wait after attempt number `attempt` (from 1) failed: half of the schedule's wait, and a random part (0 to 1) of the other half,
/// so that a cohort that failed together does not return together. `asked` by `Retry-After` is a minimum, up to [`LONGEST`].
pub(super) fn wait(schedule: &[Duration], attempt: u32, asked: Option<Duration>, random: f64) -> Duration {
    let step = (attempt.max(1) - 1) as usize;
    let longest = schedule.get(step).or(schedule.last()).copied().unwrap_or_default();
    longest.mul_f64(f64::midpoint(1.0, random.clamp(0.0, 1.0))).max(asked.unwrap_or_default()).min(LONGEST)
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
    fn each_attempt_has_its_wait_and_a_retry_after_is_a_bounded_minimum() {
        let secs = Duration::from_secs;
        for (attempt, asked, random, expected) in [
            (1, None, 1.0, secs(30)),
            (2, None, 1.0, secs(120)),
            (3, None, 1.0, secs(600)),
            (4, None, 1.0, secs(1800)),
            (99, None, 1.0, secs(1800)),
            (1, Some(secs(3600)), 0.5, secs(3600)),
            (4, Some(secs(5)), 1.0, secs(1800)),
            (1, Some(Duration::MAX), 0.0, LONGEST),
        ] {
            assert_eq!(wait(&SCHEDULE, attempt, asked, random), expected, "{attempt} {asked:?}");
        }
        assert_eq!(wait(&[], 1, None, 1.0), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_wait_is_between_half_of_the_schedule_and_all_of_it(attempt in 1_u32..20, random in 0.0..1.0) {
            let longest = SCHEDULE[(attempt as usize - 1).min(3)];
            let waited = wait(&SCHEDULE, attempt, None, random);
            prop_assert!((longest / 2..=longest).contains(&waited), "{waited:?}");
        }
    }
}
