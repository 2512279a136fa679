//! The live tokens, in memory: they are few, and reading them anew every few seconds costs less than a query a request.
//!
//! A token is found by its hash in a table whose own hashing is seeded at random. What the time of that tells is about
//! the hash of what was presented, and nobody can steer that towards the hash of a token: so there is nothing to compare in
//! constant time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::model::{Scope, TokenHash};
use crate::store::Store;
use crate::store::chain;

/// A revoked token ends within this time.
const LIFE: TimeDelta = TimeDelta::seconds(5);
/// For a token that is not known the tokens are read again, since it may be new; but no more often than this, however many
/// come with invented ones: they wait, and share the next look. The same where the database did not answer.
const RETRY: TimeDelta = TimeDelta::milliseconds(250);
const DEADLINE: Duration = Duration::from_secs(2);
const USE_DEADLINE: Duration = Duration::from_secs(1);
/// How exact the time of the last use is.
const USE_SECS: i64 = 60;

/// A live token.
#[derive(Debug)]
pub(in crate::http) struct Known {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) scope: Scope,
    expires_at: Option<DateTime<Utc>>,
    /// When it was noted that it was used, in seconds since 1970; 0 if never.
    used_at: AtomicI64,
}

/// The database did not say which tokens there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unavailable;

/// How old what is known may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// [`LIFE`].
    Recent,
    /// The same, or older while the database does not answer.
    LastKnown,
}

#[derive(Debug)]
pub(super) struct Tokens {
    store: Store,
    clock: SharedClock,
    // One reads, the others wait for it.
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    known: HashMap<TokenHash, Arc<Known>>,
    /// When they were read.
    read_at: Option<DateTime<Utc>>,
    /// When the database was asked last, be it in vain.
    asked_at: Option<DateTime<Utc>>,
    /// How often it was asked.
    looks: u64,
}

impl Tokens {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock, latest: Mutex::default() }
    }

    /// The token with this hash, if it is live.
    pub(super) async fn find(
        &self,
        hash: TokenHash,
        freshness: Freshness,
    ) -> Result<Option<Arc<Known>>, Unavailable> {
        let mut latest = self.latest.lock().await;
        let missing = !latest.known.contains_key(&hash);
        let looks = latest.looks;
        self.refresh(&mut latest, missing, freshness).await?;
        if missing && latest.looks == looks {
            // The last look was for somebody else, a moment ago: a token that was made since would be refused.
            drop(latest);
            tokio::time::sleep(RETRY.to_std().unwrap_or_default()).await;
            latest = self.latest.lock().await;
            if latest.looks == looks {
                latest.asked_at = None;
                self.refresh(&mut latest, true, freshness).await?;
            }
        }
        let now = self.clock.now();
        let found = latest.known.get(&hash);
        let live = found.filter(|known| known.expires_at.is_none_or(|end| now < end));
        Ok(live.map(Arc::clone))
    }

    /// Whether there is no live token at all; none if the database does not say.
    pub(super) async fn none(&self) -> Option<bool> {
        let mut latest = self.latest.lock().await;
        let missing = latest.known.is_empty();
        self.refresh(&mut latest, missing, Freshness::Recent).await.ok()?;
        Some(latest.known.is_empty())
    }

    /// Reads the tokens again if they are too old, or if one is `missing` and was not looked for just now.
    async fn refresh(
        &self,
        latest: &mut Latest,
        missing: bool,
        freshness: Freshness,
    ) -> Result<(), Unavailable> {
        let now = self.clock.now();
        // A clock that was set back makes nothing recent.
        let within = |at: Option<DateTime<Utc>>, time| at.is_some_and(|at| at <= now && now - at < time);
        let recent = within(latest.read_at, LIFE);
        if !within(latest.asked_at, RETRY) && (missing || !recent) {
            let read = tokio::time::timeout(DEADLINE, self.store.live_tokens(now)).await;
            // From its end: those who waited for it must not ask a database that hangs one after the other.
            latest.asked_at = Some(self.clock.now());
            latest.looks += 1;
            match read {
                Ok(Ok(tokens)) => {
                    latest.known = tokens
                        .into_iter()
                        .map(|(hash, token)| {
                            let used_at = token.last_used_at.map_or(0, |at| at.timestamp());
                            let known = Known {
                                id: token.id,
                                name: token.name,
                                scope: token.scope,
                                expires_at: token.expires_at,
                                used_at: used_at.into(),
                            };
                            (hash, Arc::new(known))
                        })
                        .collect();
                    latest.read_at = Some(now);
                    return Ok(());
                }
                Ok(Err(error)) => tracing::warn!(error = chain(&error), "cannot read the tokens of the API"),
                Err(_) => tracing::warn!("cannot read the tokens of the API: the database does not answer"),
            }
        }
        let known = latest.read_at.is_some() && freshness == Freshness::LastKnown;
        if recent || known { Ok(()) } else { Err(Unavailable) }
    }

    /// Notes that a token was used, once a minute. That it fails is no reason to refuse anything.
    pub(super) async fn note_use(&self, known: &Known) {
        let now = self.clock.now();
        let (before, secs) = (known.used_at.load(Ordering::Relaxed), now.timestamp());
        if secs - before < USE_SECS {
            return;
        }
        // Of many at once one writes.
        let swapped = known.used_at.compare_exchange(before, secs, Ordering::Relaxed, Ordering::Relaxed);
        if swapped.is_err() {
            return;
        }
        let noted = tokio::time::timeout(USE_DEADLINE, self.store.record_token_use(known.id, now)).await;
        if !matches!(noted, Ok(Ok(()))) {
            tracing::debug!(token = known.name, "could not note that a token was used");
        }
    }
}
