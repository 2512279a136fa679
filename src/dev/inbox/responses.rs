//! How the inbox responds: the status, the latency, and the share of failures.

use std::time::Duration;

use axum::http::StatusCode;

/// How requests are answered. Failures let a user watch retries, backoff and dead letters without breaking a real receiver.
#[derive(Debug, Clone)]
pub struct ResponseRules {
    pub status: StatusCode,
    pub latency: Duration,
    /// The maximum that is added to the latency, at random.
    pub jitter: Duration,
    /// The share of requests that fail, from 0.0 to 1.0.
    pub failure_rate: f64,
    pub fail_first: u32,
    pub failure_status: StatusCode,
}

impl Default for ResponseRules {
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

impl ResponseRules {
    /// Returns the status for an event's attempt, counted from 1.
    pub(super) fn status_for(&self, attempt: u32) -> StatusCode {
        let fails = attempt <= self.fail_first || fastrand::f64() < self.failure_rate;
        if fails { self.failure_status } else { self.status }
    }

    pub(super) fn delay(&self) -> Duration {
        self.latency + self.jitter.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fail_first_fails_only_the_first_attempts_of_an_event() {
        let rules = ResponseRules { fail_first: 2, ..ResponseRules::default() };
        let statuses: Vec<u16> = (1..=4).map(|attempt| rules.status_for(attempt).as_u16()).collect();
        assert_eq!(statuses, [500, 500, 200, 200]);
    }

    #[test]
    fn a_failure_rate_of_one_fails_every_request_and_of_zero_none() {
        let with_rate = |failure_rate| ResponseRules { failure_rate, ..ResponseRules::default() };
        assert!((0..1000).all(|_| with_rate(1.0).status_for(1) == 500));
        assert!((0..1000).all(|_| with_rate(0.0).status_for(1) == 200));
    }

    #[test]
    fn jitter_adds_to_the_latency_up_to_its_maximum() {
        let (latency, jitter) = (Duration::from_millis(100), Duration::from_millis(50));
        let rules = ResponseRules { latency, jitter, ..ResponseRules::default() };
        for _ in 0..1000 {
            let delay = rules.delay().as_millis();
            assert!((100..=150).contains(&delay), "{delay} ms");
        }
    }
}
