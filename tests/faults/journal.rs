//! What was done to whom, and when: so that the judge can tell a repeat that a fault explains from one that nothing does.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bday::clock::{Clock, SystemClock};
use chrono::{DateTime, Utc};

/// What can make an acceptance unknown to the sender, or a greeting late.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The daemon that posts to this path was killed.
    Killed(String),
    /// The database could not be written to.
    Database,
    /// The receiver did not answer what it accepted.
    Answers,
    /// The daemon that posts to this path stood still. That explains no repeat by itself: a lease outlasts it.
    Frozen(String),
    /// The clock of the daemon that turns its clock is not accepted.
    Clock,
    /// The queue did not work.
    Queue,
    /// The receiver did not accept, or was slow.
    Receiver,
    /// Sending was paused.
    Paused,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(_) => f.write_str("a daemon was killed"),
            Self::Database => f.write_str("the database was unavailable"),
            Self::Answers => f.write_str("the answer was lost"),
            Self::Frozen(_) => f.write_str("a daemon was frozen"),
            Self::Clock => f.write_str("a clock was wrong"),
            Self::Queue => f.write_str("the queue was unavailable"),
            Self::Receiver => f.write_str("the receiver failed"),
            Self::Paused => f.write_str("sending was paused"),
        }
    }
}

/// A cause, and the time in which it acted, since the start.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) cause: Cause,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

#[derive(Debug)]
pub(crate) struct Journal {
    origin: Instant,
    /// When the plan began, since the origin.
    begun: OnceLock<Duration>,
    /// The same moment on the wall.
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

    /// Since the start.
    pub(crate) fn now(&self) -> Duration {
        SystemClock.monotonic() - self.origin
    }

    /// From now on the plan is followed.
    pub(crate) fn begin(&self) {
        self.begun.get_or_init(|| self.now());
    }

    /// How long the plan has been followed.
    pub(crate) fn in_plan(&self) -> Duration {
        self.begun.get().map_or(Duration::ZERO, |begun| self.now().saturating_sub(*begun))
    }

    /// `cause` acts as long as `work` takes.
    pub(crate) async fn during<T>(&self, cause: Cause, work: impl Future<Output = T>) -> T {
        let from = self.now();
        let done = work.await;
        let to = self.now();
        let entry = Entry { cause, from, to };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        done
    }

    /// For the story.
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
