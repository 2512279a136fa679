//! What arrived: the last arrivals, the totals of all, and a feed of each as it happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use super::arrival::{Arrival, Content};
use super::lateness::{Lateness, Quantiles};
use super::sightings::{EventKey, Namer, Sightings};

/// So many arrivals a subscriber may be behind before it loses the oldest.
const FEED_CAPACITY: usize = 8192;
/// At least so many events are remembered, to recognise a duplicate (17 MB when full, twice that at the very most).
const EVENTS_REMEMBERED: usize = 500_000;

/// Counts since the start, or since the last clearing. `received = accepted + failed + unanswered`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Requests.
    pub received: u64,
    /// Distinct events among them. A request that names no event counts as none.
    pub events: u64,
    /// Answered with 2xx.
    pub accepted: u64,
    /// Answered with anything else.
    pub failed: u64,
    /// Given up by their sender before the answer.
    pub unanswered: u64,
    /// Carried an event that had been accepted before.
    pub duplicates: u64,
    /// Were not exactly a greeting.
    pub unreadable: u64,
    /// Arrived before their due instant.
    pub early: u64,
    /// Due instant to arrival, over the first acceptance of each event. Samples are left out.
    pub lateness_ms: Option<Quantiles>,
}

/// A place in the list of arrivals. Written `epoch-id`, which is what an event stream resumes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Changes when the list is cleared and, since it starts from the clock, when the inbox is restarted.
    pub epoch: i64,
    /// The last arrival seen, 0 for none.
    pub id: u64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.id)
    }
}

impl std::str::FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, id) = text.rsplit_once('-').unwrap_or((text, ""));
        Ok(Self { epoch: epoch.parse()?, id: id.parse()? })
    }
}

/// What happened since a cursor.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Where to go on from.
    pub cursor: Cursor,
    /// Whether the cursor given was of another list, so that what was shown from it is void.
    pub reset: bool,
    /// The counts at this moment.
    pub totals: Totals,
    /// The arrivals, oldest first.
    pub arrivals: Vec<Arc<Arrival>>,
}

/// A request on its way through the inbox.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) arrived_at: DateTime<Utc>,
    pub(super) path: String,
    pub(super) webhook_id: Option<String>,
    pub(super) content: Content,
    /// The event it carries and which attempt this is, if it names one.
    pub(super) event: Option<(EventKey, u32)>,
    /// Whether it is a sample: all samples are one event by name, and each is one for itself.
    pub(super) sample: bool,
}

/// The arrivals and their totals. Bounded: it keeps the last `keep` arrivals.
#[derive(Debug)]
pub struct Ledger {
    keep: usize,
    state: Mutex<State>,
    namer: Namer,
    feed: broadcast::Sender<Arc<Arrival>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    epoch: i64,
    last_id: u64,
    kept: VecDeque<Arc<Arrival>>,
    totals: Totals,
    lateness: Lateness,
    sightings: Sightings,
}

impl Ledger {
    pub(super) fn new(keep: usize, now: DateTime<Utc>) -> Self {
        let sightings = Sightings::new(EVENTS_REMEMBERED);
        Self {
            keep: keep.max(1),
            namer: sightings.namer(),
            feed: broadcast::Sender::new(FEED_CAPACITY),
            changed: watch::Sender::new(()),
            state: Mutex::new(State {
                epoch: now.timestamp_millis(),
                last_id: 0,
                kept: VecDeque::new(),
                totals: Totals::default(),
                lateness: Lateness::default(),
                sightings,
            }),
        }
    }

    /// How many arrivals are kept.
    #[must_use]
    pub fn keep(&self) -> usize {
        self.keep
    }

