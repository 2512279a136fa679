//! A cache of results that cost a scan of many rows. One caller at a time computes; the others get the last result, or wait for the first.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use super::Result;
use crate::clock::SharedClock;
use crate::store::StoreError;

/// A result is reused for this long at least, and at most.
const MIN_AGE: TimeDelta = TimeDelta::seconds(2);
const MAX_AGE: TimeDelta = TimeDelta::minutes(5);
/// While a new result is computed, an older one is returned up to this age.
const MAX_STALE_AGE: TimeDelta = TimeDelta::minutes(10);
const MAX_ENTRIES: usize = 32;

#[derive(Debug)]
pub(super) struct Cache<K, V> {
    clock: SharedClock,
    /// A result is reused for this many times as long as it took to compute, so that polling occupies at most one part in `factor` of a
    /// connection.
    factor: i32,
    flight: tokio::sync::Mutex<()>,
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K, V> {
    entries: Vec<Entry<K, V>>,
    /// The last failed computation, and when it ended.
    failure: Option<(Instant, Arc<StoreError>)>,
    invalidated_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: Arc<V>,
    at: DateTime<Utc>,
    fresh_for: TimeDelta,
}

impl<K: PartialEq, V> Cache<K, V> {
    pub(super) fn new(clock: SharedClock, factor: i32) -> Self {
        let state = State { entries: Vec::new(), failure: None, invalidated_at: None };
        Self { clock, factor, flight: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }

    /// Returns the result for `key`. `compute` is dropped unused if a result can be reused. Callers that waited for a computation that
    /// failed get its error, and do not try one after the other.
    pub(super) async fn get(&self, key: K, compute: impl Future<Output = Result<V>>) -> Result<Arc<V>> {
        let called_at = self.clock.monotonic();
        let _flight = match self.find(&key) {
            Some((value, true)) => return Ok(value),
            Some((value, false)) => match self.flight.try_lock() {
                Ok(flight) => flight,
                Err(_) => return Ok(value),
            },
            None => self.flight.lock().await,
        };
        // Another caller may have computed it, or failed, since the call.
        if let Some((value, true)) = self.find(&key) {
            return Ok(value);
        }
        if let Some((_, error)) = self.state().failure.as_ref().filter(|(ended_at, _)| *ended_at >= called_at)
        {
            return Err(Arc::clone(error));
        }
        let (at, began) = (self.clock.now(), self.clock.monotonic());
        match compute.await {
            Ok(value) => Ok(self.keep(key, value, at, began)),
            Err(error) => {
                self.state().failure = Some((self.clock.monotonic(), Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// Returns how long the last result for `key` is reused; zero without a result.
    pub(super) fn fresh_for(&self, key: &K) -> TimeDelta {
        let state = self.state();
        let entry = state.entries.iter().find(|entry| entry.key == *key);
        entry.map_or_else(TimeDelta::zero, |entry| entry.fresh_for)
    }

    /// Forgets all results, also those that are being computed.
    pub(super) fn invalidate(&self) {
        let mut state = self.state();
        state.entries.clear();
        state.invalidated_at = Some(self.clock.monotonic());
    }

    /// Returns the last result, and whether it is fresh.
    fn find(&self, key: &K) -> Option<(Arc<V>, bool)> {
        let now = self.clock.now();
        let state = self.state();
        let entry = state.entries.iter().find(|entry| entry.key == *key)?;
        let age = now - entry.at;
        let is_usable = age >= TimeDelta::zero() && age < MAX_STALE_AGE;
        is_usable.then(|| (Arc::clone(&entry.value), age < entry.fresh_for))
    }

    fn keep(&self, key: K, value: V, at: DateTime<Utc>, began: Instant) -> Arc<V> {
        let took = self.clock.monotonic().saturating_duration_since(began);
        let took = TimeDelta::from_std(took).unwrap_or(MAX_AGE).min(MAX_AGE);
        let fresh_for = (took * self.factor).clamp(MIN_AGE, MAX_AGE);
        let value = Arc::new(value);
        let mut state = self.state();
        if state.invalidated_at.is_none_or(|invalidated_at| invalidated_at < began) {
            state.entries.retain(|entry| entry.key != key);
            if state.entries.len() >= MAX_ENTRIES {
                state.entries.remove(0);
            }
            state.entries.push(Entry { key, value: Arc::clone(&value), at, fresh_for });
        }
        value
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::poll;
    use tokio::sync::Notify;

    use super::*;
    use crate::clock::SettableClock;

    fn cache() -> (Arc<SettableClock>, Cache<u8, u32>) {
        let clock = Arc::new(SettableClock::new(DateTime::UNIX_EPOCH));
        (Arc::clone(&clock), Cache::new(clock, 1))
    }

    #[tokio::test]
    async fn a_result_is_reused_for_two_seconds() {
        let (clock, cache) = cache();
        let counter = AtomicU32::new(0);
        let get = |key| cache.get(key, async { Ok(counter.fetch_add(1, Ordering::Relaxed)) });
        assert_eq!((*get(1).await.unwrap(), *get(1).await.unwrap(), *get(2).await.unwrap()), (0, 0, 1));
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(*get(1).await.unwrap(), 0);
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(*get(1).await.unwrap(), 2);
        clock.advance(TimeDelta::seconds(-1));
        assert_eq!(*get(1).await.unwrap(), 3, "a clock that is set back does not prolong the reuse");
        cache.invalidate();
        assert_eq!(*get(1).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn callers_wait_for_the_first_result_and_later_get_the_last_one() {
        let (clock, cache) = cache();
        let done = Notify::new();
        let slow = async |value| {
            done.notified().await;
            Ok(value)
        };
        let mut first = Box::pin(cache.get(1, slow(7)));
        let mut second = Box::pin(cache.get(1, async { panic!("computed twice") }));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        done.notify_one();
        assert_eq!((*first.await.unwrap(), *second.await.unwrap()), (7, 7));

        clock.advance(TimeDelta::minutes(1));
        let mut next = Box::pin(cache.get(1, slow(8)));
        assert!(poll!(&mut next).is_pending());
        assert_eq!(*cache.get(1, async { panic!("computed twice") }).await.unwrap(), 7);
        done.notify_one();
        assert_eq!(*next.await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_failure_ends_all_calls_that_waited_for_it() {
        let (_, cache) = cache();
        let done = Notify::new();
        let mut first = Box::pin(cache.get(1, async {
            done.notified().await;
            Err(Arc::new(StoreError::NoLogin))
        }));
        let mut second = Box::pin(cache.get(1, async { panic!("tried again") }));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        done.notify_one();
        assert!(first.await.is_err() && second.await.is_err());
        assert_eq!(*cache.get(1, async { Ok(9) }).await.unwrap(), 9);
    }

    #[tokio::test]
    async fn a_result_that_was_being_computed_when_the_cache_was_invalidated_is_not_kept() {
        let (_, cache) = cache();
        let done = Notify::new();
        let mut before = Box::pin(cache.get(1, async {
            done.notified().await;
            Ok(1)
        }));
        assert!(poll!(&mut before).is_pending());
        cache.invalidate();
        done.notify_one();
        assert_eq!(*before.await.unwrap(), 1);
        assert_eq!(*cache.get(1, async { Ok(2) }).await.unwrap(), 2);
    }
}
