//! The gate: whether events may be leased. Closed while sending is paused, the database does not answer, or this machine's clock
//! differs from the database's.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::Shared;
use crate::clock::{Clock, MAX_SKEW};
use crate::pipeline::clock_offset::ClockOffset;
use crate::store::chain;

const INTERVAL: Duration = Duration::from_secs(1);
/// A database that does not answer within this time counts as unavailable.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unchecked,
    Open,
    Paused,
    NoDatabase,
    WrongClock,
}

#[derive(Debug)]
pub(super) struct Gate {
    state: watch::Sender<State>,
    /// The last pause that ended while this process ran, from and until (UTC).
    last_pause: Mutex<Option<(DateTime<Utc>, DateTime<Utc>)>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: watch::Sender::new(State::Unchecked), last_pause: Mutex::default() }
    }
}

impl Gate {
    pub(super) async fn opened(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state == State::Open).await;
    }

    /// The current instant; none if the machine's clock jumped since its last check.
    pub(super) fn now(&self, clock: &dyn Clock) -> Option<DateTime<Utc>> {
        let now = clock.now();
        if (clock.reading() - now).abs() > MAX_SKEW {
            self.set(State::WrongClock);
            return None;
        }
        Some(now)
    }

    /// When an event could be sent whose lateness counts from `at`: after a pause that `at` is in.
    pub(super) fn sendable_at(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        match *self.last_pause.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((began, ended)) if began <= at && at < ended => ended,
            _ => at,
        }
    }

    fn note_pause(&self, began: DateTime<Utc>, ended: DateTime<Utc>) {
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
            State::NoDatabase => tracing::warn!("leasing stopped: the database does not answer"),
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
    let gate = &shared.gate;
    let ours = shared.clock.reading();
    let asked = shared.clock.monotonic();
    let answer = tokio::time::timeout(PATIENCE, shared.store.clock_and_pause()).await;
    let (database, since) = match answer {
        Ok(Ok(answer)) => answer,
        failed => {
            // Waiting for the database is not being stuck.
            shared.heartbeat.alive();
            if let Ok(Err(error)) = failed {
                tracing::debug!(error = chain(&error), "gate check failed");
            }
            return gate.set(State::NoDatabase);
        }
    };
    let skew = ClockOffset::as_of(ours, database, asked, &*shared.clock);
    metrics::gauge!("bday_paused").set(u8::from(since.is_some()));
    if let Some(began) = std::mem::replace(paused_since, since).filter(|_| since.is_none()) {
        gate.note_pause(began, shared.clock.now());
    }
    if let Err(error) = skew.check() {
        shared.heartbeat.alive();
        if *gate.state.borrow() != State::WrongClock {
            tracing::error!(%error, "leasing stopped");
        }
        return gate.set(State::WrongClock);
    }
    gate.set(if since.is_some() { State::Paused } else { State::Open });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;

    use super::*;
    use crate::clock::{SettableClock, SharedClock, SteadyClock};

    #[test]
    fn an_event_that_became_due_in_a_pause_could_be_sent_at_its_end() {
        let at = |minute| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let gate = Gate::default();
        assert_eq!(gate.sendable_at(at(5)), at(5));
        gate.note_pause(at(10), at(70));
        for (due, sendable) in [(9, 9), (10, 70), (69, 70), (70, 70), (71, 71)] {
            assert_eq!(gate.sendable_at(at(due)), at(sendable), "{due}");
        }
    }

    #[test]
    fn a_clock_that_jumped_since_its_check_leases_nothing() {
        let machine = Arc::new(SettableClock::new(DateTime::UNIX_EPOCH));
        let (gate, clock) = (Gate::default(), SteadyClock::new(Arc::clone(&machine) as SharedClock));
        clock.confirm(clock.reading(), clock.monotonic());
        let now = |secs| {
            machine.set(DateTime::UNIX_EPOCH + TimeDelta::seconds(secs));
            gate.now(&clock)
        };
        assert!(now(0).is_some() && now(4).is_some());
        assert_eq!((now(7), now(-7), now(3 * 86_400)), (None, None, None));
    }
}
