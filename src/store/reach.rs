//! The channel that reaches a user.

use uuid::Uuid;

use super::{Result, Store};
use crate::model::ChannelName;

impl Store {
    /// Returns the first of `channels` that reaches `user` with a greeting of `kind`.
    pub async fn reach(
        &self,
        user: Uuid,
        kind: &str,
        channels: &[ChannelName],
    ) -> Result<Option<ChannelName>> {
        let channels: Vec<&str> = channels.iter().map(|channel| channel.as_str()).collect();
        let query =
            sqlx::query_scalar("SELECT channel FROM reach($1, $2, $3)").bind(user).bind(kind).bind(channels);
        let channel: Option<String> = self.run(query.fetch_optional(&self.pool)).await?;
        Ok(channel.and_then(|channel| channel.parse().ok()))
    }
}
