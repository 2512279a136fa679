//! The page's event stream: changes of the log, a few times a second, as server-sent events.
//!
//! A stream reads from the log what it has not sent yet: a burst becomes a few large messages, and a slow page costs no
//! memory here.

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::MissedTickBehavior;

use super::InboxState;
use super::log::Cursor;

const MIN_INTERVAL: Duration = Duration::from_millis(200);
/// As many as the page lists.
const MAX_REQUESTS_PER_MESSAGE: usize = 1000;

/// `GET /events`. The first message is sent at once; with `Last-Event-ID` it holds only the changes since that cursor.
pub(super) async fn events(
    State(inbox): State<InboxState>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>> + use<>> {
    let resume_from = headers.get("last-event-id").and_then(|id| Cursor::parse(id.to_str().ok()?));
    let mut interval = tokio::time::interval(MIN_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = inbox.log.changes();
    changes.mark_changed();
    let first = (inbox.log, resume_from, changes, interval);
    let messages = stream::unfold(first, |(log, cursor, mut changes, mut interval)| async move {
        changes.changed().await.ok()?;
        interval.tick().await;
        changes.mark_unchanged();
        let update = log.since(cursor, MAX_REQUESTS_PER_MESSAGE);
        let message = Event::default().id(update.cursor.to_string()).json_data(&update);
        Some((message, (log, Some(update.cursor), changes, interval)))
    });
    // An open page does not delay a stop.
    Sse::new(messages.take_until(inbox.stop.cancelled_owned())).keep_alive(KeepAlive::default())
}
