//! The pause of sending. It holds for all processes.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Result, Store};

/// The limit of the constraint `a_reason_is_short`.
const MAX_REASON_CHARS: usize = 500;

/// Returns `text` as the reason of a pause, without surrounding blanks. The error continues a sentence about the reason.
pub fn parse_pause_reason(text: &str) -> std::result::Result<String, String> {
    let length = text.chars().count();
    if text.chars().any(char::is_control) {
        return Err("has a control character: remove it".to_owned());
    }
    if length > MAX_REASON_CHARS {
        return Err(format!("has {length} characters: at most {MAX_REASON_CHARS} are allowed"));
    }
    Ok(text.trim().to_owned())
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// UTC.
    pub since: DateTime<Utc>,
    pub reason: String,
}

impl Store {
    pub async fn pause(&self) -> Result<Option<Pause>> {
        self.run(sqlx::query_as("SELECT since, reason FROM pauses").fetch_optional(&self.pool)).await
    }

    /// Returns the database's clock, for comparison only, and since when sending is paused.
    pub async fn clock_and_pause(&self) -> Result<(DateTime<Utc>, Option<DateTime<Utc>>)> {
        let sql = "SELECT clock_timestamp(), (SELECT since FROM pauses)";
        self.run(sqlx::query_as(sql).fetch_one(&self.pool)).await
    }

    /// Pauses sending in all processes: workers lease no more events, and requests in flight end. Returns false if sending is paused
    /// already; that pause keeps its time and reason.
    pub async fn set_pause(&self, now: DateTime<Utc>, reason: &str) -> Result<bool> {
        let sql = "INSERT INTO pauses (since, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        Ok(self.execute(sqlx::query(sql).bind(now).bind(reason)).await? > 0)
    }

    /// Resumes sending; returns false if it was not paused. The late rule applies to events that became due meanwhile.
    pub async fn end_pause(&self) -> Result<bool> {
        Ok(self.execute(sqlx::query("DELETE FROM pauses")).await? > 0)
    }
}
