//! The channel that reaches a user.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Result, Store};
use crate::model::ChannelName;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The user's language: a BCP 47 tag.
    pub locale: Option<String>,
    /// None: no channel reaches the user.
    pub channel: Option<ChannelName>,
}

#[derive(FromRow)]
struct Row {
    locale: Option<String>,
    channel: Option<String>,
}

impl Store {
    /// Returns the locale of a user, and the first of `channels` that reaches them with a greeting of `kind`; none without such a user.
    pub async fn reach(&self, user: Uuid, kind: &str, channels: &[ChannelName]) -> Result<Option<Reach>> {
        let channels: Vec<&str> = channels.iter().map(|channel| channel.as_str()).collect();
        let sql = "SELECT u.locale, r.channel FROM users u LEFT JOIN LATERAL reach(u.id, $2, $3) r ON true WHERE u.id = $1";
        let query = sqlx::query_as(sql).bind(user).bind(kind).bind(channels);
        let row: Option<Row> = self.run(query.fetch_optional(&self.pool)).await?;
        Ok(row.map(|Row { locale, channel }| Reach {
            locale,
            channel: channel.and_then(|channel| channel.parse().ok()),
        }))
    }
}
