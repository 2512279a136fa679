//! The installation key. Hashes of personal data are keyed, so that they cannot be computed from a name and a date.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use super::{Result, Store, StoreError};

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
        let hash = self.hash("line", line.as_bytes());
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
