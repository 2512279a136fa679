use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A place in a list that is ordered by an instant, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeCursor {
    pub at: DateTime<Utc>,
    pub id: Uuid,
}
