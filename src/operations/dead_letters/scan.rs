//! Scans the dead-scanned queue, and looks up the event of each message.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use super::{DeadLetters, Result};
use crate::model::EventState;
use crate::pipeline::queue::{DeadMessage, Receipt, decode};
use crate::store::DeadLetterEvent;

/// Time for which a message that was read is hidden from readers.
const HIDDEN: Duration = Duration::from_mins(2);
/// Maximum duration of a scan that keeps messages: it must end before the first of them is visible again.
const MAX_SCAN: Duration = Duration::from_secs(105);
/// Messages per read.
const READ_SIZE: u64 = 500;
/// Messages released at the end of a scan. Others become visible after [`HIDDEN`].
const MAX_RECEIPTS: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// At least one event of the message is dead.
    Dead,
    /// None of its events is dead: redriven, delivered, or in a pack that no worker leased.
    Stale,
    /// No event has its id.
    Unknown,
    /// Not a message of bday.
    Unreadable,
}

/// A message of the dead-scanned queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedMessage {
    pub message: DeadMessage,
    /// The dead event; otherwise the first event of the pack.
    pub event_id: Option<Uuid>,
    pub event: Option<DeadLetterEvent>,
    pub status: MessageStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Keep,
    Delete,
    /// Deletes the message and ends the scan.
    DeleteAndStop,
    /// Keeps the message and ends the scan.
    KeepAndStop,
}

/// A scan in progress, and its result.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Messages deleted, or to be deleted in a dry run.
    pub(super) deleted: u64,
    pub(super) kept: u64,
    /// Whether the whole queue was scanned.
    pub(super) complete: bool,
    first_kept_at: Option<Instant>,
    last_read: Option<DeadMessage>,
    /// Of messages to release.
    receipts: Vec<Receipt>,
    stopped: bool,
}

impl DeadLetters {
    /// Returns the messages without a dead event among the first `limit`, and the number of messages read.
    pub async fn strays(&self, limit: u64) -> Result<(Vec<ScannedMessage>, u64)> {
        let mut strays = Vec::new();
        let collect = |scanned: &ScannedMessage| {
            if scanned.status != MessageStatus::Dead {
                strays.push(scanned.clone());
            }
            Action::Keep
        };
        let scan = self.scan(limit, true, collect).await?;
        Ok((strays, scan.kept))
    }

    /// Returns the message with this id, if it is among the first `limit`.
    pub async fn message(&self, id: &str, limit: u64) -> Result<Option<ScannedMessage>> {
        let mut found = None;
        let compare = |scanned: &ScannedMessage| {
            if scanned.message.id != id {
                return Action::Keep;
            }
            found = Some(scanned.clone());
            Action::KeepAndStop
        };
        self.scan(limit, true, compare).await?;
        Ok(found)
    }

    /// Reads up to `limit` messages, and does with each what `decide` returns. A dry run deletes nothing.
    pub(super) async fn scan(
        &self,
        limit: u64,
        dry_run: bool,
        mut decide: impl FnMut(&ScannedMessage) -> Action + Send,
    ) -> Result<Scan> {
        let mut scan = Scan::default();
        loop {
            let room = limit.saturating_sub(scan.deleted + scan.kept);
            let now = self.clock.monotonic();
            let in_time = scan.first_kept_at.is_none_or(|at| now.duration_since(at) < MAX_SCAN);
            if room == 0 || scan.stopped || !in_time {
                break;
            }
            let messages = self.read(scan.last_read.as_ref(), room.min(READ_SIZE) as usize).await?;
            scan.complete = messages.is_empty();
            if scan.complete {
                break;
            }
            let (mut to_delete, mut to_keep) = scan.sort(messages, &mut decide);
            scan.kept += to_keep.len() as u64;
            if dry_run {
                scan.deleted += to_delete.len() as u64;
                to_keep.append(&mut to_delete);
            } else if !to_delete.is_empty() {
                scan.deleted += self.queue.delete_dead_letters(&to_delete).await?;
            }
            scan.hold(to_keep, now);
        }
        if !scan.receipts.is_empty()
            && let Err(error) = self.queue.release_dead_letters(&scan.receipts).await
        {
            tracing::debug!(%error, "dead letters not released");
        }
        Ok(scan)
    }

    async fn read(&self, after: Option<&DeadMessage>, max: usize) -> Result<Vec<ScannedMessage>> {
        let messages = self.queue.dead_letters(after, max, HIDDEN).await?;
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let ids_of =
            |message: &DeadMessage| decode(&message.body).map(|read| read.event_ids).unwrap_or_default();
        let event_ids: Vec<Vec<Uuid>> = messages.iter().map(ids_of).collect();
        let events = self.store.dead_letter_events(&event_ids.concat()).await?;
        let events: HashMap<Uuid, DeadLetterEvent> =
            events.into_iter().map(|event| (event.id, event)).collect();
        let pairs = messages.into_iter().zip(event_ids);
        Ok(pairs.map(|(message, ids)| ScannedMessage::new(message, &ids, &events)).collect())
    }
}

impl Scan {
    /// Splits messages into those to delete and those to keep.
    fn sort(
        &mut self,
        messages: Vec<ScannedMessage>,
        mut decide: impl FnMut(&ScannedMessage) -> Action,
    ) -> (Vec<Receipt>, Vec<Receipt>) {
        let (mut to_delete, mut to_keep) = (Vec::new(), Vec::new());
        self.last_read = messages.last().map(|scanned| scanned.message.clone());
        for scanned in messages {
            let action = decide(&scanned);
            self.stopped |= matches!(action, Action::DeleteAndStop | Action::KeepAndStop);
            match action {
                Action::Delete | Action::DeleteAndStop => to_delete.push(scanned.message.receipt),
                Action::Keep | Action::KeepAndStop => to_keep.push(scanned.message.receipt),
            }
        }
        (to_delete, to_keep)
    }

    /// Holds messages that stay in the queue, to release them at the end.
    fn hold(&mut self, mut receipts: Vec<Receipt>, read_at: Instant) {
        if !receipts.is_empty() {
            self.first_kept_at.get_or_insert(read_at);
        }
        receipts.truncate(MAX_RECEIPTS - self.receipts.len());
        self.receipts.append(&mut receipts);
    }
}

impl ScannedMessage {
    fn new(message: DeadMessage, ids: &[Uuid], events: &HashMap<Uuid, DeadLetterEvent>) -> Self {
        let known: Vec<&DeadLetterEvent> = ids.iter().filter_map(|id| events.get(id)).collect();
        let dead = known.iter().find(|event| event.state == EventState::Dead);
        let status = match (dead, known.first(), ids.first()) {
            (Some(_), ..) => MessageStatus::Dead,
            (None, Some(_), _) => MessageStatus::Stale,
            (None, None, Some(_)) => MessageStatus::Unknown,
            (None, None, None) => MessageStatus::Unreadable,
        };
        let event = dead.or(known.first()).map(|event| (*event).clone());
        let event_id = event.as_ref().map(|event| event.id).or(ids.first().copied());
        Self { message, event_id, event, status }
    }
}
