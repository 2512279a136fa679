//! The messages of the dead-letter queue, one after the other, each beside the event that it is for.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::{DeadLetters, Result};
use crate::model::EventState;
use crate::pipeline::queue::{DeadLetter, Receipt, decode};
use crate::store::Letter;

/// For how long a message that was looked at is hidden from other looks: a pass must come to its end before it sees one
/// twice.
const HIDDEN: Duration = Duration::from_mins(2);
/// A pass that keeps messages ends before the first of them shows again.
const LONGEST_PASS: Duration = Duration::from_secs(105);
/// Messages per look.
const LOOK: u64 = 500;
/// So many receipts are kept, to let the messages be seen again at the end; the others show when their time is over.
const RECEIPTS: usize = 10_000;

/// What a message in the dead-letter queue stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A dead event, or one that the sweeper is about to find dead.
    Dead,
    /// An event that is not dead: it was redriven, cancelled, or delivered by another copy of the message.
    Overtaken,
    /// An event that nobody knows.
    Unknown,
    /// Nothing: it is none of ours.
    Unreadable,
}

/// A message of the dead-letter queue, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The message.
    pub letter: DeadLetter,
    /// The event that it names.
    pub event_id: Option<Uuid>,
    /// That event, if there is one.
    pub event: Option<Letter>,
    /// What it stands for.
    pub standing: Standing,
}

/// What a pass over the dead-letter queue did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Messages deleted; in a dry run, that would be.
    pub deleted: u64,
    /// Messages looked at and kept.
    pub kept: u64,
    /// Whether it saw the end of the queue.
    pub complete: bool,
}

/// What to do after a look at one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Keep,
    Delete,
    /// And look no further.
    DeleteLast,
    KeepLast,
}

impl DeadLetters {
    /// Messages that stand for no dead event, among the first `most`; and how many were looked at. Nothing is deleted. In
    /// SQS each look counts as a receive, of which nothing follows in a dead-letter queue.
    ///
    /// # Errors
    /// The database or the queue refuses or is away.
    pub async fn strays(&self, most: u64) -> Result<(Vec<Seen>, u64)> {
        let mut strays = Vec::new();
        let look = |seen: &Seen| {
            if seen.standing != Standing::Dead {
                strays.push(seen.clone());
            }
            Next::Keep
        };
        let swept = self.pass(most, true, look).await?;
        Ok((strays, swept.kept))
    }

    /// The message that the queue calls `id`, if it is among the first `most`.
    ///
    /// # Errors
    /// The database or the queue refuses or is away.
    pub async fn message(&self, id: &str, most: u64) -> Result<Option<Seen>> {
        let mut found = None;
        let look = |seen: &Seen| {
            if seen.letter.id == id {
                found = Some(seen.clone());
                return Next::KeepLast;
            }
            Next::Keep
        };
        self.pass(most, true, look).await?;
        Ok(found)
    }

    /// Looks at the messages, up to `most`, and does with each what `decide` says; in a dry run nothing is deleted. What is
    /// kept can be seen by others again at the end.
    pub(super) async fn pass(
        &self,
        most: u64,
        dry_run: bool,
        mut decide: impl FnMut(&Seen) -> Next + Send,
    ) -> Result<Swept> {
        let mut swept = Swept::default();
        let mut receipts = Vec::new();
        let mut first_kept = None;
        let mut last = false;
        while !last {
            let room = most.saturating_sub(swept.deleted + swept.kept);
            let in_time =
                first_kept.is_none_or(|since| self.clock.monotonic().duration_since(since) < LONGEST_PASS);
            if room == 0 || !in_time {
                break;
            }
            let before = self.clock.monotonic();
            let found = self.look(room.min(LOOK) as usize).await?;
            swept.complete = found.is_empty();
            if swept.complete {
                break;
            }
            let (mut doomed, mut kept) = (Vec::new(), Vec::new());
            for seen in found {
                let next = decide(&seen);
                last |= matches!(next, Next::DeleteLast | Next::KeepLast);
                match next {
                    Next::Delete | Next::DeleteLast => doomed.push(seen.letter.receipt),
                    Next::Keep | Next::KeepLast => kept.push(seen.letter.receipt),
                }
            }
            swept.kept += kept.len() as u64;
            if dry_run {
                swept.deleted += doomed.len() as u64;
                kept.append(&mut doomed);
            } else if !doomed.is_empty() {
                swept.deleted += self.queue.delete_dead_letters(&doomed).await?;
            }
            if !kept.is_empty() {
                first_kept = first_kept.or(Some(before));
            }
            kept.truncate(RECEIPTS - receipts.len());
            receipts.append(&mut kept);
        }
        self.release(&receipts).await;
        Ok(swept)
    }

    async fn release(&self, receipts: &[Receipt]) {
        if receipts.is_empty() {
            return;
        }
        if let Err(error) = self.queue.release_dead_letters(receipts).await {
            tracing::debug!(%error, "dead letters show again when their time is over");
        }
    }

    async fn look(&self, max: usize) -> Result<Vec<Seen>> {
        let letters = self.queue.dead_letters(max, HIDDEN).await?;
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        let named: Vec<Option<Uuid>> = letters.iter().map(|letter| decode(&letter.body).ok()).collect();
        let ids: Vec<Uuid> = named.iter().flatten().copied().collect();
        let events = self.store.letters(&ids, self.max_receives).await?;
        let events: HashMap<Uuid, Letter> = events.into_iter().map(|event| (event.id, event)).collect();
        let seen = |(letter, event_id): (DeadLetter, Option<Uuid>)| {
            let event = event_id.and_then(|id| events.get(&id).cloned());
            let standing = match (&event, event_id) {
                (Some(event), _) if event.state == EventState::Dead || event.dying => Standing::Dead,
                (Some(_), _) => Standing::Overtaken,
                (None, Some(_)) => Standing::Unknown,
                (None, None) => Standing::Unreadable,
            };
            Seen {
                letter,
                event_id,
                event,
                standing,
            }
        };
        Ok(letters.into_iter().zip(named).map(seen).collect())
    }
}
