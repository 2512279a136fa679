//! The log of received requests: the last of them, the totals of all, and a feed of each as it is answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use super::lateness::{LatenessHistogram, Quantiles};
use super::recent_events::RecentEvents;
use super::request::{Content, ReceivedRequest};
use crate::model::ChannelName;

/// A subscriber that lags behind by more requests loses the oldest.
const FEED_CAPACITY: usize = 8192;
/// Events that are remembered to detect duplicates: 15 MB at most.
const MAX_EVENTS: usize = 500_000;

/// Counts since the start or since the log was cleared. `received` is always `accepted + failed + unanswered`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    pub received: u64,
    /// Of those received.
    pub channels: BTreeMap<ChannelName, u64>,
    /// Distinct events. A request without an event id counts as none.
    pub events: u64,
    /// Answered with 2xx.
    pub accepted: u64,
    pub failed: u64,
    /// The sender disconnected before the response.
    pub unanswered: u64,
    /// Carried an event that had been accepted before.
    pub duplicates: u64,
    pub unreadable: u64,
    pub early: u64,
    /// Of the first acceptance of each event; samples are left out.
    pub lateness_ms: Option<Quantiles>,
}

/// A position in the log, from which an event stream resumes. Written as `epoch-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Changes when the log is cleared and, since it starts from the clock, when the inbox is restarted.
    epoch: i64,
    /// The last request, 0 for none.
    id: u64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.id)
    }
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, id) = text.rsplit_once('-')?;
        Some(Self { epoch: epoch.parse().ok()?, id: id.parse().ok()? })
    }
}

/// The changes since a cursor, as the page receives them.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Update {
    #[serde(skip)]
    pub(super) cursor: Cursor,
    /// Whether the log was cleared since the cursor.
    reset: bool,
    keep: usize,
    totals: Totals,
    #[serde(rename = "arrivals")]
    requests: Vec<Arc<ReceivedRequest>>,
}

/// Keeps the last `keep` requests in memory, and counts all.
#[derive(Debug)]
pub struct RequestLog {
    keep: usize,
    state: Mutex<LogState>,
    feed: broadcast::Sender<Arc<ReceivedRequest>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct LogState {
    epoch: i64,
    last_id: u64,
    kept: VecDeque<Arc<ReceivedRequest>>,
    totals: Totals,
    lateness: LatenessHistogram,
    events: RecentEvents,
}

impl LogState {
    fn new(epoch: i64, last_id: u64) -> Self {
        Self {
            epoch,
            last_id,
            kept: VecDeque::new(),
            totals: Totals::default(),
            lateness: LatenessHistogram::default(),
            events: RecentEvents::new(MAX_EVENTS),
        }
    }
}

impl RequestLog {
    pub(super) fn new(keep: usize, now: DateTime<Utc>) -> Self {
        Self {
            keep: keep.max(1),
            feed: broadcast::Sender::new(FEED_CAPACITY),
            changed: watch::Sender::new(()),
            state: Mutex::new(LogState::new(now.timestamp_millis(), 0)),
        }
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        self.lock().totals()
    }

    /// Returns the kept requests whose id is above `id`, oldest first.
    #[must_use]
    pub fn after(&self, id: u64) -> Vec<Arc<ReceivedRequest>> {
        self.lock().after(id, usize::MAX)
    }

    pub fn clear(&self) {
        let mut state = self.lock();
        *state = LogState::new(state.epoch + 1, state.last_id);
        drop(state);
        self.changed.send_replace(());
    }

    /// Returns the changes since `cursor`, or since the start without one, with the newest `limit` requests at most.
    pub(super) fn since(&self, cursor: Option<Cursor>, limit: usize) -> Update {
        let state = self.lock();
        let reset = cursor.is_some_and(|cursor| cursor.epoch != state.epoch);
        let after = cursor.filter(|_| !reset).map_or(0, |cursor| cursor.id);
        Update {
            cursor: Cursor { epoch: state.epoch, id: state.last_id },
            reset,
            keep: self.keep,
            totals: state.totals(),
            requests: state.after(after, limit),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<ReceivedRequest>> {
        self.feed.subscribe()
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn count_attempt(&self, event: &str) -> u32 {
        let mut state = self.lock();
        let history = state.events.entry(event);
        history.attempts = history.attempts.saturating_add(1);
        let attempt = history.attempts;
        state.totals.events += u64::from(attempt == 1);
        attempt
    }

    pub(super) fn record(&self, mut request: ReceivedRequest) {
        let mut state = self.lock();
        state.last_id += 1;
        request.id = state.last_id;
        if let Some(event) = request.event() {
            let history = state.events.entry(event);
            let accepted_before = history.accepted;
            history.accepted |= request.accepted();
            request.duplicate = accepted_before && !request.sample;
        }
        state.count(&request);
        let request = Arc::new(request);
        if state.kept.len() == self.keep {
            state.kept.pop_front();
        }
        state.kept.push_back(Arc::clone(&request));
        // Sent under the lock, so that subscribers receive requests in the order of their ids. Fails without subscribers.
        let _ = self.feed.send(request);
        drop(state);
        self.changed.send_replace(());
    }

    /// No panic under this lock leaves the state half changed, so a poisoned lock is still valid.
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogState {
    fn totals(&self) -> Totals {
        Totals { lateness_ms: self.lateness.quantiles(), ..self.totals.clone() }
    }

    fn after(&self, id: u64, limit: usize) -> Vec<Arc<ReceivedRequest>> {
        let first = self.kept.partition_point(|request| request.id <= id);
        let first = first.max(self.kept.len().saturating_sub(limit));
        self.kept.range(first..).cloned().collect()
    }

    fn count(&mut self, request: &ReceivedRequest) {
        let totals = &mut self.totals;
        totals.received += 1;
        *totals.channels.entry(request.channel).or_default() += 1;
        match request.status {
            None => totals.unanswered += 1,
            Some(_) if request.accepted() => totals.accepted += 1,
            Some(_) => totals.failed += 1,
        }
        totals.duplicates += u64::from(request.duplicate);
        totals.unreadable += u64::from(matches!(request.content, Content::Unreadable(_)));
        let Some(lateness_ms) = request.lateness_ms else { return };
        totals.early += u64::from(lateness_ms < 0);
        if request.accepted() && !request.duplicate && !request.sample {
            self.lateness.record(lateness_ms);
        }
    }
}