    /// The counts at this moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.lock().totals()
    }

    /// What happened since `cursor`, or since the beginning without one; the newest `limit` arrivals of it at most.
    #[must_use]
    pub fn since(&self, cursor: Option<Cursor>, limit: usize) -> Batch {
        let state = self.lock();
        let reset = cursor.is_some_and(|cursor| cursor.epoch != state.epoch);
        let after = cursor.filter(|_| !reset).map_or(0, |cursor| cursor.id);
        let first = state.kept.partition_point(|arrival| arrival.id <= after);
        let first = first.max(state.kept.len().saturating_sub(limit));
        Batch {
            cursor: Cursor { epoch: state.epoch, id: state.last_id },
            reset,
            totals: state.totals(),
            arrivals: state.kept.range(first..).cloned().collect(),
        }
    }

    /// The arrivals kept whose id is above `id`, oldest first.
    #[must_use]
    pub fn after(&self, id: u64) -> Vec<Arc<Arrival>> {
        let state = self.lock();
        let first = state.kept.partition_point(|arrival| arrival.id <= id);
        state.kept.range(first..).cloned().collect()
    }

    /// Starts again from nothing: arrivals, totals and the memory of events. Ids go on counting up.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.kept.clear();
        state.totals = Totals::default();
        state.lateness = Lateness::default();
        state.sightings.clear();
        drop(state);
        self.changed.send_replace(());
    }

    /// See [`Inbox::subscribe`](super::Inbox::subscribe).
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.feed.subscribe()
    }

    /// Wakes whenever anything changed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// A request has been read: which event is it, and which attempt of it?
    pub(super) fn arrive(&self, event: &str) -> (EventKey, u32) {
        let key = self.namer.key(event);
        let mut state = self.lock();
        let sighting = state.sightings.entry(key);
        sighting.attempts = sighting.attempts.saturating_add(1);
        let attempt = sighting.attempts;
        state.totals.events += u64::from(attempt == 1);
        (key, attempt)
    }

    /// A request has been answered, or given up by its sender when `status` is none. This is where it counts.
    pub(super) fn record(&self, draft: Draft, status: Option<u16>) {
        let mut state = self.lock();
        state.last_id += 1;
        let mut arrival = Arrival {
            id: state.last_id,
            arrived_at: draft.arrived_at,
            path: draft.path,
            webhook_id: draft.webhook_id,
            attempt: draft.event.filter(|_| !draft.sample).map_or(1, |(_, attempt)| attempt),
            duplicate: false,
            sample: draft.sample,
            status,
            lateness_ms: draft
                .content
                .greeting()
                .map(|it| (draft.arrived_at - it.timestamp).num_milliseconds()),
            content: draft.content,
        };
        if let Some((key, _)) = draft.event {
            let sighting = state.sightings.entry(key);
            arrival.duplicate = sighting.accepted && !draft.sample;
            sighting.accepted |= arrival.accepted();
        }
        state.count(&arrival);
        let arrival = Arc::new(arrival);
        if state.kept.len() == self.keep {
            state.kept.pop_front();
        }
        state.kept.push_back(Arc::clone(&arrival));
        if self.feed.receiver_count() > 0 {
            // Under the lock, so that subscribers see the order of the ids. It fails only when the last one has just
            // gone, and then nobody misses it.
            let _ = self.feed.send(arrival);
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// No panic happens under this lock that would leave the state half changed, so a poisoned one is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn totals(&self) -> Totals {
        Totals { lateness_ms: self.lateness.quantiles(), ..self.totals }
    }

    fn count(&mut self, arrival: &Arrival) {
        let totals = &mut self.totals;
        totals.received += 1;
        match arrival.status {
            None => totals.unanswered += 1,
            Some(_) if arrival.accepted() => totals.accepted += 1,
            Some(_) => totals.failed += 1,
        }
        totals.duplicates += u64::from(arrival.duplicate);
        match arrival.lateness_ms {
            None => totals.unreadable += 1,
            Some(lateness_ms) => {
                totals.early += u64::from(lateness_ms < 0);
                if arrival.accepted() && !arrival.duplicate && !arrival.sample {
                    self.lateness.record(lateness_ms);
                }
            }
        }
    }
}
