//! How far our clock is from the database's. Every process goes by its own clock, so beyond a few seconds "due" means
//! nothing: a tick with a clock that is ahead sends early, and plans past days on which nobody is greeted then.

use std::time::Instant;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::clock::{Clock, MAX_SKEW};
use crate::store::{Result, Store};

/// The clocks differ by more than [`MAX_SKEW`]. Waiting does not heal that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this machine's clock ({}) differs from the database's ({}) by {:.1} s, more than {} s: set it right (NTP), or \
     greetings would go out at the wrong time",
    .0.ours.to_rfc3339_opts(SecondsFormat::Millis, true),
    .0.database.to_rfc3339_opts(SecondsFormat::Millis, true),
    .0.by.abs().as_seconds_f64(),
    MAX_SKEW.num_seconds()
)]
pub struct WrongClock(ClockOffset);

/// Our clock beside the database's, as of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    ours: DateTime<Utc>,
    database: DateTime<Utc>,
    by: TimeDelta,
}

impl ClockOffset {
    /// Looks at both clocks now.
    pub async fn look(clock: &dyn Clock, store: &Store) -> Result<Self> {
        Self::of(clock.reading(), clock, store).await
    }

    /// The skew of `ours`, UTC, which was read from our clock just now; tells the clock when it is right.
    pub async fn of(ours: DateTime<Utc>, clock: &dyn Clock, store: &Store) -> Result<Self> {
        let asked = clock.monotonic();
        let database = store.clock().await?;
        Ok(Self::as_of(ours, database, asked, clock))
    }

    /// The same, where the answer of the `database` has just come to a question of `asked`.
    pub(crate) fn as_of(
        ours: DateTime<Utc>,
        database: DateTime<Utc>,
        asked: Instant,
        clock: &dyn Clock,
    ) -> Self {
        let took = clock.monotonic().duration_since(asked);
        let skew = Self::between(ours, database, TimeDelta::from_std(took).unwrap_or_default());
        if skew.check().is_ok() {
            clock.confirm(ours, asked);
        }
        skew
    }

    /// The least that the clocks differ by, where the database read its own at some moment of the `took` after ours was read: a
    /// slow answer must not look like a wrong clock.
    #[must_use]
    pub fn between(ours: DateTime<Utc>, database: DateTime<Utc>, took: TimeDelta) -> Self {
        let ahead = ours - database;
        let by = if ahead > TimeDelta::zero() { ahead } else { (ahead + took).min(TimeDelta::zero()) };
        Self { ours, database, by }
    }

    /// Our clock less the database's.
    #[must_use]
    pub fn by(self) -> TimeDelta {
        self.by
    }

    /// Whether the clocks agree well enough to send by ours.
    pub fn check(self) -> Result<(), WrongClock> {
        if self.by.abs() > MAX_SKEW {
            return Err(WrongClock(self));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slow_answer_explains_is_no_skew() {
        let second = TimeDelta::seconds;
        let base = DateTime::UNIX_EPOCH;
        for (ours, took, by) in [
            (0, 0, 0),
            (6, 0, 6),
            (-6, 0, -6),
            // Of these ten seconds some may have passed before the database looked, but none before we did.
            (-6, 10, 0),
            (-16, 10, -6),
            (6, 10, 6),
        ] {
            let skew = ClockOffset::between(base + second(ours), base, second(took));
            assert_eq!(skew.by(), second(by), "{ours} s off, {took} s");
            assert_eq!(skew.check().is_err(), by.abs() > 5);
        }
    }

    #[test]
    fn the_error_names_both_times_and_what_to_do() {
        let base = DateTime::UNIX_EPOCH;
        let skew = ClockOffset::between(base, base + TimeDelta::milliseconds(7250), TimeDelta::zero());
        let text = skew.check().expect_err("wrong").to_string();
        assert_eq!(
            text,
            "this machine's clock (1970-01-01T00:00:00.000Z) differs from the database's (1970-01-01T00:00:07.250Z) by \
             7.2 s, more than 5 s: set it right (NTP), or greetings would go out at the wrong time"
        );
    }
}
