//! Claim: due events become queued and are packed into the outbox, in one statement; then the packs are sent.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use metrics::counter;

use super::scheduler::{Extent, Scheduler, Tick, TickError};
use crate::store::{ClaimCursor, ClaimRequest};

/// Events of one statement: few enough that an edit which waits for it does not notice.
const BATCH: u32 = 500;
/// Statements at once, when there is more than one batch.
const LANES: usize = 2;
/// The most events of a pack. Past some dozens a larger pack saves nothing.
const MOST_IN_PACK: usize = 50;
/// While this many queued events wait for workers, a daemon claims no more: a large tick must not take the database from the
/// deliveries, and the queue stays short.
const HIGH_WATER: i64 = 10_000;
/// Until the queue is looked at again.
const HIGH_WATER_PAUSE: Duration = Duration::from_millis(50);

impl Scheduler {
    /// Claims batch after batch, in several lanes, until nothing is due at `now`. Nothing while sending is paused. Returns whether it
    /// ran out of time, so that more may be due.
    pub(super) async fn claim(
        &self,
        now: DateTime<Utc>,
        extent: Extent,
        tick: &mut Tick,
    ) -> Result<bool, TickError> {
        if self.store.pause().await?.is_some() {
            return Ok(false);
        }
        // One lane first: most passes find nothing, or one batch.
        let mut cursor = ClaimCursor::default();
        if !self.claim_batch(now, &mut cursor, tick).await? {
            return Ok(false);
        }
        let until = match extent {
            Extent::All => None,
            Extent::Paced(limit) => Some(self.clock.monotonic() + limit),
        };
        let lanes = (0..LANES).map(|_| self.claim_lane(now, cursor, until));
        let mut result = Ok(false);
        for (counts, more) in join_all(lanes).await {
            tick.add(&counts);
            result = result.and_then(|before| Ok(before | more?));
        }
        result
    }

    /// Claims batches until nothing is due, or until `until`. Returns what it did, also before an error, and whether more may be due.
    async fn claim_lane(
        &self,
        now: DateTime<Utc>,
        mut cursor: ClaimCursor,
        until: Option<Instant>,
    ) -> (Tick, Result<bool, TickError>) {
        let mut counts = Tick::default();
        while until.is_none_or(|until| self.clock.monotonic() < until) {
            let claimed = async {
                if until.is_some() && self.store.queued().await? >= HIGH_WATER {
                    tokio::time::sleep(HIGH_WATER_PAUSE).await;
                    self.beat.touch();
                    return Ok(true);
                }
                self.claim_batch(now, &mut cursor, &mut counts).await
            };
            match claimed.await {
                Ok(true) => {}
                ended => return (counts, ended),
            }
        }
        (counts, Ok(true))
    }

    /// One statement, and the packs of it on their way. Returns whether there may be more.
    async fn claim_batch(
        &self,
        now: DateTime<Utc>,
        cursor: &mut ClaimCursor,
        tick: &mut Tick,
    ) -> Result<bool, TickError> {
        let request = ClaimRequest {
            now,
            kinds: &self.kinds,
            late_before: now - self.options.late_max,
            limit: BATCH,
            pack_limit: (self.options.max_in_flight / 8).clamp(1, MOST_IN_PACK),
            available_at: self.available_at(now),
        };
        let claimed = self.store.claim(request, cursor).await?;
        self.beat.touch();
        let queued = claimed.queued();
        tick.due += queued;
        tick.skipped += claimed.skipped;
        counter!("bday_events_skipped_total", "reason" => "late").increment(claimed.skipped);
        counter!("bday_events_queued_total").increment(queued);
        if !claimed.packs.is_empty() {
            let sent = self.send(&claimed.packs).await?;
            tick.enqueued += sent;
            tick.failed += queued - sent;
        }
        Ok(queued + claimed.skipped >= u64::from(BATCH))
    }
}
