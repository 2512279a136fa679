//! The outbox: packs to be sent or received, and messages for the dead-letter queue.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::{Result, Store};
use crate::model::SpanContext;

#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Pack {
    pub id: i64,
    pub event_ids: Vec<Uuid>,
    /// The span of the claim.
    pub traceparent: Option<String>,
}

impl Pack {
    /// Returns the span of the claim.
    pub fn claim(&self) -> Option<SpanContext> {
        SpanContext::parse(self.traceparent.as_deref()?)
    }

    pub fn count_events<'a>(packs: impl IntoIterator<Item = &'a Self>) -> u64 {
        packs.into_iter().map(|pack| pack.event_ids.len() as u64).sum()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DeadLetterRow {
    pub id: i64,
    pub event_id: Uuid,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredPack {
    pub pack: Pack,
    pub queued: Vec<Uuid>,
    pub available_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct OutboxDepth {
    pub available: i64,
    /// Hidden from others by a sender or a worker.
    pub taken: i64,
    pub dead_letters: i64,
}

pub(super) const DELETE_PACKS: &str = "
WITH received AS (
    SELECT id, array_agg(event_id) AS event_ids FROM unnest($1::bigint[], $2::uuid[]) AS n(id, event_id) GROUP BY id
)
DELETE FROM outbox WHERE id IN (
    SELECT o.id FROM outbox o JOIN received r USING (id)
    WHERE o.event_ids <@ r.event_ids AND o.dead_letter IS NULL FOR UPDATE OF o SKIP LOCKED)";

impl Store {
    /// Takes up to `limit` packs that are available at `now`, oldest first, and hides them from other processes until `until`.
    pub async fn take_packs(
        &self,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<Pack>> {
        let sql = "
            UPDATE outbox SET available_at = $2 WHERE id IN (
                SELECT id FROM outbox WHERE available_at <= $1 AND sent_at IS NULL AND dead_letter IS NULL
                ORDER BY available_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)
            RETURNING id, event_ids, traceparent";
        self.run(sqlx::query_as(sql).bind(now).bind(until).bind(limit as i64).fetch_all(&self.pool)).await
    }

    pub async fn take_dead_letters(
        &self,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<DeadLetterRow>> {
        let sql = "
            UPDATE outbox SET available_at = $2 WHERE id IN (
                SELECT id FROM outbox WHERE available_at <= $1 AND dead_letter IS NOT NULL
                ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
            RETURNING id, event_ids[1] AS event_id, dead_letter AS reason";
        self.run(sqlx::query_as(sql).bind(now).bind(until).bind(limit as i64).fetch_all(&self.pool)).await
    }

    /// Records that the queue has confirmed these packs. Other packs are sent again.
    pub async fn confirm_packs(&self, now: DateTime<Utc>, packs: &[i64]) -> Result<()> {
        let sql = "UPDATE outbox SET sent_at = $2 WHERE id = ANY($1)";
        self.execute(sqlx::query(sql).bind(packs).bind(now)).await.map(drop)
    }

    /// Makes packs that could not be sent available again before their time is over.
    pub async fn release_packs(&self, at: DateTime<Utc>, packs: &[i64]) -> Result<()> {
        let sql = "UPDATE outbox SET available_at = $2 WHERE id = ANY($1) AND sent_at IS NULL";
        self.execute(sqlx::query(sql).bind(packs).bind(at)).await.map(drop)
    }

    /// Deletes packs whose events are all leased or no longer queued. Skips locked rows: another transaction deletes them, or they
    /// are received again. A message from before a restore, or of another installation, may name the row of another pack, so a row
    /// is deleted only if all of its events were received.
    pub async fn delete_packs(&self, packs: &[Pack]) -> Result<()> {
        let (ids, event_ids): (Vec<i64>, Vec<Uuid>) =
            packs.iter().flat_map(|pack| pack.event_ids.iter().map(|event| (pack.id, *event))).unzip();
        self.execute(sqlx::query(DELETE_PACKS).bind(ids).bind(event_ids)).await.map(drop)
    }

    /// Deletes messages to the dead-letter queue that it has confirmed, or that an operator has removed. Returns how many.
    pub async fn delete_outbox(&self, ids: &[i64]) -> Result<u64> {
        let sql = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE id = ANY($1) FOR UPDATE SKIP LOCKED)";
        self.execute(sqlx::query(sql).bind(ids)).await
    }

    /// Moves the queued events of `deferred` to new packs, to be sent and received later, under the condition of
    /// [`Store::delete_packs`]. New ones, because the sender of the old pack may still confirm it, and a confirmed pack is not sent
    /// again.
    pub async fn defer_packs(&self, deferred: &[DeferredPack]) -> Result<()> {
        let sql = "
            WITH old AS (
                DELETE FROM outbox WHERE id = $1 AND event_ids <@ $4 AND dead_letter IS NULL RETURNING created_at, traceparent
            )
            INSERT INTO outbox (event_ids, created_at, available_at, traceparent)
            SELECT $2, created_at, $3, traceparent FROM old";
        for DeferredPack { pack, queued, available_at } in deferred {
            let defer = sqlx::query(sql).bind(pack.id).bind(queued).bind(available_at).bind(&pack.event_ids);
            self.execute(defer).await?;
        }
        Ok(())
    }

    /// Makes packs that were confirmed before `before`, and that the queue has lost since, available again. Returns how many.
    pub async fn resend_packs(&self, now: DateTime<Utc>, before: DateTime<Utc>, limit: usize) -> Result<u64> {
        let sql = "
            UPDATE outbox SET sent_at = NULL, available_at = $1 WHERE id IN (
                SELECT id FROM outbox WHERE sent_at < $2 ORDER BY sent_at LIMIT $3 FOR UPDATE SKIP LOCKED)";
        self.execute(sqlx::query(sql).bind(now).bind(before).bind(limit as i64)).await
    }

    pub async fn next_pack_at(&self) -> Result<Option<DateTime<Utc>>> {
        let sql = "SELECT min(available_at) FROM outbox WHERE sent_at IS NULL AND dead_letter IS NULL";
        self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await
    }

    pub async fn outbox_depth(&self, now: DateTime<Utc>) -> Result<OutboxDepth> {
        let sql = "
            SELECT count(*) FILTER (WHERE dead_letter IS NULL AND available_at <= $1) AS available,
                   count(*) FILTER (WHERE dead_letter IS NULL AND available_at > $1) AS taken,
                   count(*) FILTER (WHERE dead_letter IS NOT NULL) AS dead_letters
            FROM outbox WHERE sent_at IS NULL";
        self.run(sqlx::query_as(sql).bind(now).fetch_one(&self.pool)).await
    }

    /// Returns messages to the dead-letter queue after `after`, by id. Where the outbox is the queue, they stay here.
    pub async fn kept_dead_letters(&self, after: i64, limit: usize) -> Result<Vec<DeadLetterRow>> {
        let sql = "
            SELECT id, event_ids[1] AS event_id, dead_letter AS reason FROM outbox
            WHERE dead_letter IS NOT NULL AND id > $1 ORDER BY id LIMIT $2";
        self.run(sqlx::query_as(sql).bind(after).bind(limit as i64).fetch_all(&self.pool)).await
    }
}
