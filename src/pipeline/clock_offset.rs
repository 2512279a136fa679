//! The offset of this machine's clock from the database's. Every process uses its own clock, so beyond a few seconds a process must
//! not act: with a clock that is ahead, a tick sends early, and skips events as too late.

use std::time::Instant;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::calendar::format_duration;
use crate::clock::{Clock, MAX_SKEW};
use crate::store::{Result, Store};

/// The clocks differ by more than [`MAX_SKEW`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this machine's clock ({}) differs from the database's ({}) by {}; the limit is {} s: synchronize both clocks (NTP), or \
     greetings would be sent at the wrong time",
    .0.local.to_rfc3339_opts(SecondsFormat::Millis, true),
    .0.database.to_rfc3339_opts(SecondsFormat::Millis, true),
    format_duration(.0.value),
    MAX_SKEW.num_seconds()
)]
pub struct ClockOffsetError(ClockOffset);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    local: DateTime<Utc>,
    database: DateTime<Utc>,
    value: TimeDelta,
}

impl ClockOffset {
    pub async fn measure(clock: &dyn Clock, store: &Store) -> Result<Self> {
        Self::measure_at(clock.reading(), clock, store).await
    }

    /// Measures the offset of `local` (UTC), which the caller has just read from `clock`, and confirms `clock` if it is within the
    /// limit.
    pub async fn measure_at(local: DateTime<Utc>, clock: &dyn Clock, store: &Store) -> Result<Self> {
        let asked_at = clock.monotonic();
        let database = store.clock().await?;
        Ok(Self::from_readings(local, database, asked_at, clock))
    }

    /// As [`measure_at`](Self::measure_at), where the database was asked at `asked_at` and has just answered.
    pub(crate) fn from_readings(
        local: DateTime<Utc>,
        database: DateTime<Utc>,
        asked_at: Instant,
        clock: &dyn Clock,
    ) -> Self {
        let took = clock.monotonic().duration_since(asked_at);
        let offset = Self::between(local, database, TimeDelta::from_std(took).unwrap_or_default());
        if offset.ensure_within_limit().is_ok() {
            clock.confirm(local, asked_at);
        }
        offset
    }

    /// Returns the smallest offset that explains the readings, where the database's is from any moment of the `took` after the local
    /// one: a slow response must not look like a wrong clock.
    #[must_use]
    pub fn between(local: DateTime<Utc>, database: DateTime<Utc>, took: TimeDelta) -> Self {
        let ahead = local - database;
        let value = if ahead > TimeDelta::zero() { ahead } else { (ahead + took).min(TimeDelta::zero()) };
        Self { local, database, value }
    }

    /// Local clock minus database clock.
    #[must_use]
    pub fn value(self) -> TimeDelta {
        self.value
    }

    pub fn ensure_within_limit(self) -> Result<(), ClockOffsetError> {
        if self.value.abs() > MAX_SKEW {
            return Err(ClockOffsetError(self));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_slow_response_does_not_count_as_offset() {
        let second = TimeDelta::seconds;
        let base = DateTime::UNIX_EPOCH;
        for (local, took, expected) in [
            (0, 0, 0),
            (6, 0, 6),
            (-6, 0, -6),
            // Some of these ten seconds may have passed before the database read its clock, none before the local reading.
            (-6, 10, 0),
            (-16, 10, -6),
            (6, 10, 6),
        ] {
            let offset = ClockOffset::between(base + second(local), base, second(took));
            assert_eq!(offset.value(), second(expected), "{local} s ahead, {took} s");
            assert_eq!(offset.ensure_within_limit().is_err(), expected.abs() > 5);
        }
    }

    #[test]
    fn the_error_names_both_times_and_what_to_do() {
        let base = DateTime::UNIX_EPOCH;
        let offset = ClockOffset::between(base, base + TimeDelta::milliseconds(7250), TimeDelta::zero());
        let text = offset.ensure_within_limit().expect_err("over the limit").to_string();
        assert_eq!(
            text,
            "this machine's clock (1970-01-01T00:00:00.000Z) differs from the database's (1970-01-01T00:00:07.250Z) by \
             7.2 s; the limit is 5 s: synchronize both clocks (NTP), or greetings would be sent at the wrong time"
        );
    }
}
