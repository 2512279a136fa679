//! The installation key. Hashes of personal data are keyed, so that they cannot be computed from a name and a date.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::NaiveDate;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use super::{Result, Store, StoreError};

const UNSUBSCRIBE_MAC_BYTES: usize = 16;

#[derive(Clone)]
pub struct InstallationKey(Hmac<Sha256>);

impl fmt::Debug for InstallationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstallationKey").finish_non_exhaustive()
    }
}

impl InstallationKey {
    fn hash(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let mac = self.0.clone().chain_update(purpose).chain_update([0]);
        mac.chain_update(data).finalize().into_bytes().into()
    }

    pub(super) fn external_id_hash(&self, external_id: &str) -> [u8; 32] {
        self.hash("external id", external_id.as_bytes())
    }

    /// Returns the hash of an email address, phone number (E.164) or Slack user id. Upper and lower case are equal.
    #[must_use]
    pub fn address_hash(&self, address: &str) -> [u8; 32] {
        self.hash("address", address.trim().to_lowercase().as_bytes())
    }

    /// Returns the token of a link that ends the greetings to an address. It does not expire.
    #[must_use]
    pub fn unsubscribe_token(&self, address_hash: &[u8]) -> String {
        let mac = self.hash("unsubscribe", address_hash);
        URL_SAFE_NO_PAD.encode([address_hash, &mac[..UNSUBSCRIBE_MAC_BYTES]].concat())
    }

    /// Returns the hash of the address in a token of this installation.
    #[must_use]
    pub fn unsubscribed_address(&self, token: &str) -> Option<[u8; 32]> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (address_hash, tag) = bytes.split_first_chunk()?;
        let mac = self.0.clone().chain_update("unsubscribe").chain_update([0]).chain_update(address_hash);
        // Compares in constant time.
        (tag.len() == UNSUBSCRIBE_MAC_BYTES && mac.verify_truncated_left(tag).is_ok())
            .then_some(*address_hash)
    }

    pub(super) fn idempotency_key_hash(&self, token: Option<Uuid>, key: &str) -> [u8; 32] {
        let token = token.map_or_else(String::new, |id| id.simple().to_string());
        // A token's id has no blank, so different pairs give different texts.
        self.hash("idempotency key", format!("{token} {key}").as_bytes())
    }

    pub(super) fn request_hash(&self, body: &[u8]) -> [u8; 32] {
        self.hash("request", body)
    }

    /// Returns the id (UUID version 8) of a user on an import line without an id.
    #[must_use]
    pub fn line_id(&self, line: &str) -> Uuid {
        self.id("line", line)
    }

    /// Returns the id (UUID version 8) of a day in the calendar feed.
    #[must_use]
    pub fn calendar_day_id(&self, date: NaiveDate) -> Uuid {
        self.id("calendar day", &date.to_string())
    }

    fn id(&self, purpose: &str, data: &str) -> Uuid {
        let hash = self.hash(purpose, data.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

impl Store {
    pub async fn installation_key(&self) -> Result<&InstallationKey> {
        let read = async || {
            let key = sqlx::query_scalar("SELECT key FROM installation").fetch_one(&self.pool);
            let key: Vec<u8> = self.run(key).await?;
            let mac = Hmac::new_from_slice(&key);
            mac.map(InstallationKey)
                .map_err(|error| StoreError::Unreadable(format!("installation.key: {error}")))
        };
        self.installation_key.get_or_try_init(read).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_of_this_installation_unsubscribes_its_address() {
        let [ours, other] =
            [1, 2].map(|byte| InstallationKey(Hmac::new_from_slice(&[byte; 32]).expect("a key")));
        let [ada, bob] = ["ada@example.org", "bob@example.org"].map(|address| ours.address_hash(address));
        let token = ours.unsubscribe_token(&ada);
        assert_eq!(ours.unsubscribed_address(&token), Some(ada));
        assert_eq!(other.unsubscribed_address(&token), None);
        assert!(!token.contains(['+', '/', '=']));
        let swapped = [&ours.unsubscribe_token(&bob)[..42], &token[42..]].concat();
        for wrong in ["", "x", &token[1..], &token[..63], &token[..43], &swapped, &format!("{token}AAAA")] {
            assert_eq!(ours.unsubscribed_address(wrong), None, "{wrong}");
        }
    }
}
