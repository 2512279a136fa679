//! The messages of the dead-letter queue, each beside the event that it is for.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::{DeadLetters, Result};
use crate::model::EventState;
use crate::pipeline::queue::{DeadMessage, Receipt, decode};
use crate::store::DeadLetterEvent;

/// How long a message that was read is hidden from other readers: a pass must end before it reads one twice.
const HIDDEN: Duration = Duration::from_mins(2);
/// A pass that keeps messages ends before the first of them is visible again.
const LONGEST_PASS: Duration = Duration::from_secs(105);
/// Messages per read.
const READ: u64 = 500;
/// As many receipts are kept to release the messages at the end; the others become visible by themselves.
const RECEIPTS: usize = 10_000;

/// What a message in the dead-letter queue stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A dead event.
    Dead,
    /// Events that are not dead: redriven, delivered, or in a pack that no worker could take.
    Overtaken,
    /// An unknown event.
    Unknown,
    /// Nothing: it is not a message of bday.
    Unreadable,
}

/// A message of the dead-letter queue, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The message.
    pub message: DeadMessage,
    /// The event that it names; of a pack the first.
    pub event_id: Option<Uuid>,
    /// That event, if there is one.
    pub event: Option<DeadLetterEvent>,
    /// What it stands for.
    pub standing: Standing,
}

/// What a pass over the dead-letter queue did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Messages deleted; in a dry run, that would be.
    pub deleted: u64,
    /// Messages looked at and kept.
    pub kept: u64,
    /// Whether it reached the end of the queue.
    pub complete: bool,
}

/// What to do with a message that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Keep,
    Delete,
    /// And read no further.
    DeleteLast,
    KeepLast,
}

impl DeadLetters {
    /// Messages that stand for no dead event, among the first `most`; and how many were read. Nothing is deleted.
    pub async fn strays(&self, most: u64) -> Result<(Vec<Seen>, u64)> {
        let mut strays = Vec::new();
        let look = |seen: &Seen| {
            if seen.standing != Standing::Dead {
                strays.push(seen.clone());
            }
            Next::Keep
        };
        let passed = self.pass(most, true, look).await?;
        Ok((strays, passed.kept))
    }

    /// The message that the queue calls `id`, if it is among the first `most`.
    pub async fn message(&self, id: &str, most: u64) -> Result<Option<Seen>> {
        let mut found = None;
        let look = |seen: &Seen| {
            if seen.message.id == id {
                found = Some(seen.clone());
                return Next::KeepLast;
            }
            Next::Keep
        };
        self.pass(most, true, look).await?;
        Ok(found)
    }

    /// Reads the messages, up to `most`, and does with each what `decide` says; in a dry run nothing is deleted.
    pub(super) async fn pass(
        &self,
        most: u64,
        dry_run: bool,
        mut decide: impl FnMut(&Seen) -> Next + Send,
    ) -> Result<Passed> {
        let mut passed = Passed::default();
        let (mut first_kept, mut last_read, mut last) = (None, None, false);
        let mut receipts = Vec::new();
        while !last {
            let room = most.saturating_sub(passed.deleted + passed.kept);
            let before = self.clock.monotonic();
            let in_time = first_kept.is_none_or(|since| before.duration_since(since) < LONGEST_PASS);
            if room == 0 || !in_time {
                break;
            }
            let found = self.read(last_read.as_ref(), room.min(READ) as usize).await?;
            passed.complete = found.is_empty();
            let Some(newest) = found.last() else { break };
            last_read = Some(newest.message.clone());
            let (mut deleted, mut kept) = (Vec::new(), Vec::new());
            for seen in found {
                let next = decide(&seen);
                last |= matches!(next, Next::DeleteLast | Next::KeepLast);
                match next {
                    Next::Delete | Next::DeleteLast => deleted.push(seen.message.receipt),
                    Next::Keep | Next::KeepLast => kept.push(seen.message.receipt),
                }
            }
            passed.kept += kept.len() as u64;
            if dry_run {
                passed.deleted += deleted.len() as u64;
                kept.append(&mut deleted);
            } else if !deleted.is_empty() {
                passed.deleted += self.queue.delete_dead_letters(&deleted).await?;
            }
            if !kept.is_empty() {
                first_kept = first_kept.or(Some(before));
            }
            kept.truncate(RECEIPTS - receipts.len());
            receipts.append(&mut kept);
        }
        self.release(&receipts).await;
        Ok(passed)
    }

    async fn release(&self, receipts: &[Receipt]) {
        if receipts.is_empty() {
            return;
        }
        if let Err(error) = self.queue.release_dead_letters(receipts).await {
            tracing::debug!(%error, "dead letters not released");
        }
    }

    async fn read(&self, after: Option<&DeadMessage>, max: usize) -> Result<Vec<Seen>> {
        let messages = self.queue.dead_letters(after, max, HIDDEN).await?;
        let named: Vec<Vec<Uuid>> = messages
            .iter()
            .map(|message| decode(&message.body).map_or_else(|_| Vec::new(), |read| read.event_ids))
            .collect();
        let ids: Vec<Uuid> = named.iter().flatten().copied().collect();
        if ids.is_empty() && messages.is_empty() {
            return Ok(Vec::new());
        }
        let events = self.store.dead_letter_events(&ids).await?;
        let events: HashMap<Uuid, DeadLetterEvent> =
            events.into_iter().map(|event| (event.id, event)).collect();
        Ok(messages.into_iter().zip(named).map(|(message, ids)| see(message, &ids, &events)).collect())
    }
}

fn see(message: DeadMessage, ids: &[Uuid], events: &HashMap<Uuid, DeadLetterEvent>) -> Seen {
    let known: Vec<&DeadLetterEvent> = ids.iter().filter_map(|id| events.get(id)).collect();
    let dead = known.iter().find(|event| event.state == EventState::Dead);
    let standing = match (dead, known.first(), ids.first()) {
        (Some(_), ..) => Standing::Dead,
        (None, Some(_), _) => Standing::Overtaken,
        (None, None, Some(_)) => Standing::Unknown,
        (None, None, None) => Standing::Unreadable,
    };
    let event = dead.or(known.first()).map(|event| (*event).clone());
    Seen { event_id: event.as_ref().map(|event| event.id).or(ids.first().copied()), message, event, standing }
}
