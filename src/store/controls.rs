//! What somebody has told all processes: today, to pause.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Result, Store};

/// The longest reason, as `a_reason_is_short` has it.
pub const MAX_REASON_CHARS: usize = 500;

/// A pause of sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// Since when, UTC.
    pub since: DateTime<Utc>,
    /// Why, in the words of whoever paused.
    pub reason: String,
}

impl Store {
    /// The pause that holds, if one does.
    pub async fn pause(&self) -> Result<Option<Pause>> {
        self.run(sqlx::query_as("SELECT since, reason FROM pauses").fetch_optional(&self.pool)).await
    }

    /// The database's clock, for comparison only, and since when sending is paused (both UTC).
    pub async fn clock_and_pause(&self) -> Result<(DateTime<Utc>, Option<DateTime<Utc>>)> {
        self.run(sqlx::query_as("SELECT clock_timestamp(), (SELECT since FROM pauses)").fetch_one(&self.pool))
            .await
    }

    /// Pauses sending, in all processes, at once: nothing is leased from here on. What is in flight ends. Gives whether
    /// that is new; a pause that holds keeps its time and reason.
    pub async fn set_pause(&self, now: DateTime<Utc>, reason: &str) -> Result<bool> {
        let sql = "INSERT INTO pauses (since, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        Ok(self.execute(sqlx::query(sql).bind(now).bind(reason)).await? > 0)
    }

    /// Ends the pause; gives whether there was one. What became due meanwhile obeys the late rule.
    pub async fn end_pause(&self) -> Result<bool> {
        self.in_time(async {
            Ok(sqlx::query("DELETE FROM pauses").execute(&self.pool).await?.rows_affected() > 0)
        })
        .await
    }
}
