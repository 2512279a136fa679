//! Records each fault, its target and its time, so that the judge can distinguish repeats that a fault explains from violations.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bday::clock::{Clock, SystemClock};
use bday::model::ChannelName;
use chrono::{DateTime, Utc};

/// A reason why the sender may not learn of an acceptance, or why a greeting is late.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The daemon with this name was killed.
    Killed(String),
    /// The database was unavailable.
    Database,
    /// The receiver of this channel accepted requests whose responses were lost.
    Answers(ChannelName),
    /// The daemon with this name was frozen. This alone explains no repeat: a lease lasts longer.
    Frozen(String),
    /// The clock of daemon [`super::plan::TURNED`] differed by more than daemons accept.
    Clock,
    /// The queue was faulty or unavailable.
    Queue,
    /// The receiver of this channel rejected requests, or was slow.
    Receiver(ChannelName),
    Paused,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(_) => f.write_str("a daemon was killed"),
            Self::Database => f.write_str("the database was unavailable"),
            Self::Answers(channel) => write!(f, "the answer of {channel} was lost"),
            Self::Frozen(_) => f.write_str("a daemon was frozen"),
            Self::Clock => f.write_str("a clock was wrong"),
            Self::Queue => f.write_str("the queue was unavailable"),
            Self::Receiver(channel) => write!(f, "the receiver of {channel} failed"),
            Self::Paused => f.write_str("sending was paused"),
        }
    }
}

/// A cause and its interval, since the origin of the journal.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) cause: Cause,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

#[derive(Debug)]
pub(crate) struct Journal {
    origin: Instant,
    /// Start of the plan, since the origin.
    begun: OnceLock<Duration>,
    /// The origin as wall-clock time.
    pub(crate) started_at: DateTime<Utc>,
    entries: Mutex<Vec<Entry>>,
    notes: Mutex<Vec<(Duration, String)>>,
}

impl Journal {
    pub(crate) fn start() -> Self {
        Self {
            origin: SystemClock.monotonic(),
            begun: OnceLock::new(),
            started_at: SystemClock.now(),
            entries: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// Returns the time since the origin.
    pub(crate) fn now(&self) -> Duration {
        SystemClock.monotonic() - self.origin
    }

    /// Marks the start of the plan.
    pub(crate) fn begin(&self) {
        self.begun.get_or_init(|| self.now());
    }

    /// Returns the time since the start of the plan.
    pub(crate) fn in_plan(&self) -> Duration {
        self.begun.get().map_or(Duration::ZERO, |begun| self.now().saturating_sub(*begun))
    }

    /// Runs `work`, and records `cause` for its duration.
    pub(crate) async fn during<T>(&self, cause: Cause, work: impl Future<Output = T>) -> T {
        let from = self.now();
        let done = work.await;
        let to = self.now();
        let entry = Entry { cause, from, to };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        done
    }

    /// Adds a line to the report of the run.
    pub(crate) fn note(&self, what: impl Into<String>) {
        let note = (self.now(), what.into());
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn notes(&self) -> Vec<(Duration, String)> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
