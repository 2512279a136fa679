//! How long an event waits for its next attempt. Pure.

use std::time::Duration;

/// A `Retry-After` of weeks must not cost the greeting its day.
const LONGEST: Duration = Duration::from_hours(12);

/// The wait after attempt number `attempt` (from 1) failed.
///
/// Half of the schedule's wait is certain, and the other half is drawn by `random` (0 to 1): an outage of a length that
/// the schedule was made for spends no attempts in its first seconds, and a cohort that failed together does not come back
/// together. What a receiver asked for by `Retry-After` is a minimum, up to [`LONGEST`].
#[must_use]
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
    fn each_attempt_has_its_own_wait() {
        for (attempt, secs) in [(1, 30), (2, 120), (3, 600), (4, 1800), (5, 1800), (99, 1800)] {
            assert_eq!(wait(&SCHEDULE, attempt, None, 1.0), Duration::from_secs(secs));
        }
    }

    #[test]
    fn a_retry_after_is_a_minimum_within_the_limit() {
        let hour = Duration::from_secs(3600);
        assert_eq!(wait(&SCHEDULE, 1, Some(hour), 0.5), hour);
        assert_eq!(wait(&SCHEDULE, 4, Some(Duration::from_secs(5)), 1.0), Duration::from_secs(1800));
        assert_eq!(wait(&SCHEDULE, 1, Some(Duration::MAX), 0.0), LONGEST);
    }

    #[test]
    fn an_empty_schedule_means_at_once() {
        assert_eq!(wait(&[], 1, None, 1.0), Duration::ZERO);
    }

    #[test]
    fn the_four_waits_last_21_to_43_minutes() {
        let total =
            |random| -> Duration { (1..=4).map(|attempt| wait(&SCHEDULE, attempt, None, random)).sum() };
        assert_eq!([total(0.0), total(1.0)].map(|total| total.as_secs()), [1275, 2550]);
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
