//! Places for requests, and which connections give way when too many are open.
//!
//! A request takes one of a bounded number of places from the end of its head to the end of its answer. Health requests take
//! none. A connection without a place is idle: when connections run out, the one idle longest is closed. So neither idle
//! connections nor slow requests keep a health request waiting.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    requests: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

/// Idle connections by the order in which they became idle.
#[derive(Debug, Default)]
struct Idle {
    last: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl Places {
    pub(super) fn new(requests: usize) -> Arc<Self> {
        Arc::new(Self { requests: Arc::new(Semaphore::new(requests)), idle: Mutex::default() })
    }

    /// Registers a connection, idle at first.
    pub(super) fn connection(self: &Arc<Self>) -> Arc<Connection> {
        let connection = Connection {
            places: Arc::clone(self),
            closed: CancellationToken::new(),
            idle_since: AtomicU64::new(BUSY),
        };
        connection.rest();
        Arc::new(connection)
    }

    /// Closes the connection that has been idle longest.
    pub(super) fn close_longest_idle(&self) {
        if let Some((_, closed)) = self.idle().connections.pop_first() {
            closed.cancel();
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No idle connection has this number.
const BUSY: u64 = 0;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    places: Arc<Places>,
    closed: CancellationToken,
    idle_since: AtomicU64,
}

impl Connection {
    /// Waits until this connection has to give way.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Takes a place for a request; none if all are taken.
    pub(super) fn take_place(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.places.requests).try_acquire_owned().ok()?;
        self.wake();
        Some(Place { connection: Arc::clone(self), _permit: permit })
    }

    fn rest(&self) {
        let mut idle = self.places.idle();
        idle.last += 1;
        let now = idle.last;
        idle.connections.insert(now, self.closed.clone());
        self.idle_since.store(now, Ordering::Relaxed);
    }

    fn wake(&self) {
        let mut idle = self.places.idle();
        idle.connections.remove(&self.idle_since.swap(BUSY, Ordering::Relaxed));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.wake();
    }
}

/// A request's place. Its connection is idle again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Keeps the place until the end of `body`.
    pub(super) fn hold(self, body: Body) -> Body {
        Body::new(Held { body, _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.rest();
    }
}

/// The body of an answer, with the place of its request.
#[derive(Debug)]
struct Held {
    body: Body,
    _place: Place,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_closed(connection: &Connection) -> bool {
        connection.closed.is_cancelled()
    }

    #[test]
    fn the_connection_idle_longest_gives_way_and_one_with_a_request_never_does() {
        let places = Places::new(1);
        let [first, second, third] = [(); 3].map(|()| places.connection());
        let place = first.take_place().expect("a place");
        assert!(second.take_place().is_none(), "there is one place");
        places.close_longest_idle();
        assert!(is_closed(&second) && !is_closed(&first) && !is_closed(&third));
        drop(place);
        places.close_longest_idle();
        assert!(is_closed(&third) && !is_closed(&first), "idle later");
        places.close_longest_idle();
        assert!(is_closed(&first));
        places.close_longest_idle();
    }

    #[test]
    fn a_connection_that_ends_is_forgotten() {
        let places = Places::new(1);
        let connection = places.connection();
        let place = connection.take_place();
        drop(connection);
        assert!(places.idle().connections.is_empty());
        drop(place);
        assert!(places.idle().connections.is_empty());
        assert!(places.connection().take_place().is_some());
    }
}
