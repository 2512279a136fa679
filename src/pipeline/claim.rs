//! Claim: due events become queued and are packed into the outbox, in one statement; then the packs are sent.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use metrics::counter;

use super::queue::Pack;
use super::scheduler::{Extent, Scheduler, Tick, TickError};
use crate::store::{ClaimCursor, ClaimRequest};

/// Events of one statement: few enough that an edit which waits for it does not notice, and as many as fall due in most minutes.
const BATCH: u32 = 1000;
/// Statements at once, when there is more than one batch.
const LANES: usize = 2;
/// The most events of a pack. Past some dozens a larger pack saves nothing.
const MOST_IN_PACK: usize = 50;
/// A daemon claims until this many queued events wait for workers, and goes on when half of them are leased: a large tick must
/// not take the database from the deliveries, and the queue stays short.
const HIGH_WATER: i64 = 10_000;
/// Until the queue is looked at again.
const HIGH_WATER_PAUSE: Duration = Duration::from_millis(50);

/// What one statement took.
#[derive(Debug)]
struct Batch {
    packs: Vec<Pack>,
    /// There may be more.
    full: bool,
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
        // Most passes find nothing, or one batch.
        let mut cursor = ClaimCursor::default();
        let first = self.claim_batch(now, &mut cursor, tick).await?;
        if !first.full {
            self.send_claimed(&first.packs, tick).await?;
            return Ok(false);
        }
        let until = match extent {
            Extent::All => None,
            Extent::Paced(limit) => Some(self.clock.monotonic() + limit),
        };
        let mut packs = first.packs;
        let lanes = (0..LANES).map(|_| self.claim_lane(now, cursor, until, std::mem::take(&mut packs)));
        let mut result = Ok(false);
        for (counts, more) in join_all(lanes).await {
            tick.add(&counts);
            result = result.and_then(|before| Ok(before | more?));
        }
        result
    }

    /// Claims batches until nothing is due, or until `until`, and sends each while it claims the next, beginning with `packs`.
    /// Returns what it did, also before an error, and whether more may be due.
    async fn claim_lane(
        &self,
        now: DateTime<Utc>,
        mut cursor: ClaimCursor,
        until: Option<Instant>,
        mut packs: Vec<Pack>,
    ) -> (Tick, Result<bool, TickError>) {
        let (mut counts, mut sent_counts) = (Tick::default(), Tick::default());
        let (mut room, mut full, mut result) = (0, true, Ok(()));
        while full && result.is_ok() && until.is_none_or(|until| self.clock.monotonic() < until) {
            let claim = async {
                if until.is_some() && room <= 0 {
                    room = self.room().await?;
                    if room <= 0 {
                        tokio::time::sleep(HIGH_WATER_PAUSE).await;
                        self.beat.touch();
                        return Ok(Batch { packs: Vec::new(), full: true });
                    }
                }
                room -= i64::from(BATCH);
                self.claim_batch(now, &mut cursor, &mut counts).await
            };
            let (claimed, sent) = tokio::join!(claim, self.send_claimed(&packs, &mut sent_counts));
            packs.clear();
            result = match claimed {
                Ok(batch) => {
                    Batch { packs, full } = batch;
                    sent
                }
                Err(error) => Err(error),
            };
        }
        // Also after an error: what is claimed should not wait until another takes it from the outbox.
        let sent = self.send_claimed(&packs, &mut sent_counts).await;
        counts.add(&sent_counts);
        (counts, result.and(sent).map(|()| full))
    }

    /// How many events a lane may claim before it looks again.
    async fn room(&self) -> Result<i64, TickError> {
        let queued = self.store.queued().await?;
        Ok(if queued > HIGH_WATER / 2 { 0 } else { (HIGH_WATER - queued) / LANES as i64 })
    }

    /// One statement.
    async fn claim_batch(
        &self,
        now: DateTime<Utc>,
        cursor: &mut ClaimCursor,
        tick: &mut Tick,
    ) -> Result<Batch, TickError> {
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
        Ok(Batch { packs: claimed.packs, full: queued + claimed.skipped >= u64::from(BATCH) })
    }

    async fn send_claimed(&self, packs: &[Pack], tick: &mut Tick) -> Result<(), TickError> {
        if packs.is_empty() {
            return Ok(());
        }
        let queued = Pack::count_events(packs);
        let sent = self.send(packs).await?;
        tick.enqueued += sent;
        tick.failed += queued - sent;
        Ok(())
    }
}
