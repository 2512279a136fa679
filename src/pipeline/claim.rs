//! Claim: one statement queues due events and packs them into the outbox; then the packs are sent.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use metrics::counter;

use super::queue::Pack;
use super::scheduler::{Pass, Result, Scheduler, Tick};
use super::trace::{Span, SpanKind, child_of};
use crate::store::{ClaimCursor, ClaimRequest, ClaimedEvents, StoreError, chain};

/// Events per statement: few enough that an edit does not wait long for it, and as many as fall due in most minutes.
const BATCH_LIMIT: u32 = 1000;
const TASKS: usize = 2;
/// Events per pack. Past some dozens a larger pack saves nothing.
const MAX_IN_PACK: usize = 50;
/// With a time limit, claiming pauses when this many queued events wait for workers, until half of them are leased: a large tick must
/// leave the database to the deliveries, and keep the queue short.
const HIGH_WATER: i64 = 10_000;
const HIGH_WATER_PAUSE: Duration = Duration::from_millis(50);

struct Batch {
    packs: Vec<Pack>,
    /// Whether more events may be due.
    more: bool,
}

impl Scheduler {
    /// Claims and sends until nothing is due or `limit` has passed; nothing while sending is paused. Returns whether more may
    /// be due.
    pub(super) async fn claim(&self, pass: Pass, limit: Option<Duration>, tick: &mut Tick) -> Result<bool> {
        if self.store.pause().await?.is_some() {
            return Ok(false);
        }
        let mut cursor = ClaimCursor::default();
        let Batch { mut packs, more } = self.claim_batch(pass, &mut cursor, tick).await?;
        if !more {
            self.send(pass, &packs, tick).await?;
            return Ok(false);
        }
        let until = limit.map(|limit| self.clock.monotonic() + limit);
        let tasks = (0..TASKS).map(|_| self.claim_and_send(pass, cursor, until, std::mem::take(&mut packs)));
        let mut result = Ok(false);
        for (counts, more) in join_all(tasks).await {
            tick.add(&counts);
            result = result.and_then(|before| Ok(before | more?));
        }
        result
    }

    /// Claims each batch while it sends the one before, which is `packs` at first. Returns its counts, also after an error.
    async fn claim_and_send(
        &self,
        pass: Pass,
        mut cursor: ClaimCursor,
        until: Option<Instant>,
        mut packs: Vec<Pack>,
    ) -> (Tick, Result<bool>) {
        let (mut claims, mut sends) = (Tick::default(), Tick::default());
        let mut room = if until.is_none() { i64::MAX } else { 0 };
        let (mut more, mut result) = (true, Ok(true));
        while more && result.is_ok() && until.is_none_or(|until| self.clock.monotonic() < until) {
            let claim = self.claim_paced(&mut room, pass, &mut cursor, &mut claims);
            let (claimed, sent) = tokio::join!(claim, self.send(pass, &packs, &mut sends));
            packs.clear();
            result = claimed.and_then(|batch| {
                Batch { packs, more } = batch;
                sent
            });
        }
        // Also after an error: packs that are not sent now wait until another process may take them from the outbox.
        let sent = self.send(pass, &packs, &mut sends).await;
        claims.add(&sends);
        (claims, result.and(sent).map(|_| more))
    }

    /// Claims a batch. When `room` is used up, counts the queued events again, and claims nothing while they are too many.
    async fn claim_paced(
        &self,
        room: &mut i64,
        pass: Pass,
        cursor: &mut ClaimCursor,
        tick: &mut Tick,
    ) -> Result<Batch> {
        if *room <= 0 {
            let queued = self.store.queued().await?;
            if queued > HIGH_WATER / 2 {
                tokio::time::sleep(HIGH_WATER_PAUSE).await;
                self.heartbeat.progress();
                return Ok(Batch { packs: Vec::new(), more: true });
            }
            *room = (HIGH_WATER - queued) / TASKS as i64;
        }
        *room -= i64::from(BATCH_LIMIT);
        self.claim_batch(pass, cursor, tick).await
    }

    async fn claim_batch(&self, pass: Pass, cursor: &mut ClaimCursor, tick: &mut Tick) -> Result<Batch> {
        let Pass { now, span } = pass;
        let request = ClaimRequest {
            now,
            kinds: &self.kinds,
            late_before: now - self.options.late_max,
            limit: BATCH_LIMIT,
            pack_limit: (self.options.max_in_flight / 8).clamp(1, MAX_IN_PACK),
            available_at: self.pack_available_at(now),
            span: span.map(child_of),
        };
        let began_at = self.clock.now();
        let claimed = self.store.claim(request, cursor).await;
        self.trace_claim(pass, &request, began_at, &claimed);
        let claimed = claimed?;
        self.heartbeat.progress();
        let queued = claimed.queued();
        tick.due += queued;
        tick.skipped += claimed.skipped;
        counter!("bday_events_skipped_total", "reason" => "late").increment(claimed.skipped);
        counter!("bday_events_queued_total").increment(queued);
        let more = queued + claimed.skipped >= u64::from(BATCH_LIMIT);
        Ok(Batch { packs: claimed.packs, more })
    }

    /// Exports the span of a claim that found events or failed.
    fn trace_claim(
        &self,
        pass: Pass,
        request: &ClaimRequest<'_>,
        began_at: DateTime<Utc>,
        claimed: &Result<ClaimedEvents, StoreError>,
    ) {
        let Some(span) = request.span else { return };
        let (attributes, error) = match claimed {
            Ok(claimed) if claimed.queued() + claimed.skipped == 0 => return,
            Ok(claimed) => {
                let queued = ("bday.events", claimed.queued().into());
                (
                    vec![
                        queued,
                        ("bday.packs", claimed.packs.len().into()),
                        ("bday.skipped", claimed.skipped.into()),
                    ],
                    None,
                )
            }
            Err(error) => (Vec::new(), Some(chain(error))),
        };
        let times = (began_at, self.clock.now());
        let span = Span {
            parent: pass.span,
            attributes,
            error,
            ..Span::new("claim", SpanKind::Internal, span, times)
        };
        self.options.tracer.end(span);
    }
}
