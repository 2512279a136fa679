//! The page's event stream: what changed, a few times a second, as server-sent events.
//!
//! A stream reads from the ledger what it has not sent yet, so a burst becomes a few large messages instead of
//! thousands of small ones, and a page that is slow to read costs no memory here.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::arrival::Arrival;
use super::ledger::{Batch, Cursor, Ledger, Totals};

/// The shortest time between two messages.
const GAP: Duration = Duration::from_millis(200);
/// The most arrivals in one message, the newest: as many as the page lists.
const ARRIVALS_A_MESSAGE: usize = 1000;

/// One message. Its event id is the cursor from which a stream resumes.
#[derive(Debug, Serialize)]
struct Message<'a> {
    reset: bool,
    keep: usize,
    totals: &'a Totals,
    arrivals: &'a [Arc<Arrival>],
}

/// `GET /events`. The first message comes at once; with `Last-Event-ID`, it holds only what came after.
pub(super) async fn events(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>> + use<>> {
    let cursor = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let mut gap = tokio::time::interval(GAP);
    gap.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = shared.ledger.changes();
    changes.mark_changed();
    let follower = Follower { ledger: shared.ledger, cursor, changes, gap, stop: shared.stop };
    let stream = futures_util::stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((event, follower))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// Where one open page is.
#[derive(Debug)]
struct Follower {
    ledger: Arc<Ledger>,
    cursor: Option<Cursor>,
    changes: watch::Receiver<()>,
    gap: Interval,
    stop: CancellationToken,
}

impl Follower {
    /// The next message, or none once the inbox stops: an open page must not hold it up.
    async fn next(&mut self) -> Option<Result<Event, axum::Error>> {
        let stop = self.stop.clone();
        let batch = stop.run_until_cancelled(self.changed()).await??;
        let message = Message {
            reset: batch.reset,
            keep: self.ledger.keep(),
            totals: &batch.totals,
            arrivals: &batch.arrivals,
        };
        Some(Event::default().id(batch.cursor.to_string()).json_data(message))
    }

    async fn changed(&mut self) -> Option<Batch> {
        self.changes.changed().await.ok()?;
        self.gap.tick().await;
        self.changes.mark_unchanged();
        let batch = self.ledger.since(self.cursor, ARRIVALS_A_MESSAGE);
        self.cursor = Some(batch.cursor);
        Some(batch)
    }
}
