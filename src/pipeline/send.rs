//! Send: packs go from the outbox to the queue, and dead events to the dead-letter queue. A scheduler takes a row for a bounded time
//! and does not lock it; after a crash any scheduler takes it again when that time has passed.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::counter;

use super::queue::{DeadLetter, Pack};
use super::scheduler::{Pass, Result, Scheduler, Tick};
use super::trace::{Span, SpanKind, child_of};
use crate::clock::MAX_SKEW;
use crate::model::SpanContext;
use crate::store::chain;

/// How long a taken row is hidden from other schedulers: longer than the deadline of a call to the queue.
const TAKE_TIMEOUT: Duration = Duration::from_secs(15);
const BATCH_LIMIT: usize = 80;
const MAX_BATCHES: usize = 25;

impl Scheduler {
    pub(super) fn pack_available_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        if self.queue.is_outbox() {
            // Available at once, also to workers whose clock is behind.
            now - MAX_SKEW
        } else {
            self.clock.now() + TAKE_TIMEOUT
        }
    }

    /// Sends packs that this process has taken; returns whether the queue confirmed all. Rejected packs are available again at once.
    pub(super) async fn send(&self, pass: Pass, packs: &[Pack], tick: &mut Tick) -> Result<bool> {
        if packs.is_empty() {
            return Ok(true);
        }
        let began_at = self.clock.now();
        let result = self.send_packs(packs, tick).await;
        if let Some(parent) = pass.span {
            self.trace_send(parent, began_at, packs, &result);
        }
        result
    }

    async fn send_packs(&self, packs: &[Pack], tick: &mut Tick) -> Result<bool> {
        let result = self.queue.send(packs).await;
        if self.queue.is_outbox() {
            result?;
            tick.enqueued += Pack::count_events(packs);
            return Ok(true);
        }
        let (ids, error) = match result {
            Ok(ids) => (ids, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if !ids.is_empty() {
            self.store.confirm_packs(self.clock.now(), &ids).await?;
        }
        let confirmed: HashSet<i64> = ids.into_iter().collect();
        let (sent, rejected): (Vec<&Pack>, Vec<&Pack>) =
            packs.iter().partition(|pack| confirmed.contains(&pack.id));
        let failed = Pack::count_events(rejected.iter().copied());
        if !rejected.is_empty() {
            counter!("bday_send_failed_total").increment(failed);
            let ids: Vec<i64> = rejected.iter().map(|pack| pack.id).collect();
            self.store.release_packs(self.clock.now(), &ids).await?;
        }
        if let Some(error) = error {
            return Err(error.into());
        }
        tick.enqueued += Pack::count_events(sent);
        tick.failed += failed;
        Ok(rejected.is_empty())
    }

    fn trace_send(
        &self,
        parent: SpanContext,
        began_at: DateTime<Utc>,
        packs: &[Pack],
        result: &Result<bool>,
    ) {
        let events = Pack::count_events(packs);
        let mut links: Vec<SpanContext> = packs.iter().filter_map(Pack::claim).collect();
        links.dedup();
        let error = match result {
            Ok(true) => None,
            Ok(false) => Some("the queue did not confirm all packs".to_owned()),
            Err(error) => Some(chain(error)),
        };
        let times = (began_at, self.clock.now());
        self.options.tracer.end(Span {
            parent: Some(parent),
            attributes: vec![("bday.packs", packs.len().into()), ("bday.events", events.into())],
            links,
            error,
            ..Span::new("send", SpanKind::Producer, child_of(parent), times)
        });
    }

    /// Sends packs that earlier ticks, or other processes, have left in the outbox, and dead letters.
    pub(super) async fn send_outbox(&self, pass: Pass, tick: &mut Tick) -> Result<()> {
        if self.queue.is_outbox() {
            return Ok(());
        }
        let now = pass.now;
        for _ in 0..MAX_BATCHES {
            let packs = self.store.take_packs(now, self.clock.now() + TAKE_TIMEOUT, BATCH_LIMIT).await?;
            if packs.is_empty() || !self.send(pass, &packs, tick).await? {
                break;
            }
        }
        if let Err(error) = self.send_dead_letters(now).await {
            tracing::warn!(error = chain(&error), "dead letters not sent");
        }
        Ok(())
    }

    async fn send_dead_letters(&self, now: DateTime<Utc>) -> Result<()> {
        for _ in 0..MAX_BATCHES {
            let rows =
                self.store.take_dead_letters(now, self.clock.now() + TAKE_TIMEOUT, BATCH_LIMIT).await?;
            if rows.is_empty() {
                break;
            }
            let letters: Vec<DeadLetter> =
                rows.iter().map(|row| DeadLetter::of_event(row.event_id, &row.reason)).collect();
            let confirmed = self.queue.send_dead_letters(&letters).await?;
            let ids: Vec<i64> = confirmed.into_iter().filter_map(|at| Some(rows.get(at)?.id)).collect();
            self.store.delete_outbox(&ids).await?;
        }
        Ok(())
    }
}
