//! Claim: due events become queued and are packed into the outbox, in one statement; then the packs are sent.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use metrics::counter;

use super::queue::Pack;
use super::scheduler::{Result, Scheduler, Tick};
use crate::store::{ClaimCursor, ClaimRequest};

/// Events of one statement: few enough that an edit that waits for it is not delayed, and as many as fall due in most minutes.
const BATCH: u32 = 1000;
const LANES: usize = 2;
/// The most events of a pack. Past some dozens a larger pack saves nothing.
const MOST_IN_PACK: usize = 50;
/// With a time limit, claiming stops while this many queued events wait for workers, and resumes when half of them are leased: a
/// large tick must not take the database from the deliveries, and the queue stays short.
const HIGH_WATER: i64 = 10_000;
const HIGH_WATER_PAUSE: Duration = Duration::from_millis(50);

/// The packs of one statement, and whether more events may be due.
type Batch = (Vec<Pack>, bool);

impl Scheduler {
    /// Claims until nothing is due at `now`, or `limit` is over; nothing while sending is paused. Returns whether more may be due.
    pub(super) async fn claim(
        &self,
        now: DateTime<Utc>,
        limit: Option<Duration>,
        tick: &mut Tick,
    ) -> Result<bool> {
        if self.store.pause().await?.is_some() {
            return Ok(false);
        }
        let mut cursor = ClaimCursor::default();
        let (mut packs, full) = self.claim_batch(now, &mut cursor, tick).await?;
        if !full {
            self.send(&packs, tick).await?;
            return Ok(false);
        }
        let until = limit.map(|limit| self.clock.monotonic() + limit);
        let lanes = (0..LANES).map(|_| self.claim_lane(now, cursor, until, std::mem::take(&mut packs)));
        let mut result = Ok(false);
        for (counts, more) in join_all(lanes).await {
            tick.add(&counts);
            result = result.and_then(|before| Ok(before | more?));
        }
        result
    }

    /// Claims a batch while it sends the one before, beginning with `packs`. Returns its counts, also after an error.
    async fn claim_lane(
        &self,
        now: DateTime<Utc>,
        mut cursor: ClaimCursor,
        until: Option<Instant>,
        mut packs: Vec<Pack>,
    ) -> (Tick, Result<bool>) {
        let (mut claims, mut sends) = (Tick::default(), Tick::default());
        let mut room = if until.is_none() { i64::MAX } else { 0 };
        let (mut more, mut result) = (true, Ok(true));
        while more && result.is_ok() && until.is_none_or(|until| self.clock.monotonic() < until) {
            let claim = self.claim_within(&mut room, now, &mut cursor, &mut claims);
            let (claimed, sent) = tokio::join!(claim, self.send(&packs, &mut sends));
            packs.clear();
            result = claimed.and_then(|claimed| {
                (packs, more) = claimed;
                sent
            });
        }
        // Also after an error: claimed packs should not wait until another process takes them from the outbox.
        let sent = self.send(&packs, &mut sends).await;
        claims.add(&sends);
        (claims, result.and(sent).map(|_| more))
    }

    /// Claims a batch if `room` allows it; counts the room anew when it is used up.
    async fn claim_within(
        &self,
        room: &mut i64,
        now: DateTime<Utc>,
        cursor: &mut ClaimCursor,
        tick: &mut Tick,
    ) -> Result<Batch> {
        if *room <= 0 {
            let queued = self.store.queued().await?;
            if queued > HIGH_WATER / 2 {
                tokio::time::sleep(HIGH_WATER_PAUSE).await;
                self.heartbeat.progress();
                return Ok((Vec::new(), true));
            }
            *room = (HIGH_WATER - queued) / LANES as i64;
        }
        *room -= i64::from(BATCH);
        self.claim_batch(now, cursor, tick).await
    }

    async fn claim_batch(
        &self,
        now: DateTime<Utc>,
        cursor: &mut ClaimCursor,
        tick: &mut Tick,
    ) -> Result<Batch> {
        let request = ClaimRequest {
            now,
            kinds: &self.kinds,
            late_before: now - self.options.late_max,
            limit: BATCH,
            pack_limit: (self.options.max_in_flight / 8).clamp(1, MOST_IN_PACK),
            available_at: self.available_at(now),
        };
        let claimed = self.store.claim(request, cursor).await?;
        self.heartbeat.progress();
        let queued = claimed.queued();
        tick.due += queued;
        tick.skipped += claimed.skipped;
        counter!("bday_events_skipped_total", "reason" => "late").increment(claimed.skipped);
        counter!("bday_events_queued_total").increment(queued);
        Ok((claimed.packs, queued + claimed.skipped >= u64::from(BATCH)))
    }
}
