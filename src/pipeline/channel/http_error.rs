//! What a failed HTTP request and the header `Retry-After` mean, for every channel that uses the HTTP client.

use std::error::Error as _;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::http_client::HttpError;
use super::{Disposition, SendResult};
use crate::model::{AttemptOutcome, Reason};

/// Returns the result of an attempt without a response.
pub(crate) fn classify_error(error: &HttpError) -> SendResult {
    use AttemptOutcome::{Failed, Unknown};
    let retry = |outcome, reason, text| SendResult::failed(outcome, Disposition::Retry(None), reason, text);
    let error = match error {
        // Retried: an operator may correct the configuration or the DNS.
        HttpError::AddressRefused(refused) => {
            return retry(Failed, Reason::AddressRefused, refused.to_string());
        }
        HttpError::Timeout(_) => return retry(Unknown, Reason::Timeout, error.to_string()),
        HttpError::Http(error) => error,
    };
    if error.is_builder() {
        retry(Failed, Reason::BadUrl, "invalid URL: check the URL of the channel".to_owned())
    } else if error.is_connect() {
        retry(Failed, Reason::Connect, format!("no connection: {}", root_cause(error)))
    } else {
        retry(Unknown, Reason::Broken, format!("connection lost: {}", root_cause(error)))
    }
}

/// Parses the header `Retry-After`: seconds or a date.
pub(super) fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

fn root_cause(error: &reqwest::Error) -> String {
    let last = std::iter::successors(error.source(), |&cause| cause.source()).last();
    last.map_or_else(|| "unknown cause".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-24T09:00:00Z").expect("a time").with_timezone(&Utc);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 09:01:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-5", now), None);
    }
}
