//! Claim: due events become queued and are packed into the outbox, in one statement; then the packs are sent.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use metrics::counter;

use super::scheduler::{Scheduler, Tick, TickError};
use super::send::TAKEN_FOR;
use crate::skew::MAX_SKEW;
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

/// How far a pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Until nothing is due.
    All,
    /// For this long at most, and not past [`HIGH_WATER`].
    Paced(Duration),
}

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
        let began = self.clock.monotonic();
        let in_time = || match extent {
            Extent::All => true,
            Extent::Paced(limit) => self.clock.monotonic().duration_since(began) < limit,
        };
        let lanes = (0..LANES).map(|_| async {
            let (mut cursor, mut counts) = (cursor, Tick::default());
            let mut result = Ok(true);
            while in_time() {
                if extent != Extent::All && self.store.queued().await? >= HIGH_WATER {
                    tokio::time::sleep(HIGH_WATER_PAUSE).await;
                    self.beat.touch();
                    continue;
                }
                match self.claim_batch(now, &mut cursor, &mut counts).await {
                    Ok(true) => {}
                    Ok(false) => {
                        result = Ok(false);
                        break;
                    }
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            Ok::<_, TickError>((counts, result))
        });
        let mut result = Ok(false);
        for lane in join_all(lanes).await {
            let (counts, more) = lane?;
            tick.add(&counts);
            result = result.and_then(|before| Ok(before | more?));
        }
        result
    }

    /// One statement, and the packs of it on their way. Returns whether there may be more.
    async fn claim_batch(
        &self,
        now: DateTime<Utc>,
        cursor: &mut ClaimCursor,
        tick: &mut Tick,
    ) -> Result<bool, TickError> {
        // Workers whose clock is behind take it at once as well.
        let available_at = if self.queue.is_outbox() {
            now - MAX_SKEW
        } else {
            self.clock.now() + TAKEN_FOR
        };
        let request = ClaimRequest {
            now,
            kinds: &self.kinds,
            late_before: now - self.options.late_max,
            limit: BATCH,
            pack_limit: (self.options.max_in_flight / 8).clamp(1, MOST_IN_PACK),
            available_at,
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
