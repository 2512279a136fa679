//! Links that end the greetings to an address.

use crate::store::{Store, StoreError};

/// The path of the route, before the token.
pub const UNSUBSCRIBE_PATH: &str = "/unsubscribe/";

#[derive(Debug, Clone)]
pub struct UnsubscribeLinks {
    store: Store,
    /// Without a slash at the end.
    public_url: String,
}

impl UnsubscribeLinks {
    /// `public_url` is that of `http.public_url`.
    #[must_use]
    pub fn new(store: Store, public_url: &str) -> Self {
        Self { store, public_url: public_url.trim_end_matches('/').to_owned() }
    }

    pub(crate) async fn link(&self, address_hash: &[u8]) -> Result<String, StoreError> {
        let token = self.store.installation_key().await?.unsubscribe_token(address_hash);
        Ok(format!("{}{UNSUBSCRIBE_PATH}{token}", self.public_url))
    }
}
