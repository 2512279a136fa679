//! Checks the accepted requests: each event exactly once, with the expected JSON body.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::arrivals::Arrival;

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Judgement {
    /// Events that were not received.
    pub(crate) missing: usize,
    /// Accepted requests for an event that was already accepted.
    pub(crate) repeated: usize,
    /// Requests with an unexpected body or for an unknown event.
    pub(crate) wrong: usize,
    /// Events that are not `delivered` in the database.
    pub(crate) open: usize,
}

impl Judgement {
    pub(crate) fn is_exact(self) -> bool {
        (self.missing, self.repeated, self.wrong, self.open) == (0, 0, 0, 0)
    }
}

pub(crate) async fn judge(pool: &PgPool, arrivals: &[Arrival]) -> anyhow::Result<Judgement> {
    let rows: Vec<(Uuid, Uuid, DateTime<Utc>, bool, String)> = sqlx::query_as(
        "SELECT e.id, e.user_id, e.due_at, e.state = 'delivered', u.first_name || ' ' || u.last_name
         FROM events e JOIN users u ON u.id = e.user_id",
    )
    .fetch_all(pool)
    .await?;
    let mut judgement = Judgement {
        open: rows.iter().filter(|(.., delivered, _)| !delivered).count(),
        ..Judgement::default()
    };
    let mut expected: HashMap<Uuid, (Uuid, DateTime<Utc>, String, u32)> = rows
        .into_iter()
        .map(|(event_id, user_id, due_at, _, name)| (event_id, (user_id, due_at, name, 0)))
        .collect();
    for arrival in arrivals {
        let Some((user_id, due_at, name, times)) = expected.get_mut(&arrival.event_id) else {
            judgement.wrong += 1;
            continue;
        };
        *times += 1;
        judgement.repeated += usize::from(*times > 1);
        let body = json!({
            "message": format!("Hey, {name} it's your birthday"),
            "userId": user_id,
            "eventId": arrival.event_id,
            "timestamp": due_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        });
        let got = serde_json::from_str::<serde_json::Value>(&arrival.body);
        judgement.wrong += usize::from(!got.is_ok_and(|got| got == body));
    }
    judgement.missing = expected.values().filter(|(.., times)| *times == 0).count();
    Ok(judgement)
}
