//! Contacts, and the addresses that a channel must not use any more.

use chrono::{DateTime, Utc};

use super::{Result, Store};
use crate::model::{ChannelName, ContactStatus};

/// A wish of the person is not replaced by a bounce.
const SUPPRESS: &str = "
INSERT INTO suppressions (address_hash, channel, status, since) VALUES ($1, $2, $3, $4)
ON CONFLICT (address_hash, channel, kind) DO UPDATE SET status = excluded.status, since = excluded.since
WHERE suppressions.status = 'bounced' AND excluded.status <> 'bounced'";

impl Store {
    /// Records that `channel` must not use `address` any more.
    pub async fn suppress_address(
        &self,
        channel: ChannelName,
        address: &str,
        status: ContactStatus,
        at: DateTime<Utc>,
    ) -> Result<()> {
        let hash = self.installation_key().await?.address_hash(address);
        let suppress = sqlx::query(SUPPRESS).bind(hash).bind(channel.as_str()).bind(status.as_str()).bind(at);
        self.execute(suppress).await?;
        Ok(())
    }
}
