//! Feedback of providers about greetings that they had accepted.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{ChannelName, Feedback, FeedbackType};

/// The limit of the column, in characters.
const MAX_DETAIL_CHARS: usize = 1000;

/// An event of a deleted user has another id than the one that the provider knows. The lock waits for a deletion in progress.
const ADD: &str = "
INSERT INTO feedback (event_id, type, channel, at, detail)
SELECT id, $2, $3, $4, $5 FROM events WHERE id = $1 FOR KEY SHARE
ON CONFLICT (event_id, type) DO NOTHING";

/// The feedback on events, by event and time.
pub(super) const FEEDBACK: &str = "SELECT event_id, type, channel, at, detail FROM feedback WHERE event_id = ANY($1) ORDER BY event_id, at, type";

impl Store {
    /// Records feedback on an event. Returns whether it is new: repeated reports, and reports on events that are unknown or whose user
    /// was deleted, are ignored. `detail` must not contain addresses; it is cut off after 1,000 characters.
    pub async fn add_feedback(
        &self,
        event_id: Uuid,
        feedback_type: FeedbackType,
        channel: ChannelName,
        at: DateTime<Utc>,
        detail: Option<&str>,
    ) -> Result<bool> {
        let detail = detail.map(|text| text.chars().take(MAX_DETAIL_CHARS).collect::<String>());
        let add = sqlx::query(ADD)
            .bind(event_id)
            .bind(feedback_type.as_str())
            .bind(channel.as_str())
            .bind(at)
            .bind(detail);
        Ok(self.execute(add).await? > 0)
    }

    pub async fn feedback(&self, event_id: Uuid) -> Result<Vec<Feedback>> {
        self.run(sqlx::query_as(FEEDBACK).bind([event_id].as_slice()).fetch_all(&self.pool)).await
    }
}
