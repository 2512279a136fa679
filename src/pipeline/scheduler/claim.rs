//! Claim and enqueue: what is due goes to the queue, within the transaction that holds it.

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use metrics::counter;

use super::{Scheduler, Tick, TickError};
use crate::store::ClaimCursor;

impl Scheduler {
    /// Skips what has been due for too long.
    pub(super) async fn skip_late(&self, now: DateTime<Utc>, tick: &mut Tick) -> Result<(), TickError> {
        let before = now - self.options.late_max;
        loop {
            let skipped = self
                .store
                .skip_late(now, before, self.options.claim_batch)
                .await?;
            tick.skipped += skipped;
            counter!("bday_events_skipped_total", "reason" => "late").increment(skipped);
            if skipped < u64::from(self.options.claim_batch) {
                return Ok(());
            }
        }
    }

    /// Claims batch after batch, in several lanes, until nothing is due at `now`. While sending is paused, nothing is.
    pub(super) async fn claim_and_enqueue(
        &self,
        now: DateTime<Utc>,
        tick: &mut Tick,
    ) -> Result<(), TickError> {
        if self.store.pause().await?.is_some() {
            return Ok(());
        }
        // One lane first: most minutes have nothing due, or a batch.
        let (first, full) = self
            .claim_batch(now, &mut ClaimCursor::default(), tick)
            .await
            .map_or_else(
                |error| (Err(error), false),
                |claimed| (Ok(()), claimed == self.options.claim_batch as usize),
            );
        if !full {
            return first;
        }
        let lanes = (0..self.options.claim_lanes).map(|_| async {
            let (mut cursor, mut counts) = (ClaimCursor::default(), Tick::default());
            let ended = loop {
                match self.claim_batch(now, &mut cursor, &mut counts).await {
                    Ok(0) => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            (counts, ended)
        });
        let mut result = Ok(());
        for (counts, ended) in join_all(lanes).await {
            tick.due += counts.due;
            tick.enqueued += counts.enqueued;
            tick.failed += counts.failed;
            result = result.and(ended);
        }
        result
    }

    /// One transaction: lock, send, mark what was confirmed, commit. A crash before the commit leaves the rows pending:
    /// they go again, and the lease makes the second copy harmless.
    async fn claim_batch(
        &self,
        now: DateTime<Utc>,
        cursor: &mut ClaimCursor,
        tick: &mut Tick,
    ) -> Result<usize, TickError> {
        let claim = self.store.claim(now, self.options.claim_batch, cursor).await?;
        let due = claim.event_ids.len();
        if due == 0 {
            return Ok(0);
        }
        tick.due += due as u64;
        let confirmed = match self.queue.send(&claim.event_ids).await {
            Ok(confirmed) => confirmed,
            Err(error) => {
                tick.failed += due as u64;
                counter!("bday_enqueue_failed_total").increment(due as u64);
                return Err(error.into());
            }
        };
        let failed = (due - confirmed.len()) as u64;
        let queued_at = self.clock.now();
        if let Err(error) = claim
            .commit(queued_at, queued_at + self.options.lost_after, &confirmed)
            .await
        {
            tick.failed += due as u64;
            counter!("bday_enqueue_failed_total").increment(due as u64);
            return Err(error.into());
        }
        tick.enqueued += confirmed.len() as u64;
        tick.failed += failed;
        counter!("bday_events_enqueued_total").increment(confirmed.len() as u64);
        counter!("bday_enqueue_failed_total").increment(failed);
        self.beat.touch();
        Ok(due)
    }
}
