//! Claim: due events become queued, in packs, in one statement.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::model::SpanContext;
use crate::store::{Pack, Result, Store};

#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest<'a> {
    pub now: DateTime<Utc>,
    pub kinds: &'a [String],
    /// Events of any kind with an earlier `late_from` are skipped.
    pub late_before: DateTime<Utc>,
    pub limit: u32,
    pub pack_limit: usize,
    pub available_at: DateTime<Utc>,
    /// The span of the claim, for the packs.
    pub span: Option<SpanContext>,
}

/// The position of a pass: it reads each row once even where rows are skipped.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClaimCursor(Option<(DateTime<Utc>, Uuid)>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimedEvents {
    pub packs: Vec<Pack>,
    pub skipped: u64,
}

impl ClaimedEvents {
    #[must_use]
    pub fn queued(&self) -> u64 {
        Pack::count_events(&self.packs)
    }
}

/// A pack, or the summary of the claim (without an id).
#[derive(FromRow)]
struct Row {
    id: Option<i64>,
    event_ids: Option<Vec<Uuid>>,
    skipped: i64,
    last_at: Option<DateTime<Utc>>,
    last_id: Option<Uuid>,
}

/// A pack holds a sixteenth of the claimed events, up to the limit, so that several workers share a small number of events.
/// As in the lease and the record, a locked row is updated by its `ctid`, which saves a look-up by key. A row that another
/// transaction changed since this statement began is locked but not updated; the worker then drops its id from the pack.
pub(in crate::store) const CLAIM: &str = "
WITH due AS MATERIALIZED (
    SELECT ctid AS tid, id, next_attempt_at, late_from < $3 AS late, isolated FROM events
    WHERE next_attempt_at <= $1 AND (next_attempt_at, id) > ($5, $6) AND (kind = ANY($2) OR late_from < $3)
    ORDER BY next_attempt_at, id LIMIT $4 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE events e
    SET state = CASE WHEN d.late THEN 'skipped' ELSE 'queued' END::event_state,
        reason = CASE WHEN d.late THEN 'late' END, finished_at = CASE WHEN d.late THEN $1 END,
        queued_at = CASE WHEN d.late THEN e.queued_at ELSE $1 END, next_attempt_at = NULL
    FROM due d WHERE e.ctid = d.tid
), numbered AS (
    SELECT id, n, CASE WHEN isolated THEN -n ELSE (n - 1) / greatest(1, least($7, (total + 15) / 16)) END AS pack
    FROM (SELECT id, isolated, row_number() OVER (PARTITION BY isolated ORDER BY next_attempt_at, id) AS n,
                 count(*) OVER () AS total
          FROM due WHERE NOT late) AS d
), packs AS (
    INSERT INTO outbox (event_ids, created_at, available_at, traceparent)
    SELECT array_agg(id ORDER BY n), $1, $8, $9 FROM numbered GROUP BY pack ORDER BY pack
    RETURNING id, event_ids
)
SELECT id, event_ids, 0 AS skipped, NULL::timestamptz AS last_at, NULL::uuid AS last_id FROM packs
UNION ALL
SELECT NULL, NULL, (SELECT count(*) FROM due WHERE late), next_attempt_at, id
FROM (SELECT next_attempt_at, id FROM due ORDER BY next_attempt_at DESC, id DESC LIMIT 1) AS last";

impl Store {
    /// Claims due events after `cursor`, and moves the cursor: events in time are queued and packed into the outbox, late ones are
    /// skipped. Rows that another transaction has locked are left for the next pass.
    pub async fn claim(&self, request: ClaimRequest<'_>, cursor: &mut ClaimCursor) -> Result<ClaimedEvents> {
        let (after_at, after_id) = cursor.0.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()));
        let traceparent = request.span.map(|span| span.to_string());
        let rows = sqlx::query_as(CLAIM)
            .bind(request.now)
            .bind(request.kinds)
            .bind(request.late_before)
            .bind(i64::from(request.limit))
            .bind(after_at)
            .bind(after_id)
            .bind(request.pack_limit as i64)
            .bind(request.available_at)
            .bind(traceparent.as_deref());
        let rows: Vec<Row> = self.run(rows.fetch_all(&self.pool)).await?;
        let mut claimed = ClaimedEvents::default();
        for row in rows {
            if let (Some(id), Some(event_ids)) = (row.id, row.event_ids) {
                claimed.packs.push(Pack { id, event_ids, traceparent: traceparent.clone() });
            } else {
                claimed.skipped = row.skipped.unsigned_abs();
                cursor.0 = row.last_at.zip(row.last_id).or(cursor.0);
            }
        }
        Ok(claimed)
    }

    pub async fn next_attempt_at(&self) -> Result<Option<DateTime<Utc>>> {
        let sql = "SELECT min(next_attempt_at) FROM events WHERE next_attempt_at IS NOT NULL";
        self.run(sqlx::query_scalar(sql).fetch_one(&self.pool)).await
    }
}
