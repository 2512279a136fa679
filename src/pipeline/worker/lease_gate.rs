//! The lease gate: closed while sending is paused, the database does not answer, or this machine's clock differs from the
//! database's.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::Shared;
use crate::clock::{Clock, MAX_SKEW};
use crate::pipeline::clock_offset::ClockOffset;
use crate::store::chain;

const INTERVAL: Duration = Duration::from_secs(1);
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unchecked,
    Open,
    Paused,
    DatabaseUnavailable,
    ClockOffset,
}

#[derive(Debug)]
pub(super) struct LeaseGate {
    state: watch::Sender<State>,
    /// The last pause that ended while this process ran: its start and end (UTC).
    last_pause: Mutex<Option<(DateTime<Utc>, DateTime<Utc>)>>,
}

impl Default for LeaseGate {
    fn default() -> Self {
        Self { state: watch::Sender::new(State::Unchecked), last_pause: Mutex::default() }
    }
}

impl LeaseGate {
    pub(super) async fn wait_until_open(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state == State::Open).await;
    }

    /// Returns the current instant; `None` if the machine's clock jumped since its last check.
    pub(super) fn trusted_now(&self, clock: &dyn Clock) -> Option<DateTime<Utc>> {
        let now = clock.now();
        if (clock.reading() - now).abs() > MAX_SKEW {
            self.set(State::ClockOffset);
            return None;
        }
        Some(now)
    }

    /// Returns when an event whose lateness counts from `at` could first be sent: at the end of a pause that `at` is in.
    pub(super) fn sendable_at(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        match *self.last_pause.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((began, ended)) if began <= at && at < ended => ended,
            _ => at,
        }
    }

    fn record_pause(&self, began: DateTime<Utc>, ended: DateTime<Utc>) {
        *self.last_pause.lock().unwrap_or_else(PoisonError::into_inner) = Some((began, ended));
    }

    fn set(&self, state: State) {
        let before = self.state.send_replace(state);
        if before == state {
            return;
        }
        match state {
            State::Paused => tracing::info!("sending paused"),
            State::Open if before == State::Paused => tracing::info!("sending resumed"),
            State::DatabaseUnavailable => tracing::warn!("leasing stopped: the database does not answer"),
            State::Open if before != State::Unchecked => tracing::info!("leasing resumed"),
            _ => {}
        }
    }
}

pub(super) async fn run(shared: &Shared) {
    let mut paused_since = None;
    loop {
        check(shared, &mut paused_since).await;
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn check(shared: &Shared, paused_since: &mut Option<DateTime<Utc>>) {
    let gate = &shared.lease_gate;
    let local = shared.clock.reading();
    let asked_at = shared.clock.monotonic();
    let answer = tokio::time::timeout(DATABASE_TIMEOUT, shared.store.clock_and_pause()).await;
    let (database, pause) = match answer {
        Ok(Ok(answer)) => answer,
        failed => {
            // A stage that waits for the database is alive.
            shared.heartbeat.alive();
            if let Ok(Err(error)) = failed {
                tracing::debug!(error = chain(&error), "lease gate check failed");
            }
            return gate.set(State::DatabaseUnavailable);
        }
    };
    let offset = ClockOffset::from_readings(local, database, asked_at, &*shared.clock);
    metrics::gauge!("bday_paused").set(u8::from(pause.is_some()));
    if let Some(began) = std::mem::replace(paused_since, pause).filter(|_| pause.is_none()) {
        gate.record_pause(began, shared.clock.now());
    }
    if let Err(error) = offset.ensure_within_limit() {
        shared.heartbeat.alive();
        if *gate.state.borrow() != State::ClockOffset {
            tracing::error!(%error, "leasing stopped");
        }
        return gate.set(State::ClockOffset);
    }
    gate.set(if pause.is_some() { State::Paused } else { State::Open });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;

    use super::*;
    use crate::clock::{SettableClock, SharedClock, SteadyClock};

    #[test]
    fn an_event_that_fell_due_in_a_pause_is_sendable_at_its_end() {
        let at = |minute| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let gate = LeaseGate::default();
        assert_eq!(gate.sendable_at(at(5)), at(5));
        gate.record_pause(at(10), at(70));
        for (due, sendable) in [(9, 9), (10, 70), (69, 70), (70, 70), (71, 71)] {
            assert_eq!(gate.sendable_at(at(due)), at(sendable), "{due}");
        }
    }

    #[test]
    fn a_clock_that_jumped_since_its_check_is_not_trusted() {
        let machine = Arc::new(SettableClock::new(DateTime::UNIX_EPOCH));
        let (gate, clock) = (LeaseGate::default(), SteadyClock::new(Arc::clone(&machine) as SharedClock));
        clock.confirm(clock.reading(), clock.monotonic());
        let now = |secs| {
            machine.set(DateTime::UNIX_EPOCH + TimeDelta::seconds(secs));
            gate.trusted_now(&clock)
        };
        assert!(now(0).is_some() && now(4).is_some());
        assert_eq!((now(7), now(-7), now(3 * 86_400)), (None, None, None));
    }
}
