//! What senders get to hear: the status, how late, and how often a failure instead.

use std::time::Duration;

use axum::http::StatusCode;

/// How requests are answered. The failures are what makes it a test receiver: retries, backoff and dead letters can
/// be watched without breaking anything real.
#[derive(Debug, Clone)]
pub struct Answers {
    /// The status of an ordinary answer.
    pub status: StatusCode,
    /// How long each answer takes.
    pub latency: Duration,
    /// Up to this much more, drawn evenly for each answer.
    pub jitter: Duration,
    /// The share of requests that is answered with `failure_status`: 0.0 is none, 1.0 is all.
    pub failure_rate: f64,
    /// So many attempts of each event are answered with `failure_status`, before any other is.
    pub fail_first: u32,
    /// The status of a failure.
    pub failure_status: StatusCode,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            failure_rate: 0.0,
            fail_first: 0,
            failure_status: StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Answers {
    /// The status for an event's attempt, counted from 1.
    pub(super) fn status_for(&self, attempt: u32) -> StatusCode {
        if attempt <= self.fail_first || (self.failure_rate > 0.0 && fastrand::f64() < self.failure_rate) {
            self.failure_status
        } else {
            self.status
        }
    }

    /// How long to wait before this answer.
    pub(super) fn delay(&self) -> Duration {
        self.latency + self.jitter.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempts_of_an_event_fail_when_told_so_and_the_next_one_does_not() {
        let answers = Answers { fail_first: 2, ..Answers::default() };
        let statuses: Vec<u16> = (1..=4).map(|attempt| answers.status_for(attempt).as_u16()).collect();
        assert_eq!(statuses, [500, 500, 200, 200]);
    }

    #[test]
    fn a_failure_rate_of_one_fails_everything_and_of_zero_nothing() {
        let with_rate = |failure_rate| Answers { failure_rate, ..Answers::default() };
        assert!((0..1000).all(|_| with_rate(1.0).status_for(1) == 500));
        assert!((0..1000).all(|_| with_rate(0.0).status_for(1) == 200));
    }

    #[test]
    fn jitter_only_adds_and_never_more_than_it_says() {
        let answers = Answers {
            latency: Duration::from_millis(100),
            jitter: Duration::from_millis(50),
            ..Answers::default()
        };
        for _ in 0..1000 {
            let delay = answers.delay().as_millis();
            assert!((100..=150).contains(&delay), "{delay} ms");
        }
    }
}
