//! Contacts, and suppressions of their addresses. A suppression names an address by its keyed hash, and outlives the user.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Result, Store};
use crate::model::{ChannelName, Contact, ContactStatus};

/// The contact of each channel, chosen as by `reach`.
const CONTACTS: &str = "
SELECT DISTINCT ON (t.channel) t.channel, p.address, coalesce(s.status, 'active') AS status, s.since,
       ARRAY(SELECT k.kind FROM suppressions k
             WHERE k.address_hash = p.address_hash AND k.channel = t.channel AND k.kind <> '' ORDER BY k.kind)
           AS opted_out_kinds
FROM contact_points p
JOIN channel_contacts t ON t.type = p.type
LEFT JOIN suppressions s ON s.address_hash = p.address_hash AND s.channel = t.channel AND s.kind = ''
WHERE p.user_id = $1
ORDER BY t.channel, s.status IS NOT NULL, t.preference";

/// The decision of a person takes precedence over the report of a provider.
const SUPPRESS: &str = "
INSERT INTO suppressions AS s (address_hash, channel, kind, status, since)
SELECT h.hash, $2, $3, $4, $5 FROM unnest($1::bytea[]) AS h(hash) ORDER BY h.hash
ON CONFLICT (address_hash, channel, kind) DO UPDATE SET status = excluded.status, since = excluded.since
WHERE array_position(ARRAY['bounced', 'complained', 'opted_out'], s.status)
    < array_position(ARRAY['bounced', 'complained', 'opted_out'], excluded.status)";

/// Raises the version of the users, for clients that have them cached: see `Api::read`.
const UNSUPPRESS: &str = "
WITH gone AS (
    DELETE FROM suppressions WHERE address_hash = ANY($1) AND channel = $2 AND kind = $3 RETURNING address_hash
), changed AS (
    UPDATE users SET version = version + 1, updated_at = greatest(updated_at, $4)
    WHERE id IN (SELECT p.user_id FROM contact_points p JOIN gone ON gone.address_hash = p.address_hash)
)
SELECT count(*) FROM gone";

impl Store {
    /// Returns the contact of each channel that `user` has an address for.
    pub async fn contacts(&self, user: Uuid) -> Result<Vec<Contact>> {
        let contacts = sqlx::query_as(CONTACTS).bind(user);
        self.run(contacts.fetch_all(&self.pool)).await
    }

    /// Stops greetings of `kind`, or of all kinds, to an address by `channel`. Returns false if the address had this status, or one
    /// of more weight: an opt-out is kept when the provider reports a complaint or a bounce, and a complaint when it reports a bounce.
    pub async fn suppress(
        &self,
        address_hash: &[u8],
        channel: ChannelName,
        kind: Option<&str>,
        status: ContactStatus,
        at: DateTime<Utc>,
    ) -> Result<bool> {
        let hashes = [address_hash];
        let suppress = sqlx::query(SUPPRESS)
            .bind(&hashes[..])
            .bind(channel.as_str())
            .bind(kind.unwrap_or_default())
            .bind(status.as_str())
            .bind(at);
        Ok(self.execute(suppress).await? > 0)
    }

    /// Removes the suppression of `kind`, or the one of all kinds, whatever its status. Returns false if there was none.
    pub async fn unsuppress(
        &self,
        address_hash: &[u8],
        channel: ChannelName,
        kind: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<bool> {
        let hashes = [address_hash];
        let unsuppress = sqlx::query_scalar(UNSUPPRESS)
            .bind(&hashes[..])
            .bind(channel.as_str())
            .bind(kind.unwrap_or_default())
            .bind(at);
        let removed: i64 = self.run(unsuppress.fetch_one(&self.pool)).await?;
        Ok(removed > 0)
    }

    /// As [`Self::suppress`], by the address itself and for all kinds: for reports of a provider.
    pub async fn suppress_address(
        &self,
        channel: ChannelName,
        address: &str,
        status: ContactStatus,
        at: DateTime<Utc>,
    ) -> Result<bool> {
        let hash = self.installation_key().await?.address_hash(address);
        self.suppress(&hash, channel, None, status, at).await
    }

    /// As [`Self::unsuppress`], by the address itself and for all kinds: for a person who opts in again at the provider.
    pub async fn unsuppress_address(
        &self,
        channel: ChannelName,
        address: &str,
        at: DateTime<Utc>,
    ) -> Result<bool> {
        let hash = self.installation_key().await?.address_hash(address);
        self.unsuppress(&hash, channel, None, at).await
    }
}
