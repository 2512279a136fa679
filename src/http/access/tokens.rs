//! The live tokens in memory. They are few: reading all of them every few seconds costs less than one query per request.
//!
//! A token is found by its hash in a table that is itself hashed with a random seed. The lookup time depends on the hash of the presented
//! token, which a client cannot steer towards the hash of a valid token. So no comparison in constant time is needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::model::{Scope, TokenHash};
use crate::store::{Store, chain};

/// A revoked token is rejected after this time.
const MAX_AGE: TimeDelta = TimeDelta::seconds(5);
/// Minimum time between two reads. An unknown token causes a read, since it may be new, but requests with many unknown tokens wait and
/// share one. The same holds while the database does not answer.
const READ_INTERVAL: TimeDelta = TimeDelta::milliseconds(250);
pub(super) const READ_DEADLINE: Duration = Duration::from_secs(2);
const USE_DEADLINE: Duration = Duration::from_secs(1);
/// Precision of the time of the last use.
const USE_SECS: i64 = 60;

#[derive(Debug)]
pub(in crate::http) struct LiveToken {
    pub(in crate::http) id: Uuid,
    pub(in crate::http) name: String,
    pub(in crate::http) scope: Scope,
    expires_at: Option<DateTime<Utc>>,
    /// The last recorded use in seconds since 1970; 0 if none.
    used_at: AtomicI64,
}

/// The tokens cannot be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unavailable;

/// Maximum age of the tokens in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaxAge {
    /// [`MAX_AGE`].
    Short,
    /// The same; unlimited while the database does not answer.
    UnlimitedInOutage,
}

#[derive(Debug)]
pub(super) struct TokenCache {
    store: Store,
    clock: SharedClock,
    // Held while reading: other requests wait for the result.
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    tokens: HashMap<TokenHash, Arc<LiveToken>>,
    read_at: Option<DateTime<Utc>>,
    /// The last read, successful or not.
    tried_at: Option<DateTime<Utc>>,
    /// Number of reads, successful or not.
    reads: u64,
    /// Whether the last read failed: a token that is missing may be new.
    is_failing: bool,
}

impl TokenCache {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock, cached: Mutex::default() }
    }

    /// Returns the token with this hash, if it is live.
    pub(super) async fn find(
        &self,
        hash: TokenHash,
        max_age: MaxAge,
    ) -> Result<Option<Arc<LiveToken>>, Unavailable> {
        let mut cached = self.cached.lock().await;
        let is_missing = !cached.tokens.contains_key(&hash);
        let reads = cached.reads;
        self.refresh(&mut cached, is_missing, max_age).await?;
        if is_missing && cached.reads == reads {
            // The last read was for another request, and may be older than the token.
            drop(cached);
            tokio::time::sleep(READ_INTERVAL.to_std().unwrap_or_default()).await;
            cached = self.cached.lock().await;
            if cached.reads == reads {
                cached.tried_at = None;
                self.refresh(&mut cached, true, max_age).await?;
            }
        }
        let now = self.clock.now();
        let found = cached.tokens.get(&hash);
        if found.is_none() && cached.is_failing && max_age == MaxAge::Short {
            return Err(Unavailable);
        }
        let live = found.filter(|token| token.expires_at.is_none_or(|end| now < end));
        Ok(live.map(Arc::clone))
    }

    /// Returns the token with this id, if it is live.
    pub(super) async fn find_by_id(&self, id: Uuid) -> Result<Option<Arc<LiveToken>>, Unavailable> {
        let mut cached = self.cached.lock().await;
        let is_missing = !cached.tokens.values().any(|token| token.id == id);
        self.refresh(&mut cached, is_missing, MaxAge::Short).await?;
        let now = self.clock.now();
        // At most `MAX_LIVE_TOKENS`.
        let found = cached.tokens.values().find(|token| token.id == id);
        if found.is_none() && cached.is_failing {
            return Err(Unavailable);
        }
        Ok(found.filter(|token| token.expires_at.is_none_or(|end| now < end)).map(Arc::clone))
    }

    /// Whether there is no live token; `None` if the tokens cannot be read.
    pub(super) async fn is_empty(&self) -> Option<bool> {
        let mut cached = self.cached.lock().await;
        let is_missing = cached.tokens.is_empty();
        self.refresh(&mut cached, is_missing, MaxAge::Short).await.ok()?;
        Some(cached.tokens.is_empty())
    }

    /// Reads the tokens if they are too old, or if one is missing and [`READ_INTERVAL`] has passed since the last read.
    async fn refresh(
        &self,
        cached: &mut Cached,
        is_missing: bool,
        max_age: MaxAge,
    ) -> Result<(), Unavailable> {
        let now = self.clock.now();
        // After the clock was set back nothing is recent.
        let within = |at: Option<DateTime<Utc>>, time| at.is_some_and(|at| at <= now && now - at < time);
        let is_recent = within(cached.read_at, MAX_AGE);
        if !within(cached.tried_at, READ_INTERVAL) && (is_missing || !is_recent) {
            let tokens = self.read(now).await;
            // The end of the read: requests that waited for it must not query a hanging database one after the other.
            cached.tried_at = Some(self.clock.now());
            cached.reads += 1;
            cached.is_failing = tokens.is_none();
            if let Some(tokens) = tokens {
                cached.tokens = tokens;
                cached.read_at = Some(now);
                return Ok(());
            }
        }
        let is_usable = cached.read_at.is_some() && max_age == MaxAge::UnlimitedInOutage;
        if is_recent || is_usable { Ok(()) } else { Err(Unavailable) }
    }

    async fn read(&self, now: DateTime<Utc>) -> Option<HashMap<TokenHash, Arc<LiveToken>>> {
        let tokens = match tokio::time::timeout(READ_DEADLINE, self.store.live_tokens(now)).await {
            Ok(Ok(tokens)) => tokens,
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "tokens not read");
                return None;
            }
            Err(_) => {
                tracing::warn!(error = "the database does not answer", "tokens not read");
                return None;
            }
        };
        let live = tokens.into_iter().map(|(hash, token)| {
            let token = LiveToken {
                id: token.id,
                name: token.name,
                scope: token.scope,
                expires_at: token.expires_at,
                used_at: token.last_used_at.map_or(0, |at| at.timestamp()).into(),
            };
            (hash, Arc::new(token))
        });
        Some(live.collect())
    }

    /// Records the use of a token, once a minute. A failure does not affect the request.
    pub(super) async fn record_use(&self, token: &LiveToken) {
        let now = self.clock.now();
        let (before, secs) = (token.used_at.load(Ordering::Relaxed), now.timestamp());
        if secs - before < USE_SECS {
            return;
        }
        // Of concurrent requests one writes.
        let swapped = token.used_at.compare_exchange(before, secs, Ordering::Relaxed, Ordering::Relaxed);
        if swapped.is_err() {
            return;
        }
        let recorded = tokio::time::timeout(USE_DEADLINE, self.store.record_token_use(token.id, now)).await;
        if !matches!(recorded, Ok(Ok(()))) {
            tracing::debug!(token = token.name, "token use not recorded");
        }
    }
}
