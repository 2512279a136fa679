//! Slots for requests, and the choice of the connection to close when too many are open.
//!
//! A request takes one of a bounded number of slots, from the end of its head to the end of its response. Health requests take none. A
//! connection without a slot is idle: when connections run out, the one idle longest is closed. So neither idle connections nor slow
//! requests delay a health request.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct ConnectionSlots {
    requests: Arc<Semaphore>,
    idle: Mutex<IdleConnections>,
}

/// Idle connections by the order in which they became idle, counted from 1.
#[derive(Debug, Default)]
struct IdleConnections {
    last: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl ConnectionSlots {
    pub(super) fn new(requests: usize) -> Arc<Self> {
        Arc::new(Self { requests: Arc::new(Semaphore::new(requests)), idle: Mutex::default() })
    }

    /// Registers a connection as idle.
    pub(super) fn connection(self: &Arc<Self>) -> Arc<Connection> {
        let connection = Connection {
            slots: Arc::clone(self),
            closed: CancellationToken::new(),
            idle_since: AtomicU64::new(BUSY),
        };
        connection.set_idle();
        Arc::new(connection)
    }

    pub(super) fn close_longest_idle(&self) {
        if let Some((_, closed)) = self.idle().connections.pop_first() {
            closed.cancel();
        }
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`Connection::idle_since`] of a connection with a request.
const BUSY: u64 = 0;

#[derive(Debug)]
pub(super) struct Connection {
    slots: Arc<ConnectionSlots>,
    closed: CancellationToken,
    idle_since: AtomicU64,
}

impl Connection {
    /// Waits until this connection must be closed.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Takes a slot for a request; `None` if all are taken.
    pub(super) fn take_slot(self: &Arc<Self>) -> Option<RequestSlot> {
        let permit = Arc::clone(&self.slots.requests).try_acquire_owned().ok()?;
        self.set_busy();
        Some(RequestSlot { connection: Arc::clone(self), _permit: permit })
    }

    fn set_idle(&self) {
        let mut idle = self.slots.idle();
        idle.last += 1;
        let now = idle.last;
        idle.connections.insert(now, self.closed.clone());
        self.idle_since.store(now, Ordering::Relaxed);
    }

    fn set_busy(&self) {
        let mut idle = self.slots.idle();
        idle.connections.remove(&self.idle_since.swap(BUSY, Ordering::Relaxed));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.set_busy();
    }
}

/// The slot of a request. When it is dropped, its connection is idle again.
#[derive(Debug)]
pub(super) struct RequestSlot {
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl RequestSlot {
    /// Holds the slot until the end of `body`.
    pub(super) fn hold(self, body: Body) -> Body {
        Body::new(BodyWithSlot { body, _slot: self })
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        self.connection.set_idle();
    }
}

#[derive(Debug)]
struct BodyWithSlot {
    body: Body,
    _slot: RequestSlot,
}

impl HttpBody for BodyWithSlot {
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
    fn the_connection_idle_longest_is_closed_and_one_with_a_request_never_is() {
        let slots = ConnectionSlots::new(1);
        let [first, second, third] = [(); 3].map(|()| slots.connection());
        let slot = first.take_slot().expect("a slot");
        assert!(second.take_slot().is_none(), "there is one slot");
        slots.close_longest_idle();
        assert!(is_closed(&second) && !is_closed(&first) && !is_closed(&third));
        drop(slot);
        slots.close_longest_idle();
        assert!(is_closed(&third) && !is_closed(&first), "idle later");
        slots.close_longest_idle();
        assert!(is_closed(&first));
        slots.close_longest_idle();
    }

    #[test]
    fn a_connection_that_ends_is_removed() {
        let slots = ConnectionSlots::new(1);
        let connection = slots.connection();
        let slot = connection.take_slot();
        drop(connection);
        assert!(slots.idle().connections.is_empty());
        drop(slot);
        assert!(slots.idle().connections.is_empty());
        assert!(slots.connection().take_slot().is_some());
    }
}
