//! Places on the pool for those who may not have all of it.
//!
//! The API and the stages of one process share a pool. Fifty requests that hang on somebody's lock would have every connection,
//! and no tick would begin: so the API has places, fewer than there are connections. A place is taken for one statement or
//! transaction, not for a request, so nobody who has one waits for another.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Result, Store};

/// Fewer than this would let one statement that hangs stop all others.
const LEAST: u32 = 2;

/// See the module; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Store {
    /// The same database, for those who must leave `reserved` connections to others. Who waits for a place waits no longer than
    /// for a connection, and in the order of coming.
    #[must_use]
    pub fn reserving(&self, reserved: u32) -> Self {
        let most = self.options.max_connections.saturating_sub(reserved).max(LEAST);
        Self { places: Some(Places(Arc::new(Semaphore::new(most as usize)))), ..self.clone() }
    }

    /// A place, where they are counted.
    ///
    /// # Errors
    /// All are taken, and stay so for as long as a connection may be waited for.
    pub(super) async fn place(&self) -> Result<Option<SemaphorePermit<'_>>> {
        let Some(Places(places)) = &self.places else {
            return Ok(None);
        };
        if let Ok(place) = places.try_acquire() {
            return Ok(Some(place));
        }
        // Rare, and every statement would carry the room for it.
        let waited = Box::pin(tokio::time::timeout(self.options.acquire_timeout, places.acquire()));
        match waited.await {
            Ok(Ok(place)) => Ok(Some(place)),
            _ => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }
}
