//! Checks the accepted requests: each event exactly once, with the expected JSON body.

use std::collections::HashMap;

use bday::model::ChannelName;
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
    /// Requests with an unexpected body, recipient or channel, or for an unknown event.
    pub(crate) wrong: usize,
    /// Events that are not `delivered` in the database.
    pub(crate) open: usize,
}

impl Judgement {
    pub(crate) fn is_exact(self) -> bool {
        (self.missing, self.repeated, self.wrong, self.open) == (0, 0, 0, 0)
    }
}

/// What is expected of an event.
#[derive(sqlx::FromRow)]
struct Event {
    id: Uuid,
    user_id: Uuid,
    due_at: DateTime<Utc>,
    is_delivered: bool,
    name: String,
    /// The user's only contact; none: the webhook.
    contact: Option<String>,
    #[sqlx(skip)]
    times: u32,
}

const EVENTS: &str = "
SELECT e.id, e.user_id, e.due_at, e.state = 'delivered' AS is_delivered, u.first_name || ' ' || u.last_name AS name,
       (SELECT p.address FROM contact_points p WHERE p.user_id = e.user_id) AS contact
FROM events e JOIN users u ON u.id = e.user_id";

impl Event {
    fn expects(&self, arrival: &Arrival) -> bool {
        match &self.contact {
            Some(contact) => {
                let channel = if contact.contains('@') { ChannelName::Mail } else { ChannelName::Slack };
                arrival.channel == channel && arrival.content == *contact
            }
            None => arrival.channel == ChannelName::Webhook && self.has_body(&arrival.content),
        }
    }

    fn has_body(&self, body: &str) -> bool {
        let expected = json!({
            "message": format!("Hey, {} it's your birthday", self.name),
            "userId": self.user_id,
            "eventId": self.id,
            "timestamp": self.due_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        });
        serde_json::from_str::<serde_json::Value>(body).is_ok_and(|body| body == expected)
    }
}

pub(crate) async fn judge(pool: &PgPool, arrivals: &[Arrival]) -> anyhow::Result<Judgement> {
    let events: Vec<Event> = sqlx::query_as(EVENTS).fetch_all(pool).await?;
    let mut judgement =
        Judgement { open: events.iter().filter(|event| !event.is_delivered).count(), ..Judgement::default() };
    let mut events: HashMap<Uuid, Event> = events.into_iter().map(|event| (event.id, event)).collect();
    for arrival in arrivals {
        let Some(event) = events.get_mut(&arrival.event_id) else {
            judgement.wrong += 1;
            continue;
        };
        event.times += 1;
        judgement.repeated += usize::from(event.times > 1);
        judgement.wrong += usize::from(!event.expects(arrival));
    }
    judgement.missing = events.values().filter(|event| event.times == 0).count();
    Ok(judgement)
}
