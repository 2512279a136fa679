//! Contacts, and suppressions of their addresses. A suppression names an address by its keyed hash, and outlives the user.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::api_writes::{ApiWrite, CHANGED};
use super::{Result, Store};
use crate::model::{ChannelName, Contact, ContactStatus};

/// Whether a person wants greetings by a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContactChoice<'a> {
    pub channel: ChannelName,
    /// None: all kinds.
    pub kind: Option<&'a str>,
    pub is_opted_out: bool,
}

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

/// All addresses that a channel would use for a user. Slack has two.
const ADDRESSES: &str = "
SELECT p.address_hash FROM contact_points p JOIN channel_contacts t ON t.type = p.type
WHERE p.user_id = $1 AND t.channel = $2";

/// The decision of a person takes precedence over the report of a provider.
const SUPPRESS: &str = "
INSERT INTO suppressions AS s (address_hash, channel, kind, status, since)
SELECT h.hash, $2, $3, $4, $5 FROM unnest($1::bytea[]) AS h(hash) ORDER BY h.hash
ON CONFLICT (address_hash, channel, kind) DO UPDATE SET status = excluded.status, since = excluded.since
WHERE array_position(ARRAY['bounced', 'complained', 'opted_out'], s.status)
    < array_position(ARRAY['bounced', 'complained', 'opted_out'], excluded.status)";

/// Raises the version of the users: a client that has cached a suppressed contact must read it again.
const UNSUPPRESS: &str = "
WITH gone AS (
    DELETE FROM suppressions
    WHERE address_hash = ANY($1) AND channel = $2 AND ($3::text IS NULL OR kind = $3)
      AND ($5::text IS NULL OR status = $5)
    RETURNING address_hash
), changed AS (
    UPDATE users SET version = version + 1, updated_at = greatest(updated_at, $4)
    WHERE id IN (SELECT p.user_id FROM contact_points p JOIN gone ON gone.address_hash = p.address_hash)
)
SELECT count(*) FROM gone";

impl Store {
    /// Returns the contact of each channel that `user` has an address for.
    pub async fn contacts(&self, user: Uuid) -> Result<Vec<Contact>> {
        self.in_time(contacts(&self.pool, user)).await
    }

    /// Suppresses the addresses of `user` for a channel, or removes their suppressions. Returns the contact, or none if the user has
    /// none for this channel. The row `write` of the audit log is committed together with the change.
    pub async fn choose_contact(
        &self,
        user: Uuid,
        choice: ContactChoice<'_>,
        at: DateTime<Utc>,
        write: Option<&ApiWrite>,
    ) -> Result<Option<Contact>> {
        self.in_time(async {
            let ContactChoice { channel, kind, is_opted_out } = choice;
            let mut transaction = self.begin().await?;
            let hashes: Vec<Vec<u8>> = sqlx::query_scalar(ADDRESSES)
                .bind(user)
                .bind(channel.as_str())
                .fetch_all(&mut *transaction)
                .await?;
            let hashes: Vec<&[u8]> = hashes.iter().map(Vec::as_slice).collect();
            if is_opted_out {
                suppress(&mut *transaction, &hashes, channel, kind, ContactStatus::OptedOut, at).await?;
            } else {
                unsuppress(&mut *transaction, &hashes, channel, kind, None, at).await?;
            }
            let contacts = contacts(&mut *transaction, user).await?;
            let Some(contact) = contacts.into_iter().find(|contact| contact.channel == channel) else {
                return Ok(None);
            };
            if let Some(write) = write {
                write.insert(&mut transaction, user, CHANGED).await?;
            }
            transaction.commit().await?;
            Ok(Some(contact))
        })
        .await
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
        self.in_time(suppress(&self.pool, &[address_hash], channel, kind, status, at)).await
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

    /// Removes the opt-outs of an address from a channel, for all kinds: for a person who opts in again at the provider. An address
    /// that bounced or complained stays suppressed. Returns false if there was no opt-out.
    pub async fn opt_in_address(
        &self,
        channel: ChannelName,
        address: &str,
        at: DateTime<Utc>,
    ) -> Result<bool> {
        let hash = self.installation_key().await?.address_hash(address);
        let status = Some(ContactStatus::OptedOut);
        self.in_time(unsuppress(&self.pool, &[&hash], channel, None, status, at)).await
    }
}

async fn contacts(executor: impl PgExecutor<'_>, user: Uuid) -> Result<Vec<Contact>> {
    Ok(sqlx::query_as(CONTACTS).bind(user).fetch_all(executor).await?)
}

async fn suppress(
    executor: impl PgExecutor<'_>,
    address_hashes: &[&[u8]],
    channel: ChannelName,
    kind: Option<&str>,
    status: ContactStatus,
    at: DateTime<Utc>,
) -> Result<bool> {
    let suppress = sqlx::query(SUPPRESS)
        .bind(address_hashes)
        .bind(channel.as_str())
        .bind(kind.unwrap_or_default())
        .bind(status.as_str())
        .bind(at);
    Ok(suppress.execute(executor).await?.rows_affected() > 0)
}

/// Without `kind` or `status`: of all of them.
async fn unsuppress(
    executor: impl PgExecutor<'_>,
    address_hashes: &[&[u8]],
    channel: ChannelName,
    kind: Option<&str>,
    status: Option<ContactStatus>,
    at: DateTime<Utc>,
) -> Result<bool> {
    let unsuppress = sqlx::query_scalar(UNSUPPRESS)
        .bind(address_hashes)
        .bind(channel.as_str())
        .bind(kind)
        .bind(at)
        .bind(status.map(ContactStatus::as_str));
    let removed: i64 = unsuppress.fetch_one(executor).await?;
    Ok(removed > 0)
}
